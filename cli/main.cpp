// bitfold: exit status 0, 1 (bad input: the message says what and where) or 2 (usage).
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

#include "bitfold/error.h"
#include "bitfold/memory.h"
#include "bitfold/version.h"
#include "verbs.h"

namespace {

// By default OpenMP's idle threads spin for a while, and on a shared machine take the cores from whoever works: a run
// beside others then lasts many times longer. How they wait is read from the environment before main() begins. Verbs
// that time a network, or run one, keep the default, which wakes threads sooner.
void wait_without_spinning(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if ((verb != "quantize" && verb != "analyze" && verb != "compare") || std::getenv("OMP_WAIT_POLICY") != nullptr)
    return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // where that fails, spinning it is
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bitfold;
  wait_without_spinning(argc, argv);
  CLI::App app{"Makes a trained network smaller and faster, and shows that it still works."};
  app.set_version_flag("--version", std::string("bitfold ") + version());
  app.require_subcommand(1);
  app.fallthrough();
  std::size_t max_memory = 0;
  app.add_option("--max-memory", max_memory,
                 "Refuse networks whose values need more, e.g. 8GB (default: what the machine has available)")
      ->transform(CLI::AsSizeValue(false))
      ->each([](const std::string& bytes) { limit_memory(std::stoull(bytes)); });
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
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& e) {
    // Help and version are not failures; every other parse error is a wrong call.
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const Error& e) {
    fmt::print(stderr, "bitfold: {}\n", e.what());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "bitfold: out of memory\n");
  } catch (const std::exception& e) {
    fmt::print(stderr, "bitfold: {}\n", e.what());
  }
  return 1;
}
