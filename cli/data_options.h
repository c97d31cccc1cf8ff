// Options of all verbs that read a dataset: preprocessing flags, --preprocess FILE.toml, --limit, --strict.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "bitfold/data.h"

namespace bitfold::cli {

/// Adds the options to a verb. resolve() returns their values; flags override the file.
class DataOptions {
 public:
  explicit DataOptions(CLI::App& verb);
  ~DataOptions();

  /// Throws Error naming the flag or the file's line if a value is invalid.
  DatasetOptions resolve() const;

 private:
  struct Values;
  std::unique_ptr<Values> values_;
};

}  // namespace bitfold::cli
