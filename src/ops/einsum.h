// The indices of an Einsum.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold::ops {

/// A letter of the equation is its own label; axis i from the right of an ellipsis has the label -1 - i.
using Label = int;
using Labels = std::vector<Label>;

/// An equation in its explicit form: one label for each axis of the inputs and of the output.
struct Contraction {
  std::vector<Labels> inputs;
  Labels output, summed;
  std::map<Label, std::int64_t> sizes;  ///< kDynamic if unknown.
};

/// `shapes` are those of the inputs. Throws Error if they do not fit the equation.
Contraction contraction(const std::string& equation, std::span<const Shape> shapes);

}  // namespace bitfold::ops
