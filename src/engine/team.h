// The threads that run a plan together.
//
// All of them walk the same steps in the same order, each doing its part, and wait for each other in between. So
// OpenMP's threads are called once for many steps: a call takes 1 us, and 12 where they sleep in between
// (OMP_WAIT_POLICY=passive), waiting for each other here 0.3.
#pragma once

#include <immintrin.h>

#include <atomic>

namespace bitfold::engine {

/// Where threads wait until all of them have come. std::barrier would put them to sleep after a few microseconds, and
/// waking one takes longer than most steps do: where another process wants the core, a tick of the scheduler.
class Barrier {
 public:
  /// `has_cores`: whether there is a core for each thread. Then they wait for milliseconds before they sleep, else for
  /// as long as it takes to see that another may need the core.
  explicit Barrier(bool has_cores) : spins_(has_cores ? 300'000 : 2'000) {}

  void wait(int thread_count) noexcept {
    const int phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == thread_count - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      phase_.notify_all();
      return;
    }
    for (int i = 0; i < spins_; ++i) {
      if (phase_.load(std::memory_order_acquire) != phase) return;
      _mm_pause();
    }
    phase_.wait(phase, std::memory_order_acquire);
  }

 private:
  alignas(64) std::atomic<int> arrived_ = 0;
  alignas(64) std::atomic<int> phase_ = 0;
  int spins_;
};

/// One thread's view of them.
class Team {
 public:
  Team() = default;  ///< A thread alone.
  Team(int rank, int size, Barrier& barrier) : rank_(rank), size_(size), barrier_(&barrier) {}

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Until all threads have called this. What they wrote before, all may read behind it.
  void wait() const noexcept {
    if (size_ > 1) barrier_->wait(size_);
  }

 private:
  int rank_ = 0, size_ = 1;
  Barrier* barrier_ = nullptr;
};

}  // namespace bitfold::engine
