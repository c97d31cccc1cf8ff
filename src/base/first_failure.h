// Carries an exception out of a parallel region: an exception that leaves the region itself would end the program.
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "base/check.h"

namespace bitfold {

/// Keeps the exception of the lowest iteration that throws, so that the error does not depend on timing.
class FirstFailure {
 public:
  /// Calls f(), which is iteration `i` of the loop. May be called from several threads at once.
  template <std::integral Index, class F>
  void watch(Index i, const F& f) noexcept {
    try {
      f();
    } catch (...) {
      const std::lock_guard guard(lock_);
      if (failure_ && iteration_ <= static_cast<std::int64_t>(i)) return;
      failure_ = std::current_exception();
      iteration_ = static_cast<std::int64_t>(i);
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
  /// The same, but puts prefix(iteration) before the message of an Error.
  template <class Prefix>
  void rethrow(const Prefix& prefix) {
    std::string message;
    try {
      return rethrow();
    } catch (const Error& error) {
      message = error.what();
    }
    fail("{}{}", prefix(iteration_), message);
  }

 private:
  std::mutex lock_;
  std::exception_ptr failure_;
  std::int64_t iteration_ = 0;
};

}  // namespace bitfold
