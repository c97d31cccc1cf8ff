// Quantizing without data: --data-free, and what its inputs are like.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "bitfold/data_free.h"
#include "data_options.h"
#include "output.h"

namespace bitfold::cli {

class DataFreeOptions {
 public:
  explicit DataFreeOptions(CLI::App& verb);
  bool is_wanted() const { return is_wanted_; }
  bool leaves_high_biases() const { return leaves_high_biases_; }
  /// Says what it took the inputs to be. Throws Error where the file, a flag or a layer does not allow it.
  DataFreeResult quantize(const std::string& model, const Recipe& recipe, const DataOptions& data_options,
                          const Output& output) const;

 private:
  InputRange range(const Graph& graph, const DataOptions& data_options, const Output& output) const;

  bool is_wanted_ = false, leaves_high_biases_ = false;
  std::vector<float> range_;
};

}  // namespace bitfold::cli
