#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "bitfold/onnx.h"
#include "bitfold/peaks.h"
#include "bitfold/report.h"
#include "data_options.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct BenchFlags {
  std::vector<std::string> models;
  std::string input;
  Cut cut;
  BenchOptions bench;
  bool no_optimize = false, profiles = false;
  std::unique_ptr<DataOptions> data_options;
  std::unique_ptr<Output> output;
};

std::string kibibytes(std::int64_t bytes) { return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024); }

/// Peak operations per second of the cores in use, in integers and in floats; two operations per product.
struct Peaks {
  double integer = 0, real = 0;

  void measure(int threads) {
    const int usable = usable_threads(), cores = threads > 0 ? std::min(threads, usable) : usable;
    integer = std::max(integer, 2 * cores * integer_peak(isa_cap()));
    real = std::max(real, 2 * cores * float_peak(detected_isa()));  // oneDNN ignores the ISA cap
  }
};

/// Prints a table of the model's steps; returns the same as JSON.
nlohmann::ordered_json print_profile(const std::string& model, const Graph& graph, const BenchFlags& o,
                                     const BenchOptions& options) {
  Peaks peaks;  // clock frequencies change, so peaks are measured before and after, and the larger one is used
  peaks.measure(o.bench.threads);
  const std::vector<StepTime> steps = profile(graph, options);
  peaks.measure(o.bench.threads);
  double total = 0;
  for (const StepTime& t : steps) total += t.median_us;
  std::vector<std::vector<std::string>> rows{{"step", "op", "kernel", "median", "share", "GOPS", "of peak"}};
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [step, us] : steps) {
    const double share = total > 0 ? us / total : 0;
    const double gops = us > 0 ? 2 * static_cast<double>(step.mac_count) / us / 1e3 : 0;
    const double peak = step.is_integer ? peaks.integer : peaks.real, of_peak = peak > 0 ? gops * 1e9 / peak : 0;
    rows.push_back({step.name, step.op, step.kernel, duration(us), fmt::format("{:.1f} %", 100 * share),
                    gops > 0 ? fmt::format("{:.1f}", gops) : "",
                    of_peak > 0 ? fmt::format("{:.1f} %", 100 * of_peak) : ""});
    list.push_back({{"name", step.name},
                    {"op", step.op},
                    {"kernel", step.kernel},
                    {"is_integer", step.is_integer},
                    {"median_us", us},
                    {"share", share},
                    {"macs", step.mac_count},
                    {"gops", gops},
                    {"of_peak", of_peak}});
  }
  o.output->say(fmt::format("{}: {} in {} steps", model, duration(total), steps.size()));
  if (peaks.integer > 0)
    o.output->say(fmt::format("measured peak: {:.0f} GOPS in integers ({}), {:.0f} in floats", peaks.integer / 1e9,
                              to_string(isa_cap()), peaks.real / 1e9));
  o.output->table(rows);
  return list;
}

/// The arrays of --input, or the first sample.
std::vector<Tensor> first_sample(const Graph& graph, const BenchFlags& o) {
  std::vector<std::string> notes;
  if (is_array_input(o.input)) {
    std::vector<Tensor> inputs = arrange_inputs(load_arrays(o.input), input_specs(graph), o.input, notes);
    o.output->say_all(notes);
    return inputs;
  }
  Dataset dataset = open_dataset(o.input, input_specs(graph), o.data_options->resolve());
  o.output->say_all(dataset.notes);
  auto batch = dataset.source->next(1);
  if (!batch) throw Error(fmt::format("'{}': has no samples", o.input));
  return batch->runs.empty() ? std::move(batch->inputs) : std::move(batch->runs.front());
}

void bench_models(const BenchFlags& o) {
  std::vector<Graph> graphs;
  const LoadOptions load = load_options_for(o.input);
  for (const auto& path : o.models) graphs.push_back(load_runnable(path, o.cut, load, !o.no_optimize));
  std::vector<const Graph*> pointers;
  for (const auto& graph : graphs) pointers.push_back(&graph);
  BenchOptions options = o.bench;
  options.names = o.models;
  if (!o.input.empty()) options.inputs = first_sample(graphs.front(), o);
  const auto results = bench_interleaved(pointers, options);
  std::vector<std::vector<std::string>> rows{{"model", "median", "min", "p99", "runs", "threads", "batch", "speed-up"}};
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto& r = results[i];
    rows.push_back({o.models[i], duration(r.median_us), duration(r.min_us), duration(r.p99_us),
                    std::to_string(r.run_count), std::to_string(r.threads), std::to_string(r.batch),
                    fmt::format("{:.2f}x", results[0].median_us / r.median_us)});
    list.push_back({{"model", o.models[i]},
                    {"median_us", r.median_us},
                    {"min_us", r.min_us},
                    {"p99_us", r.p99_us},
                    {"mean_us", r.mean_us},
                    {"runs", r.run_count},
                    {"threads", r.threads},
                    {"batch", r.batch},
                    {"first_us", r.first_us},
                    {"arena_bytes", r.arena_bytes},
                    {"arena_lower_bound", r.arena_lower_bound},
                    {"packed_weight_bytes", r.packed_weight_bytes}});
  }
  o.output->table(rows);
  for (std::size_t i = 1; i < results.size(); ++i)
    if (results[i].median_us > results[0].median_us)
      o.output->say(fmt::format("{} is slower than {}: {} instead of {}", o.models[i], o.models[0],
                                duration(results[i].median_us), duration(results[0].median_us)));
  o.output->say("");
  rows = {{"model", "time to first outputs", "arena", "arena above lower bound", "packed weights"}};
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto& r = results[i];
    const double excess =
        r.arena_lower_bound > 0 ? static_cast<double>(r.arena_bytes) / static_cast<double>(r.arena_lower_bound) - 1 : 0;
    rows.push_back({o.models[i], duration(r.first_us), kibibytes(r.arena_bytes), fmt::format("{:.1f} %", 100 * excess),
                    kibibytes(r.packed_weight_bytes)});
  }
  o.output->table(rows);
  for (std::size_t i = 0; o.profiles && i < graphs.size(); ++i)
    list[i]["steps"] = print_profile(o.models[i], graphs[i], o, options);
  nlohmann::ordered_json json = list.front();
  json["models"] = list;
  o.output->write(json);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<BenchFlags>();
  CLI::App* verb = app.add_subcommand("bench", "Measure the time of one or more models; their runs alternate");
  verb->add_option("models", o->models, "ONNX models, float or quantized; speed-ups are against the first")->required();
  verb->add_option("--threads", o->bench.threads, "Cores to use, 0 for all (default: 1)")->check(CLI::Range(0, 1024));
  verb->add_option("--batch", o->bench.batch, "Batch size, if the model leaves it open (default: 1)")
      ->check(CLI::Range(1, 1 << 20));
  verb->add_option_function<std::vector<std::string>>(
          "--shape",
          [o](const std::vector<std::string>& words) {
            for (const std::string& word : words) o->bench.shapes.push_back(parse_shape(word));
          },
          "Shape of an input, such as 1,3,48,320, if the model leaves more than its batch open; once per input, in "
          "order")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--input", o->input,
                   "Time the first sample of this DATA, as run takes it (default: pseudo-random numbers, and zeros for "
                   "integers)")
      ->excludes("--shape")
      ->excludes("--batch");
  verb->add_option("--min-time", o->bench.min_time_s, "Seconds to measure each model for (default: 1)")
      ->check(CLI::Range(0.0, 3600.0));
  verb->add_flag("--no-optimize", o->no_optimize, "Run the graph as stored in the file, without folding BatchNorm");
  verb->add_flag("--profile", o->profiles,
                 "Also list each model's steps: kernel, time, rate, and the rate as a fraction of the cores' peak "
                 "(operations are counted for direct convolution, so Winograd kernels may exceed the peak)");
  add_cut_flags(*verb, o->cut);
  o->data_options = std::make_unique<DataOptions>(*verb);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold bench model.onnx model.int8.onnx --threads 1");
  verb->callback([o, verb] {
    if (verb->count("--batch") == 0 && !o->bench.shapes.empty()) o->bench.batch = o->bench.shapes[0][0];
    bench_models(*o);
  });
}

}  // namespace bitfold::cli
