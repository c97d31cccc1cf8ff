// Options of all verbs that read a dataset: preprocessing flags, --preprocess FILE.toml, --limit, --strict.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "bitfold/data.h"

namespace bitfold::cli {

/// The forms of DATA, for help texts.
inline constexpr const char* kDataForms =
    "folder of .npz, image, audio or IDX files, .npy or .npz file, image, audio file, or text file with a path per "
    "line";

/// Adds the options to a verb. resolve() returns their values; flags override the file.
class DataOptions {
 public:
  explicit DataOptions(CLI::App& verb);
  ~DataOptions();

  /// Throws Error naming the flag or the file's line if a value is invalid.
  DatasetOptions resolve() const;
  /// The first flag that was given and changes samples, such as "--resize"; empty if none was.
  std::string first_given() const;

 private:
  struct Values;
  std::unique_ptr<Values> values_;
};

}  // namespace bitfold::cli
