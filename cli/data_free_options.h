// Quantizing without data: --data-free, and the range of the inputs.
#pragma once

#include <CLI/CLI.hpp>
#include <vector>

#include "bitfold/quantize.h"
#include "data_options.h"
#include "output.h"

namespace bitfold::cli {

class DataFreeOptions {
 public:
  explicit DataFreeOptions(CLI::App& verb);
  bool is_wanted() const { return is_wanted_; }

  /// The range of the inputs, from --input-range or the preprocessing flags; prints it. Throws Error when it does not
  /// fit the network.
  InputRange range(const Graph& graph, const DataOptions& data_options, const Output& output) const;

 private:
  bool is_wanted_ = false;
  std::vector<float> range_;
};

}  // namespace bitfold::cli
