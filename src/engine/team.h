// The threads that run a plan together.
//
// All threads walk through the same steps in the same order, each doing its part, and wait for each other after each
// shared step. So one OpenMP parallel region runs many steps: entering one takes 1 us, or 12 us if threads sleep in
// between (OMP_WAIT_POLICY=passive); this barrier takes 0.3 us.
#pragma once

#include <immintrin.h>

#include <atomic>

namespace bitfold::engine {

/// A spinning barrier. std::barrier puts threads to sleep after a few microseconds, and waking one takes longer than
/// most steps: up to a tick of the scheduler if another process wants the core.
class Barrier {
 public:
  /// `has_cores`: whether there is a core for each thread. If so, threads spin for milliseconds before they sleep;
  /// otherwise only briefly, as another thread may need the core.
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

/// One thread's view of its team.
class Team {
 public:
  Team() = default;  ///< A single thread.
  Team(int rank, int size, Barrier& barrier) : rank_(rank), size_(size), barrier_(&barrier) {}

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Blocks until all threads have called this. After it, each may read what the others wrote before it.
  void wait() const noexcept {
    if (size_ > 1) barrier_->wait(size_);
  }

 private:
  int rank_ = 0, size_ = 1;
  Barrier* barrier_ = nullptr;
};

}  // namespace bitfold::engine
