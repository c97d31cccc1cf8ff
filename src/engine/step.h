// One step of a plan: a computation on some of the plan's buffers.
//
// A step names its buffers when it is made; the plan, once all lifetimes are known, gives each of them an address.
// Running a step reads only those addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

#include "bitfold/session.h"
#include "engine/team.h"

namespace bitfold::engine {

enum class Access { read, write, scratch };

struct Operand {
  int buffer = -1;  ///< Index into the plan's buffers.
  Access access = Access::read;
  std::byte* data = nullptr;  ///< Set by the plan; aligned to 64 except for callers' inputs and outputs.
};

class Step {
 public:
  virtual ~Step() = default;
  /// Called by all threads of a team at once; by a single thread if threads() is 1.
  virtual void run(const Team& team) noexcept = 0;
  /// The number of threads of a team among which the work is divided.
  virtual int threads() const { return 1; }
  /// Approximate size in bytes, which determines how many plans are kept: names, operands and tables.
  virtual std::size_t own_bytes() const { return 1024; }
  /// Whether the step starts its own threads; if so, it must be called outside of any team.
  virtual bool has_own_threads() const { return false; }

  int add_operand(int buffer, Access access) {
    operands_.push_back({buffer, access, nullptr});
    return static_cast<int>(operands_.size()) - 1;
  }
  std::vector<Operand>& operands() { return operands_; }
  const std::vector<Operand>& operands() const { return operands_; }

  StepInfo info;
  /// Set by run() if it fails: an index in the data is out of range, or memory ran out.
  std::exception_ptr failure;

 protected:
  /// Calls f() and stores its exception as the failure.
  template <class F>
  void fallible(F f) noexcept {
    try {
      f();
    } catch (...) {
      failure = std::current_exception();
    }
  }
  /// The address of operand number `index`.
  template <class T>
  T* at(int index) const {
    return reinterpret_cast<T*>(operands_[static_cast<std::size_t>(index)].data);
  }

 private:
  std::vector<Operand> operands_;
};

}  // namespace bitfold::engine
