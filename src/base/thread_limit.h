// A thread count that holds for one scope.
#pragma once

#include "bitfold/cpu.h"

namespace bitfold {

/// Sets the calling thread's usable_threads() and restores it at the end.
class ThreadLimit {
 public:
  explicit ThreadLimit(int count) : before_(usable_threads()) { limit_threads(count); }
  ~ThreadLimit() { limit_threads(before_); }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int before_;
};

}  // namespace bitfold
