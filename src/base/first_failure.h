// Exceptions of parallel regions. One that leaves the region ends the program, so the region keeps it until its end.
#pragma once

#include <exception>
#include <mutex>
#include <new>
#include <utility>

#include "base/check.h"

namespace bitfold {

class FirstFailure {
 public:
  /// Calls f() and keeps the first exception of all calls. May be called from several threads at once.
  template <class F>
  void watch(const F& f) noexcept {
    try {
      f();
    } catch (...) {
      const std::lock_guard guard(lock_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  /// Throws it, after the region; Error if memory ran out. Does nothing if there is none.
  void rethrow() {
    if (!failure_) return;
    try {
      std::rethrow_exception(std::exchange(failure_, nullptr));
    } catch (const std::bad_alloc&) {
      fail("out of memory");
    }
  }

 private:
  std::mutex lock_;
  std::exception_ptr failure_;
};

}  // namespace bitfold
