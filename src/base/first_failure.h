// Carries an exception out of a parallel region: an exception that leaves the region itself would end the program.
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

  /// Rethrows the kept exception, as an Error if memory ran out. Does nothing if there is none. Call it after the
  /// region.
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
