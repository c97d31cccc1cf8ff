// bitfold: exit status 0, 1 (bad input: the message says what and where) or 2 (usage).
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/cpu.h"
#include "bitfold/custom_ops.h"
#include "bitfold/error.h"
#include "bitfold/file.h"
#include "bitfold/memory.h"
#include "bitfold/nearest.h"
#include "bitfold/version.h"
#include "terminal.h"
#include "verbs.h"

namespace {

// By default OpenMP's idle threads spin for a while. On a shared machine they take cores from working threads, so that
// a run takes many times longer. The wait policy is read from the environment before main() starts. Verbs that run or
// time a network keep the default, which wakes threads sooner.
void wait_without_spinning(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if ((verb != "quantize" && verb != "analyze" && verb != "compare" && verb != "eval") ||
      std::getenv("OMP_WAIT_POLICY") != nullptr)
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

int complain_about_usage(const std::string& what) {
  bitfold::cli::print_line(stderr, fmt::format("bitfold: {}", what));
  bitfold::cli::print_line(stderr, "Run with --help for more information.");
  return 2;
}

int complain(std::string_view what) {
  bitfold::cli::print_line(stderr, fmt::format("bitfold: {}", what));
  return 1;
}

/// The long names of all options, as they are written: "--calibrate".
std::vector<std::string> flags_of(const CLI::App& verb) {
  std::vector<std::string> flags;
  for (const CLI::App* level = &verb; level != nullptr; level = level->get_parent())
    for (const CLI::Option* option : level->get_options())
      for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

/// "; did you mean '--calibrate'?", or nothing.
std::string suggestion(std::string_view word, const std::vector<std::string>& words) {
  const std::vector<std::string_view> views(words.begin(), words.end());
  return bitfold::did_you_mean(word, views);
}

/// The first verb or flag that does not exist, as a message; empty if all do. Found before anything else is checked,
/// because a misspelt flag is the cause of a missing one.
std::string misspelling(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front().starts_with("-")) return "";
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  if (std::ranges::find(verbs, arguments.front()) == verbs.end())
    return fmt::format("command '{}' does not exist{}", arguments.front(), suggestion(arguments.front(), verbs));
  const std::vector<std::string> flags = flags_of(*app.get_subcommand(arguments.front()));
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    const std::string flag = argument.substr(0, argument.find('='));
    if (flag.starts_with("--") && std::ranges::find(flags, flag) == flags.end())
      return fmt::format("{} has no option {}{}", arguments.front(), flag, suggestion(flag, flags));
  }
  return "";
}

void print_version() {
  using namespace bitfold;
  cli::print_line(stdout, fmt::format("bitfold {}", version()));
  const std::string_view detected = to_string(detected_isa()), used = to_string(isa_cap());
  cli::print_line(stdout, fmt::format("instruction set: {}{}", used,
                                      used == detected ? "" : fmt::format(" (the CPU has {})", detected)));
  cli::print_line(stdout, fmt::format("cores: {}", usable_threads()));
  cli::finish_standard_output();
}

int run(CLI::App& app, std::vector<std::string> arguments) {
  // A call without a command shows the help, and is a usage error. "help quantize" is "quantize --help".
  const bool is_bare = arguments.empty();
  if (is_bare) arguments = {"help"};
  if (arguments.front() == "version") {
    print_version();
    return 0;
  }
  if (arguments.front() == "help") {
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  }
  if (const std::string message = misspelling(app, arguments); !message.empty()) return complain_about_usage(message);
  try {
    std::ranges::reverse(arguments);  // as CLI11 expects them
    app.parse(arguments);
    bitfold::cli::finish_standard_output();
    return 0;
  } catch (const CLI::ParseError& error) {
    const int status = print_parse_result(app, error);
    return is_bare ? 2 : status;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bitfold;
  cli::occupy_standard_descriptors();
  wait_without_spinning(argc, argv);
  prepare_signals();
  CLI::App app{"Makes a trained network smaller and faster, and shows that it still works.", "bitfold"};
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
  app.footer(
      "Start with:  bitfold inspect model.onnx\nEach command explains itself:  bitfold help quantize\n"
      "bitfold version shows the version and the instruction set in use.");
  try {
    return run(app, {argv + 1, argv + argc});
  } catch (const std::bad_alloc&) {
    return complain("out of memory");
  } catch (const std::exception& error) {
    return complain(error.what());
  }
}
