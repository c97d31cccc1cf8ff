// Computes everything the report contains.
#include <algorithm>
#include <array>
#include <map>

#include "base/check.h"
#include "bitfold/analysis.h"
#include "bitfold/onnx.h"
#include "graph/linear_layer.h"
#include "ops/operator.h"
#include "report/value_figures.h"

namespace bitfold {
namespace {

// In the order of Severity and Cause.
constexpr std::array<std::string_view, 2> kSeverities{"note", "warning"};
constexpr std::array<std::string_view, 9> kCauses{"wide_channels", "dead_channels", "clipped",
                                                  "long_tail",     "unused_grid",   "largest_share",
                                                  "low_bits",      "left_in_float", "raised_scale"};

bool has_weights(const Op& op) { return ops::info(op).role == ops::Role::product; }

class Analyzer {
 public:
  Analyzer(const Graph& graph, const Calibration& calibration, Analysis& analysis)
      : graph_(graph), calibration_(calibration), analysis_(analysis) {}

  void describe_layers(const QuantizeResult& quantized, const Comparison& comparison,
                       const std::vector<StepTime>& steps) {
    for (const LayerSummary& s : summarize(graph_)) summaries_[s.name] = s;
    for (const LayerDecision& d : quantized.decisions) decisions_[d.node] = &d;
    for (const ValueError& e : comparison.layers) errors_[e.value] = &e;
    for (const LayerSensitivity& s : analysis_.sensitivity.layers) sensitivities_[s.node] = &s;
    for (const StepTime& step : steps)
      for (const std::string& output : step.step.outputs) add_step(output, step);
    for (NodeId id : graph_.nodes()) float_nodes_.emplace(graph_.node(id).name, id);
    for (NodeId id : quantized.runnable().topological_order()) describe(quantized.runnable(), id);
    for (LayerAnalysis& layer : analysis_.layers) {
      std::vector<Finding> findings = diagnose(layer, analysis_);
      layer.findings.insert(layer.findings.end(), findings.begin(), findings.end());
    }
  }

 private:
  // One step may compute a value and the next convert it; the layer's time includes both.
  void add_step(const std::string& value, const StepTime& step) {
    const auto [it, is_first] = steps_.try_emplace(value, step);
    if (!is_first) it->second.median_us += step.median_us;
  }

  void describe(const Graph& quantized, NodeId id) {
    const Node& node = quantized.node(id);
    const bool has_value = !node.outputs.empty() && node.outputs[0] != ValueId::none &&
                           quantized.value(node.outputs[0]).dtype == DataType::float32;
    if (!has_value) return;
    const Value& value = quantized.value(node.outputs[0]);
    LayerAnalysis layer{.node = node.name, .op = op_name(node.op), .value = value.name};
    if (value.shape) layer.output_shape = *value.shape;
    if (const auto it = summaries_.find(node.name); it != summaries_.end()) {
      layer.parameter_count = it->second.parameter_count;
      layer.mac_count = it->second.mac_count;
    }
    if (node.inputs.size() > 1 && quantized.is_constant(node.inputs[1]) && has_weights(node.op)) {
      layer.has_weights = true;
      if (const auto& grid = quantized.value(node.inputs[1]).quant) layer.weight_bits = grid->bits;
    }
    layer.grid = value.quant;
    layer.activation_bits = value.quant ? value.quant->bits : 0;
    if (const auto it = errors_.find(value.name); it != errors_.end()) layer.sqnr_db = it->second->sqnr_db;
    if (const auto it = sensitivities_.find(node.name); it != sensitivities_.end()) layer.sensitivity = *it->second;
    if (const auto it = steps_.find(value.name); it != steps_.end()) {
      layer.kernel = it->second.step.kernel;
      layer.time_us = it->second.median_us;
    }
    add_decision(layer);
    add_figures(layer);
    analysis_.layers.push_back(std::move(layer));
  }

  void add_decision(LayerAnalysis& layer) const {
    const auto it = decisions_.find(layer.node);
    if (it == decisions_.end()) return;
    layer.is_quantized = it->second->quantized;
    if (layer.has_weights && !layer.is_quantized)
      layer.findings.push_back(
          {Severity::note, Cause::left_in_float, fmt::format("Left in float: {}.", it->second->reason)});
    else if (layer.has_weights && !it->second->reason.empty())
      layer.findings.push_back({Severity::note, Cause::raised_scale, fmt::format("The {}.", it->second->reason)});
  }

  void add_figures(LayerAnalysis& layer) const {
    if (const auto seen = calibration_.values.find(layer.value); seen != calibration_.values.end()) {
      layer.values = report::histogram(seen->second);
      if (layer.grid) {
        layer.clipped_share = report::clipped_share(seen->second, *layer.grid);
        layer.used_codes = report::used_codes(seen->second, *layer.grid);
      }
    }
    const auto original = float_nodes_.find(layer.node);
    if (!layer.has_weights || original == float_nodes_.end()) return;
    const auto view = constant_weights(graph_, original->second);
    const Tensor* weights = view ? plain_constant(graph_, graph_.node(original->second).inputs[1]) : nullptr;
    if (weights != nullptr && weights->size() > 0) layer.weights = report::weight_ranges(*weights, view->output_axis);
  }

  const Graph& graph_;
  const Calibration& calibration_;
  Analysis& analysis_;
  std::map<std::string, LayerSummary> summaries_;
  std::map<std::string, const LayerDecision*> decisions_;
  std::map<std::string, const ValueError*> errors_;
  std::map<std::string, const LayerSensitivity*> sensitivities_;
  std::map<std::string, StepTime> steps_;  // key: the value's name
  std::map<std::string, NodeId> float_nodes_;
};

}  // namespace

std::string_view to_string(Severity severity) { return kSeverities.at(static_cast<std::size_t>(severity)); }
std::string_view to_string(Cause cause) { return kCauses.at(static_cast<std::size_t>(cause)); }

Analysis analyze(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource& samples,
                 BatchSource& comparison_source, const AnalysisOptions& options) {
  const QuantizeResult quantized =
      options.quantized != nullptr ? *options.quantized : quantize(graph, calibration, recipe);
  const Graph& quantized_graph = quantized.runnable();
  Recipe alone = without_samples(recipe);
  if (alone.rounding == Rounding::automatic) alone.rounding = Rounding::squant;
  alone.bias_correction = BiasCorrection::none;
  Analysis analysis{.recipe = quantized.recipe, .calibration_samples = calibration.sample_count};
  analysis.left = quantized.left;
  analysis.sensitivity = measure_sensitivity(graph, calibration, samples, alone, options.sensitivity);
  const Comparison comparison =
      compare(graph, quantized_graph, comparison_source,
              {.threads = options.threads, .progress = {.report = options.sensitivity.progress.report}});
  analysis.comparison_samples = comparison.sample_count;
  analysis.comparison_data = comparison_source.description();
  analysis.agreement = comparison.top1_agreement;
  analysis.sqnr_db = comparison.sqnr_db;
  analysis.before.bytes = model_bytes(graph);
  analysis.after.bytes = model_bytes(quantized_graph);
  if (options.has_accuracy && comparison_source.has_labels()) {
    for (const auto& [network, figures] : {std::pair(&graph, &analysis.before), {&quantized_graph, &analysis.after}}) {
      const Evaluation evaluation = evaluate(*network, comparison_source, {.threads = options.threads});
      figures->top1 = evaluation.top1;
      figures->top5 = evaluation.top5;
    }
  }
  const BenchOptions bench_options = with_first_sample({.min_time_s = options.bench_time_s}, comparison_source);
  const auto times = bench_interleaved({&graph, &quantized_graph}, bench_options);
  analysis.before.latency_us = times[0].median_us;
  analysis.after.latency_us = times[1].median_us;

  const std::vector<StepTime> steps = profile(quantized_graph, bench_options);
  Analyzer(graph, calibration, analysis).describe_layers(quantized, comparison, steps);
  return analysis;
}

}  // namespace bitfold
