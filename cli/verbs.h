// The verbs of the tool. Each function adds one subcommand; its callback does the work and throws bitfold::Error.
#pragma once

#include <CLI/CLI.hpp>

namespace bitfold::cli {

void add_inspect(CLI::App& app);
void add_fold(CLI::App& app);
void add_quantize(CLI::App& app);
void add_analyze(CLI::App& app);
void add_eval(CLI::App& app);
void add_compare(CLI::App& app);
void add_bench(CLI::App& app);
void add_run(CLI::App& app);
void add_tensor(CLI::App& app);

}  // namespace bitfold::cli
