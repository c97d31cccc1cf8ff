// Float steps that oneDNN runs.
#pragma once

#include "engine/step.h"
#include "onednn/prepared.h"

namespace bitfold::engine {

/// A prepared primitive on the plan's buffers. Operand numbers are -1 where the primitive has no such argument.
class OnednnStep final : public Step {
 public:
  explicit OnednnStep(onednn::Primitive primitive) : primitive_(std::move(primitive)) {}

  struct Numbers {
    int source = -1, weights = -1, bias = -1, residual = -1, destination = -1, scratch = -1;
  };
  Numbers numbers;

  const std::string& implementation() const { return primitive_.implementation(); }

  bool has_own_threads() const override { return true; }
  std::size_t own_bytes() const override { return Step::own_bytes() + kPrimitiveBytes; }
  void run(const Team& /*team*/) noexcept override {
    fallible([&] {
      primitive_.run({address(numbers.source), address(numbers.weights),
                      static_cast<const float*>(address(numbers.bias)),
                      static_cast<const float*>(address(numbers.residual)), address(numbers.destination),
                      address(numbers.scratch)});
    });
  }

 private:
  static constexpr std::size_t kPrimitiveBytes = 32 * 1024;  // code made for the shape, mostly

  void* address(int operand) const { return operand < 0 ? nullptr : at<std::byte>(operand); }

  onednn::Primitive primitive_;
};

}  // namespace bitfold::engine
