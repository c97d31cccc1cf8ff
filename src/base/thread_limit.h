// A thread count that holds for one scope.
#pragma once

#include <omp.h>

namespace bitfold {

/// Sets OpenMP's thread count, and thereby usable_threads(), for the calling thread, and restores it at the end.
class ThreadLimit {
 public:
  explicit ThreadLimit(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~ThreadLimit() { omp_set_num_threads(before_); }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int before_;
};

}  // namespace bitfold
