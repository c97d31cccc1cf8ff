// bitfold: exit status 0, 1 (bad input: the message says what and where) or 2 (usage).
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <sstream>
#include <string_view>

#include "bitfold/custom_ops.h"
#include "bitfold/error.h"
#include "bitfold/file.h"
#include "bitfold/memory.h"
#include "bitfold/version.h"
#include "terminal.h"
#include "verbs.h"

namespace {

// By default OpenMP's idle threads spin for a while. On a shared machine they take cores from working threads, so that
// a run takes many times longer. The wait policy is read from the environment before main() starts. Verbs that run or
// time a network keep the default, which wakes threads sooner.
void wait_without_spinning(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if ((verb != "quantize" && verb != "analyze" && verb != "compare") || std::getenv("OMP_WAIT_POLICY") != nullptr)
    return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // if this fails, idle threads spin
}

// A file that grows too large and a closed pipe become errors with a message instead of ending the process.
void prepare_signals() {
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  bitfold::remove_unfinished_files_on_signals();
}

// Help, the version or a usage error, line by line.
int print_parse_result(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, err;
  const int status = app.exit(error, out, err);
  for (auto [text, to] : {std::pair(out.str(), stdout), std::pair(err.str(), stderr)}) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) bitfold::cli::print_line(to, line);
  }
  bitfold::cli::finish_standard_output();
  return status == 0 ? 0 : 2;
}

int complain(std::string_view what) {
  bitfold::cli::print_line(stderr, fmt::format("bitfold: {}", what));
  return 1;
}

int run(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    bitfold::cli::finish_standard_output();
    return 0;
  } catch (const CLI::ParseError& error) {
    return print_parse_result(app, error);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bitfold;
  cli::occupy_standard_descriptors();
  wait_without_spinning(argc, argv);
  prepare_signals();
  CLI::App app{"Makes a trained network smaller and faster, and shows that it still works."};
  app.set_version_flag("--version", std::string("bitfold ") + version());
  app.require_subcommand(1);
  app.fallthrough();
  std::size_t max_memory = 0;
  app.add_option("--max-memory", max_memory,
                 "Refuse networks whose values need more memory than this, such as 8GB (default: what the machine has "
                 "available)")
      ->transform(CLI::AsSizeValue(true))
      ->each([](const std::string& bytes) { limit_memory(std::stoull(bytes)); });
  app.add_option_function<std::vector<std::string>>(
         "--custom-ops",
         [](const std::vector<std::string>& paths) {
           for (const std::string& path : paths) load_custom_operators(path);
         },
         "A shared library of operators that Bitfold lacks (docs/custom_operators.md); repeat for more")
      ->type_name("LIB.so")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.get_formatter()->column_width(34);
  cli::add_inspect(app);
  cli::add_fold(app);
  cli::add_quantize(app);
  cli::add_analyze(app);
  cli::add_eval(app);
  cli::add_compare(app);
  cli::add_bench(app);
  cli::add_run(app);
  cli::add_tensor(app);
  app.footer("Start with:  bitfold inspect model.onnx\nEach verb explains itself:  bitfold quantize --help");
  try {
    return run(app, argc, argv);
  } catch (const std::bad_alloc&) {
    return complain("out of memory");
  } catch (const std::exception& error) {
    return complain(error.what());
  }
}
