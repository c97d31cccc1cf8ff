// The files that a verb reads and writes, checked before it does anything.
#pragma once

#include <CLI/CLI.hpp>

namespace bitfold::cli {

/// Throws Error when two options would write the same file, or one would write over a file that the verb reads: a
/// model, its external data, samples, a recipe. Call it once the command line is parsed.
void check_paths(const CLI::App& verb);

/// Whether an option of the verb writes to standard output ("-" for --json, or a name such as /dev/stdout).
bool writes_to_standard_output(const CLI::App& verb);

}  // namespace bitfold::cli
