#include "bitfold/quantize.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "bitfold/calibrate.h"
#include "bitfold/cpu.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "data_free_options.h"
#include "data_options.h"
#include "model.h"
#include "output.h"
#include "report_options.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

/// What the flags say; a flag that was given overrides the recipe file.
struct Options {
  std::string model, output_path, data, recipe_path, load_calibration_path, save_calibration_path;
  Recipe flags;
  std::string scheme, weight_scheme, activation_scheme, granularity, observer, rounding, bias_correction, equalization,
      target;
  double smooth = 0;
  int threads = 0;
  std::optional<std::int64_t> opset;
  CLI::App* verb = nullptr;
  std::unique_ptr<DataOptions> data_options;
  std::unique_ptr<ReportOptions> report;
  std::unique_ptr<MixedOptions> mixed;
  std::unique_ptr<DataFreeOptions> data_free;
  std::unique_ptr<Output> output;
};

const std::map<std::string, Scheme> kSchemes{{"symmetric", Scheme::symmetric}, {"asymmetric", Scheme::asymmetric}};
const std::map<std::string, Granularity> kGranularities{{"per_tensor", Granularity::per_tensor},
                                                        {"per_channel", Granularity::per_channel}};

Recipe recipe_of(const Options& o, const Recipe& base) {
  Recipe recipe = o.recipe_path.empty() ? base : load_recipe(o.recipe_path, base);
  const auto given = [&](const char* flag) { return o.verb->count(flag) > 0; };
  if (given("--weight-bits")) recipe.weight_bits = o.flags.weight_bits;
  if (given("--activation-bits")) recipe.activation_bits = o.flags.activation_bits;
  if (given("--scheme")) recipe.weight_scheme = recipe.activation_scheme = kSchemes.at(o.scheme);
  if (given("--weight-scheme")) recipe.weight_scheme = kSchemes.at(o.weight_scheme);
  if (given("--activation-scheme")) recipe.activation_scheme = kSchemes.at(o.activation_scheme);
  if (given("--granularity")) recipe.granularity = kGranularities.at(o.granularity);
  if (given("--observer")) recipe.observer = parse_observer(o.observer);
  if (given("--rounding")) recipe.rounding = parse_rounding(o.rounding);
  if (given("--bias-correction")) recipe.bias_correction = parse_bias_correction(o.bias_correction);
  if (given("--equalize")) recipe.equalization = parse_equalization(o.equalization);
  if (given("--smooth")) recipe.smooth = o.smooth;
  if (o.data_free != nullptr && o.data_free->leaves_high_biases()) recipe.absorb = false;
  if (given("--target")) recipe.target = parse_target(o.target);
  if (given("--percentile")) {
    recipe.percentile = o.flags.percentile;
    if (!given("--observer")) recipe.observer = Observer::percentile;
  }
  if (given("--skip")) recipe.skip = o.flags.skip;
  check_recipe(recipe);
  return recipe;
}

/// What quantize and analyze begin with.
struct Work {
  Graph graph;
  Dataset samples;  ///< Without a source where there are saved statistics instead.
  Calibration calibration;
  Recipe recipe;                            ///< With what is done before calibration chosen.
  std::optional<QuantizeResult> quantized;  ///< Without data: all at once.
};

Graph float_graph(const Options& o) {
  if (o.data.empty() == o.load_calibration_path.empty())
    throw CLI::RequiredError(
        fmt::format("one of --calibrate DATA{} and --calibration FILE", o.data_free == nullptr ? "" : ", --data-free"));
  Graph graph = load_float(o.model, o.verb->get_name());
  optimize(graph);
  return graph;
}

// Statistics in a file are of the network as it is in its file.
void keep_channels(const Options& o, Recipe& recipe) {
  if (o.data.empty() ? o.load_calibration_path.empty() : o.save_calibration_path.empty()) return;
  if (recipe.smooth)
    throw Error(fmt::format("--smooth: changes what values hold, which statistics in a file do not know; leave {} out",
                            o.data.empty() ? "--calibration" : "--save-calibration"));
  if (recipe.equalization != Equalization::automatic && recipe.equalization != Equalization::none)
    throw Error(
        fmt::format("--equalize {}: changes what values hold, which statistics in a file do not know; leave {} out",
                    to_string(recipe.equalization), o.data.empty() ? "--calibration" : "--save-calibration"));
  if (recipe.equalization == Equalization::automatic && recipe.granularity == Granularity::per_tensor)
    o.output->say(fmt::format("{}: statistics in a file are of the network as it is, so nothing is equalized",
                              o.data.empty() ? "--calibration" : "--save-calibration"));
  recipe.equalization = Equalization::none;
}

void say_equalized(const Options& o, const std::vector<EqualizedRegion>& regions) {
  std::size_t channels = 0;
  for (const EqualizedRegion& region : regions) channels += region.factors.size();
  if (!regions.empty())
    o.output->say(fmt::format("equalized {} channels between layers, in {} places", channels, regions.size()));
}

void equalize(const Options& o, Work& work) {
  ProgressBar bar("equalizing");
  const Preparation done = prepare(work.graph, work.recipe, work.samples.source.get(), bar.progress());
  work.recipe.equalization = done.equalization;
  say_equalized(o, done.regions);
  if (work.recipe.smooth) o.output->say(fmt::format("smoothed {} normalizations", done.smoothed.size()));
}

Work foreseen(const Options& o, const Recipe& recipe) {
  if (!o.data.empty() || !o.load_calibration_path.empty())
    throw Error("--data-free: there is data; leave --data-free or --calibrate and --calibration out");
  if (!o.save_calibration_path.empty())
    throw Error("--save-calibration: with --data-free there are no statistics of samples to keep; leave it out");
  DataFreeResult made = o.data_free->quantize(o.model, recipe, *o.data_options, *o.output);
  say_equalized(o, made.regions);
  // Whoever quantizes once more has the ranges, but not the means that corrected biases.
  Recipe recipe_after = made.quantized.recipe;
  recipe_after.bias_correction = BiasCorrection::none;
  return {.graph = std::move(made.float_graph),
          .samples = {},
          .calibration = std::move(made.calibration),
          .recipe = std::move(recipe_after),
          .quantized = std::move(made.quantized)};
}

Work calibrated(const Options& o) {
  Graph graph = float_graph(o);
  const Recipe base = default_recipe(graph);
  Recipe recipe = recipe_of(o, base);
  if (base != Recipe{} && recipe_of(o, Recipe{}).observer != recipe.observer)  // neither a flag nor the file says
    o.output->say(fmt::format("observer {}: the network has LayerNormalizations, whose few large values count",
                              to_string(base.observer)));
  if (needs_samples(recipe) && o.data.empty())
    throw Error(
        fmt::format("{}: holds statistics only; --rounding {} with --bias-correction {} and --observer {} needs the "
                    "samples: pass --calibrate DATA",
                    o.load_calibration_path, to_string(recipe.rounding), to_string(recipe.bias_correction),
                    to_string(recipe.observer)));
  keep_channels(o, recipe);
  Work work{.graph = std::move(graph), .samples = {}, .calibration = {}, .recipe = std::move(recipe), .quantized = {}};
  if (o.data.empty()) {
    work.calibration = load_calibration(o.load_calibration_path);
    return work;
  }
  work.samples = open_dataset(o.data, input_specs(work.graph), o.data_options->resolve());
  o.output->say_all(work.samples.notes);
  equalize(o, work);
  // Reports, searches and files want to know of every value.
  const bool searches = o.mixed == nullptr || o.mixed->is_wanted();
  ProgressBar bar("calibrating");
  CalibrateOptions options{.threads = o.threads, .values = {}, .progress = bar.progress()};
  if (!searches && !o.report->wants_report() && o.save_calibration_path.empty())
    options.values = values_to_calibrate(work.graph, work.recipe);
  work.calibration = calibrate(work.graph, *work.samples.source, options);
  return work;
}

QuantizeResult quantize_graph(const Graph& graph, const Calibration& calibration, const Recipe& recipe,
                              BatchSource* samples) {
  if (samples == nullptr) return quantize(graph, calibration, recipe);
  ProgressBar bar("choosing with samples");
  return quantize(graph, calibration, recipe, *samples, bar.progress());
}

void print_summary(const Options& o, const QuantizeResult& result, const Calibration& calibration, double seconds) {
  // Layers with weights are what people ask about; each that stays in float is named with its reason.
  int quantized = 0, total = 0;
  for (const auto& layer : result.decisions) {
    const bool has_weights =
        layer.op == "Conv" || layer.op == "Gemm" || layer.op == "MatMul" || layer.op == "ConvTranspose";
    if (!has_weights) continue;
    ++total;
    quantized += layer.quantized;
    if (!layer.quantized) o.output->say(fmt::format("left in float: [{} '{}'] {}", layer.op, layer.node, layer.reason));
    if (layer.quantized && !layer.reason.empty())
      o.output->say(fmt::format("[{} '{}'] {}", layer.op, layer.node, layer.reason));
  }
  const double before = static_cast<double>(file_bytes(o.model)),
               after = static_cast<double>(file_bytes(o.output_path));
  o.output->say(fmt::format("quantized {} of {} layers with weights, {}, in {:.1f} s", quantized, total,
                            calibration.sample_count == 0
                                ? "without data"
                                : fmt::format("calibrated on {} samples", calibration.sample_count),
                            seconds));
  if (result.rounded_behind_leaky_relu > 0)
    o.output->say(fmt::format(
        "layers that round behind their LeakyRelu: {}, which is more accurate; other runtimes compute them in "
        "float (--target any: in integers)",
        result.rounded_behind_leaky_relu));
  std::map<Observer, int> counts;
  for (const auto& [value, observer] : result.observers) ++counts[observer];
  for (const auto& [observer, count] : counts)
    o.output->say(fmt::format("observer {} chosen for {} values", to_string(observer), count));
  o.output->say(fmt::format("{} {} -> {} {} ({:.2f}x smaller)", o.model, bytes(before), o.output_path, bytes(after),
                            before / after));
  o.output->say(fmt::format("next: bitfold compare {} {} --data DATA", o.model, o.output_path));
}

void quantize_model(const Options& o) {
  if (o.threads > 0) limit_threads(o.threads);
  std::error_code ignored;  // where either file does not exist, they are not the same
  if (std::filesystem::equivalent(o.model, o.output_path, ignored))
    throw Error(
        fmt::format("{}: is the float model itself, which compare still needs; write to another file", o.output_path));
  const auto begin = std::chrono::steady_clock::now();
  const Work work = o.data_free->is_wanted() ? foreseen(o, recipe_of(o, data_free_recipe())) : calibrated(o);
  const auto& [graph, samples, calibration, prepared, without_data] = work;
  Recipe recipe = prepared;
  if (!o.save_calibration_path.empty()) save_calibration(calibration, o.save_calibration_path);
  std::optional<MixedPrecision> mixed;
  if (o.mixed->is_wanted()) {
    mixed = o.mixed->search(graph, calibration, recipe, samples.source.get(), *o.report, *o.data_options, *o.output,
                            o.threads);
    recipe = mixed->recipe;
  }
  // A search without data has found, and measured, what is quantized by its ranges alone.
  const QuantizeResult result =
      without_data && !mixed ? *without_data : quantize_graph(graph, calibration, recipe, samples.source.get());
  save_onnx(result.graph, o.output_path, {.opset = o.opset});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  print_summary(o, result, calibration, seconds);
  if (o.report->wants_report()) {
    Analysis analysis = o.report->analyze(graph, calibration, recipe, samples.source.get(), *o.data_options, *o.output,
                                          o.threads, result, false);
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
                              {"samples", calibration.sample_count},
                              {"seconds", seconds},
                              {"float_bytes", file_bytes(o.model)},
                              {"quantized_bytes", file_bytes(o.output_path)},
                              {"recipe", nlohmann::ordered_json::parse(recipe_json(result.recipe))},
                              {"layers", layers}};
  for (const auto& [value, observer] : result.observers) json["observers"][value] = to_string(observer);
  if (mixed) json["mixed"] = nlohmann::ordered_json::parse(mixed_precision_json(*mixed));
  o.output->write(json);
}

// Quantizes in memory only: what would happen, and why.
void analyze_model(const Options& o) {
  if (o.threads > 0) limit_threads(o.threads);
  const Work work = calibrated(o);
  const QuantizeResult quantized = quantize_graph(work.graph, work.calibration, work.recipe, work.samples.source.get());
  Analysis analysis = o.report->analyze(work.graph, work.calibration, work.recipe, work.samples.source.get(),
                                        *o.data_options, *o.output, o.threads, quantized, true);
  analysis.model = o.model.substr(o.model.rfind('/') + 1);
  print_analysis(analysis, *o.output);
  o.report->write(analysis, *o.output);
  o.output->write(nlohmann::ordered_json::parse(analysis_json(analysis)));
}

void add_recipe_flags(CLI::App& verb, Options& o) {
  const auto words = [](const auto& map) {
    std::vector<std::string> keys;
    for (const auto& entry : map) keys.push_back(entry.first);
    return CLI::IsMember(keys);
  };
  // Ranges are checked by check_recipe, which says what the numbers mean.
  verb.add_option("--weight-bits", o.flags.weight_bits, "2..8 (default 8)");
  verb.add_option("--activation-bits", o.flags.activation_bits, "2..8 or 16 (default 8)");
  verb.add_option("--scheme", o.scheme, "For weights and activations at once")->check(words(kSchemes));
  verb.add_option("--weight-scheme", o.weight_scheme,
                  "symmetric or asymmetric (default: symmetric at 8 bits, asymmetric below)")
      ->check(words(kSchemes));
  verb.add_option("--activation-scheme", o.activation_scheme, "asymmetric (default) or symmetric")
      ->check(words(kSchemes));
  verb.add_option("--granularity", o.granularity, "Of weights: per_channel (default) or per_tensor")
      ->check(words(kGranularities));
  verb.add_option(
      "--rounding", o.rounding,
      "Of weights: gptq (least output error on the samples), adaround (gptq, then all weights of a layer together by "
      "gradient descent through its activation), seq_mse (each to its nearest, on the scale of least output error), "
      "squant (errors cancel in each kernel) or nearest; "
      "auto (default) is gptq below 8 bits, else squant");
  verb.add_option(
      "--bias-correction", o.bias_correction,
      "empirical: take the mean error of each layer, as samples show it, off its bias, or none; auto (default) is "
      "empirical with samples, none with saved statistics, and analytic with --data-free");
  verb.add_option("--equalize", o.equalization,
                  "Scales moved between layers before quantizing: noise (least expected noise), weights (equal ranges, "
                  "Nagel et al. 2019) or none; auto (default) is noise with --granularity per_tensor, else none");
  verb.add_option(
      "--smooth", o.smooth,
      "SmoothQuant between LayerNormalizations and their MatMuls: alpha, 0 to 1, often 0.5 (default: none)");
  verb.add_option(
      "--target", o.target,
      "What is to run the result: bitfold (default) has no grid in front of a LeakyRelu, which is more accurate and "
      "needs this tool's engine to be fast; any has one on every value between layers, as ONNX Runtime wants it");
  verb.add_option("--observer", o.observer,
                  "How activation ranges are chosen: mse (default), min_max (default with --data-free, and of networks "
                  "with LayerNormalizations), "
                  "moving_average, percentile, entropy, or auto: "
                  "for each value the one that harms the outputs least on the samples");
  verb.add_option("--percentile", o.flags.percentile, "For the percentile observer, over 50 to 100 (default 99.99)");
  verb.add_option("--skip", o.flags.skip, "A layer to leave in float, by node name (may be repeated)");
  verb.add_option("--recipe", o.recipe_path, "TOML with the same keys: weight_bits = 4 ...; flags override it");
}

void add_common_flags(CLI::App& verb, Options& o) {
  o.verb = &verb;
  verb.add_option("model", o.model, "The float ONNX model")->required();
  verb.add_option("--calibrate", o.data, "Samples: IDX folder, .npy, .npz or image folder; some 100 are enough");
  verb.add_option("--calibration", o.load_calibration_path, "Statistics saved earlier, instead of samples");
  verb.add_option("--threads", o.threads, "Cores to use (default: all)")->check(CLI::Range(0, 1024));
  add_recipe_flags(verb, o);
  o.data_options = std::make_unique<DataOptions>(verb);
  o.report = std::make_unique<ReportOptions>(verb);
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("quantize", "Quantize a float model with some sample inputs");
  verb->add_option("-o,--output", o->output_path, "Where to write the quantized model")->required();
  add_opset_flag(*verb, o->opset);
  verb->add_option("--save-calibration", o->save_calibration_path, "Keep the statistics as JSON");
  add_common_flags(*verb, *o);
  o->mixed = std::make_unique<MixedOptions>(*verb);
  o->data_free = std::make_unique<DataFreeOptions>(*verb);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold quantize model.onnx --calibrate imagenet/calib --crop 224 -o model.int8.onnx");
  verb->callback([o] { quantize_model(*o); });
}

void add_analyze(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("analyze", "Which layers quantization hurts, why, and what to do about it");
  add_common_flags(*verb, *o);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold analyze model.onnx --calibrate imagenet/calib --crop 224 --report report.html");
  verb->callback([o] { analyze_model(*o); });
}

}  // namespace bitfold::cli
