// Keeps the exceptions of a parallel loop, which must not leave the loop, and throws the first one afterwards.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <vector>

#include "base/check.h"

namespace bitfold {

class Failures {
 public:
  /// Prepares for a loop of `count` iterations.
  explicit Failures(std::size_t count) : errors_(count) {}

  /// Calls function() and keeps what it throws. Safe to call from several threads with different i.
  template <class Function>
  void guard(std::size_t i, const Function& function) {
    try {
      function();
    } catch (...) {
      errors_[i] = std::current_exception();
    }
  }

  /// Throws what the first failed iteration threw. An Error's message gets prefix(i) in front.
  template <class Prefix>
  void rethrow_first(const Prefix& prefix) const {
    for (std::size_t i = 0; i < errors_.size(); ++i) {
      if (errors_[i] == nullptr) continue;
      std::string message;
      try {
        std::rethrow_exception(errors_[i]);
      } catch (const Error& error) {
        message = error.what();
      }
      fail("{}{}", prefix(i), message);
    }
  }
  void rethrow_first() const {
    for (const std::exception_ptr& error : errors_)
      if (error != nullptr) std::rethrow_exception(error);
  }

 private:
  std::vector<std::exception_ptr> errors_;
};

}  // namespace bitfold
