// The options of every verb that reads a dataset: preprocessing flags, --preprocess FILE.toml, --limit, --strict.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "bitfold/data.h"

namespace bitfold::cli {

/// Adds the options to a verb; resolve() gives what was said, flags overriding the file.
class DataOptions {
 public:
  explicit DataOptions(CLI::App& verb);
  ~DataOptions();

  /// Throws Error naming the flag or the file's line when a value makes no sense.
  DatasetOptions resolve() const;

 private:
  struct Values;
  std::unique_ptr<Values> values_;
};

}  // namespace bitfold::cli
