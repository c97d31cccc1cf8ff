#include "bitfold/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "bitfold/calibrate.h"
#include "bitfold/cpu.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "data_free_options.h"
#include "data_options.h"
#include "model.h"
#include "output.h"
#include "recipe_options.h"
#include "report_options.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

/// The flags of quantize and analyze; analyze has no output, search or data-free mode.
struct QuantizeFlags {
  std::string model, output_path, data, load_calibration_path, save_calibration_path;
  Cut cut;
  int threads = 0;
  std::optional<std::int64_t> opset;
  CLI::App* verb = nullptr;
  std::unique_ptr<RecipeOptions> recipe;
  std::unique_ptr<DataOptions> data_options;
  std::unique_ptr<ReportOptions> report;
  std::unique_ptr<MixedOptions> mixed;
  std::unique_ptr<DataFreeOptions> data_free;
  std::unique_ptr<Output> output;

  bool is_data_free() const { return data_free != nullptr && data_free->is_wanted(); }
  bool is_search() const { return mixed != nullptr && mixed->is_wanted(); }
};

/// The calibrated network and its samples, with which both verbs begin.
struct Work {
  Dataset samples;  ///< Empty with --calibration or --data-free.
  CalibratedNetwork network;
};

void check_sources(const QuantizeFlags& o) {
  if (o.is_data_free()) {
    if (!o.data.empty() || !o.load_calibration_path.empty())
      throw Error("--data-free cannot be combined with --calibrate or --calibration; leave one of them out");
    if (!o.save_calibration_path.empty())
      throw Error("--save-calibration: --data-free gathers no statistics of samples; leave out --save-calibration");
    return;
  }
  if (o.data.empty() == o.load_calibration_path.empty())
    throw CLI::RequiredError(
        fmt::format("one of --calibrate DATA{} and --calibration FILE", o.data_free == nullptr ? "" : ", --data-free"));
}

void check_statistics_only(const QuantizeFlags& o, const Recipe& recipe) {
  if (!needs_samples(recipe)) return;
  std::string asking;
  if (reads_samples(recipe.rounding)) asking += fmt::format("--rounding {}", to_string(recipe.rounding));
  if (recipe.bias_correction == BiasCorrection::empirical)
    asking += fmt::format("{}--bias-correction empirical", asking.empty() ? "" : ", ");
  if (recipe.observer == Observer::automatic) asking += fmt::format("{}--observer auto", asking.empty() ? "" : ", ");
  throw Error(fmt::format("{}: contains only statistics, but {} needs the samples: pass --calibrate DATA",
                          o.load_calibration_path, asking));
}

/// Saved statistics belong to the network as loaded, neither equalized nor smoothed.
Recipe without_preparation(const QuantizeFlags& o, Recipe recipe) {
  if (o.load_calibration_path.empty() && o.save_calibration_path.empty()) return recipe;
  const char* flag = o.data.empty() ? "--calibration" : "--save-calibration";
  const auto refuse = [&](const std::string& what) {
    throw Error(fmt::format("{} changes the values, so saved statistics would not be valid; leave out {}", what, flag));
  };
  if (recipe.smooth) refuse("--smooth");
  if (recipe.equalization != Equalization::automatic && recipe.equalization != Equalization::none)
    refuse(fmt::format("--equalize {}", to_string(recipe.equalization)));
  if (recipe.equalization == Equalization::automatic && recipe.granularity == Granularity::per_tensor)
    o.output->say(fmt::format("{}: saved statistics belong to the unequalized network, so nothing is equalized", flag));
  recipe.equalization = Equalization::none;
  return recipe;
}

void say_prepared(const QuantizeFlags& o, const Recipe& asked, const CalibratedNetwork& network) {
  const Preparation& preparation = network.preparation;
  std::size_t channels = 0;
  for (const EqualizedRegion& region : preparation.equalized) channels += region.factors.size();
  if (!preparation.equalized.empty())
    o.output->say(
        fmt::format("equalized {} channels between layers, in {} places", channels, preparation.equalized.size()));
  if (preparation.done.smooth) o.output->say(fmt::format("smoothed {} normalizations", preparation.smoothed.size()));
  if (o.is_data_free())
    o.output->say(fmt::format("ranges predicted from {} BatchNorms; biases of {} channels absorbed",
                              network.batch_norm_count, network.absorbed_channels));
  else if (!asked.observer && network.recipe.observer == Observer::min_max)
    o.output->say("observer min_max: the network has LayerNormalizations, whose few large values matter");
}

QuantizeOptions library_options(const QuantizeFlags& o, ProgressBar& bar) {
  return {.threads = o.threads, .progress = bar.progress(), .warn = print_warning, .cut = o.cut};
}

Work calibrate_checked(const QuantizeFlags& o) {
  if (o.threads > 0) limit_threads(o.threads);  // also for reading images
  const Graph graph = load_float(o.model, o.verb->get_name(), load_options_for(o.data));
  const Graph runnable = o.cut.empty() ? graph : extract_part(graph, o.cut).graph;
  const Recipe asked = o.recipe->resolve();
  Work work;
  ProgressBar bar;
  QuantizeOptions options = library_options(o, bar);
  if (o.is_data_free()) {
    options.input_range = o.data_free->range(runnable, *o.data_options, *o.output);
    work.network = calibrate_network(graph, nullptr, asked, options);
  } else if (o.data.empty()) {
    check_statistics_only(o, asked);
    const Recipe recipe = without_preparation(o, asked);
    work.network = calibrate_network(graph, load_calibration(o.load_calibration_path), recipe, options);
  } else {
    const Recipe recipe = without_preparation(o, asked);
    work.samples = open_dataset(o.data, input_specs(runnable), o.data_options->resolve());
    o.output->say_all(work.samples.notes);
    // Reports, searches and files need the statistics of every value.
    options.keeps_all_statistics =
        o.mixed == nullptr || o.is_search() || o.report->wants_report() || !o.save_calibration_path.empty();
    work.network = calibrate_network(graph, work.samples.source.get(), recipe, options);
  }
  bar.clear();
  say_prepared(o, asked, work.network);
  return work;
}

Work calibrated(const QuantizeFlags& o) {
  check_sources(o);
  return naming_file_of_nodes(o.model, [&] { return calibrate_checked(o); });
}

QuantizeResult quantized(const QuantizeFlags& o, const Work& work) {
  ProgressBar bar;
  return naming_file_of_nodes(
      o.model, [&] { return quantize(work.network, work.samples.source.get(), library_options(o, bar)); });
}

/// Bytes of the constants as they are stored.
double constant_bytes(const Graph& graph) {
  double sum = 0;
  for (ValueId id : graph.values())
    if (graph.is_constant(id)) sum += static_cast<double>(graph.value(id).constant->size_bytes());
  for (NodeId id : graph.nodes())
    for (const auto& body : graph.node(id).bodies) sum += constant_bytes(*body);
  return sum;
}

std::string why_larger(double float_bytes, const Graph& optimized, const QuantizeResult& result) {
  const double constants = constant_bytes(result.graph), before = constant_bytes(optimized);
  if (before > float_bytes)
    return fmt::format(
        "its constants take {}, and {} before they were quantized, because folding copies weights that "
        "nodes share and half precision becomes float32",
        bytes(constants), bytes(before));
  const bool has_integers =
      std::ranges::any_of(result.decisions, [](const LayerDecision& layer) { return layer.quantized; });
  return fmt::format("its constants take {}; the rest are nodes and the scales of grids{}", bytes(constants),
                     has_integers ? "" : ", and no node runs in integers");
}

void print_summary(const QuantizeFlags& o, const QuantizeResult& result, const CalibratedNetwork& network,
                   double seconds) {
  // Layers with weights that stay in float are named with the reason.
  for (const auto& layer : result.decisions) {
    constexpr std::array kWithWeights{"Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN"};
    if (std::ranges::find(kWithWeights, layer.op) == kWithWeights.end()) continue;
    if (!layer.quantized) o.output->say(fmt::format("left in float: [{} '{}'] {}", layer.op, layer.node, layer.reason));
    if (layer.quantized && !layer.reason.empty())
      o.output->say(fmt::format("[{} '{}'] {}", layer.op, layer.node, layer.reason));
  }
  const double before = static_cast<double>(file_bytes(o.model)),
               after = static_cast<double>(file_bytes(o.output_path));
  // Counted as `inspect` counts them: products of two computed values have no weights, and recurrent layers do.
  const Support support = check_support(result.graph);
  o.output->say(fmt::format("quantized {} of {} layers with weights, {}, in {:.1f} s",
                            support.is_quantized ? support.quantized_layers : 0, support.layers,
                            network.calibration.sample_count == 0
                                ? "without data"
                                : fmt::format("calibrated on {} samples", network.calibration.sample_count),
                            seconds));
  if (result.fused_leaky_relu_layers > 0)
    o.output->say(fmt::format(
        "{} layers fuse LeakyRelu before rounding (more accurate; other runtimes run them in float; --target any "
        "avoids it)",
        result.fused_leaky_relu_layers));
  std::map<Observer, int> counts;
  for (const auto& [value, observer] : result.observers) ++counts[observer];
  for (const auto& [observer, count] : counts)
    o.output->say(fmt::format("observer {} chosen for {} values", to_string(observer), count));
  o.output->say(fmt::format("{} -> {}: {}", o.model, o.output_path, size_change(before, after)));
  if (after > before)
    o.output->say(
        fmt::format("the quantized file is larger than the float file: {}", why_larger(before, network.graph, result)));
  o.output->say(fmt::format("next: bitfold compare {} {} --data DATA", o.model, o.output_path));
}

void quantize_model(const QuantizeFlags& o) {
  std::error_code ignored;  // if either file does not exist, they are different
  if (std::filesystem::equivalent(o.model, o.output_path, ignored))
    throw Error(fmt::format("{}: the output would overwrite the float model; write to another file", o.output_path));
  const auto begin = std::chrono::steady_clock::now();
  Work work = calibrated(o);
  CalibratedNetwork& network = work.network;
  if (!o.save_calibration_path.empty()) save_calibration(network.calibration, o.save_calibration_path);
  // A search and a report quantize repeatedly from the calibration alone. It has no predicted means, which analytic
  // bias correction needs.
  Recipe repeated = network.recipe;
  if (o.is_data_free()) repeated.bias_correction = BiasCorrection::none;
  std::optional<MixedPrecision> mixed;
  if (o.is_search()) {
    mixed = o.mixed->search(network.graph, network.calibration, repeated, work.samples.source.get(), *o.report,
                            *o.data_options, *o.output, o.threads);
    repeated = network.recipe = mixed->recipe;
  }
  const QuantizeResult result = quantized(o, work);
  save_onnx(result.graph, o.output_path, {.opset = o.opset});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  print_summary(o, result, network, seconds);
  if (o.report->wants_report()) {
    Analysis analysis = o.report->analyze(network.graph, network.calibration, repeated, work.samples.source.get(),
                                          *o.data_options, *o.output, o.threads, result, false);
    analysis.model = o.model.substr(o.model.rfind('/') + 1);
    analysis.mixed = mixed;
    o.report->write(analysis, *o.output);
  }
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const auto& layer : result.decisions)
    layers.push_back(
        {{"name", layer.node}, {"op", layer.op}, {"quantized", layer.quantized}, {"reason", layer.reason}});
  nlohmann::ordered_json json{{"model", o.model},
                              {"output", o.output_path},
                              {"samples", network.calibration.sample_count},
                              {"seconds", seconds},
                              {"float_bytes", file_bytes(o.model)},
                              {"quantized_bytes", file_bytes(o.output_path)},
                              {"recipe", nlohmann::ordered_json::parse(recipe_json(result.recipe))},
                              {"layers", layers}};
  for (const auto& [value, observer] : result.observers) json["observers"][value] = to_string(observer);
  json["left"] = nlohmann::ordered_json::array();
  for (const LeftNode& left : result.left)
    json["left"].push_back(
        {{"name", left.node}, {"op", left.op}, {"cause", to_string(left.cause)}, {"reason", left.reason}});
  if (mixed) json["mixed"] = nlohmann::ordered_json::parse(mixed_precision_json(*mixed));
  o.output->write(json);
}

/// Quantizes in memory only, and explains the result.
void analyze_model(const QuantizeFlags& o) {
  const Work work = calibrated(o);
  const CalibratedNetwork& network = work.network;
  const QuantizeResult result = quantized(o, work);
  Analysis analysis = o.report->analyze(network.graph, network.calibration, network.recipe, work.samples.source.get(),
                                        *o.data_options, *o.output, o.threads, result, true);
  analysis.model = o.model.substr(o.model.rfind('/') + 1);
  print_analysis(analysis, *o.output);
  o.report->write(analysis, *o.output);
  o.output->write(nlohmann::ordered_json::parse(analysis_json(analysis)));
}

void add_common_flags(CLI::App& verb, QuantizeFlags& o) {
  o.verb = &verb;
  verb.add_option("model", o.model, "The float ONNX model")->required();
  verb.add_option("--calibrate", o.data, fmt::format("Samples: {}; about 100 are enough", kDataForms));
  verb.add_option("--calibration", o.load_calibration_path,
                  "Statistics written by --save-calibration, instead of samples");
  verb.add_option("--threads", o.threads, "Cores to use (default: all)")->check(CLI::Range(0, kMaxThreads));
  add_cut_flags(verb, o.cut);
  o.recipe = std::make_unique<RecipeOptions>(verb);
  o.data_options = std::make_unique<DataOptions>(verb);
  o.report = std::make_unique<ReportOptions>(verb);
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto o = std::make_shared<QuantizeFlags>();
  CLI::App* verb = app.add_subcommand("quantize", "Quantize a float model with some sample inputs");
  verb->add_option("-o,--output", o->output_path, "Where to write the quantized model")->required();
  add_opset_flag(*verb, o->opset);
  verb->add_option("--save-calibration", o->save_calibration_path, "Write the statistics of the samples as JSON");
  add_common_flags(*verb, *o);
  o->mixed = std::make_unique<MixedOptions>(*verb);
  o->data_free = std::make_unique<DataFreeOptions>(*verb);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold quantize model.onnx --calibrate imagenet/calib --crop 224 -o model.int8.onnx");
  verb->callback([o] { quantize_model(*o); });
}

void add_analyze(CLI::App& app) {
  auto o = std::make_shared<QuantizeFlags>();
  CLI::App* verb =
      app.add_subcommand("analyze", "Find the layers that cause the error of quantization, the reasons, and remedies");
  add_common_flags(*verb, *o);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold analyze model.onnx --calibrate imagenet/calib --crop 224 --report report.html");
  verb->callback([o] { analyze_model(*o); });
}

}  // namespace bitfold::cli
