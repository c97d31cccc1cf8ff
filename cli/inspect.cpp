#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "bitfold/report.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct InspectFlags {
  std::string model;
  std::vector<std::string> shapes;
  bool optimize = false, checks = false;
  std::unique_ptr<Output> output;
};

std::string bits_text(const LayerSummary& layer) {
  if (layer.weight_bits == 0 && layer.activation_bits == 0) return "float";
  const auto text = [](int bits) { return bits == 0 ? std::string("f") : std::to_string(bits); };
  return layer.weight_bits == 0 ? "A" + text(layer.activation_bits)
                                : "W" + text(layer.weight_bits) + "A" + text(layer.activation_bits);
}

/// The shapes of all inputs, if --shape gives one: the others keep their declared shapes. An open batch becomes 1.
std::vector<Shape> input_shapes(const Graph& graph, const std::vector<std::string>& given) {
  std::vector<Shape> shapes;
  if (given.empty()) return shapes;
  std::set<std::string> unknown;  // inputs whose number of dimensions is not known
  for (ValueId id : graph.inputs()) {
    const Value& input = graph.value(id);
    Shape shape = input.shape.value_or(Shape{});
    if (!input.shape) unknown.insert(input.name);
    if (!shape.empty() && shape[0] == kDynamic) shape[0] = 1;
    shapes.push_back(shape);
  }
  for (const std::string& text : given) {
    const NamedShape wanted = parse_named_shape(text);
    const auto found =
        std::ranges::find_if(graph.inputs(), [&](ValueId id) { return graph.value(id).name == wanted.name; });
    if (found == graph.inputs().end())
      throw Error(fmt::format("--shape {}: the network has no input '{}'; {}", text, wanted.name,
                              describe_interface(graph).front()));
    const auto& declared = graph.value(*found).shape;
    const auto fits = [](std::int64_t size, std::int64_t open) { return open == kDynamic || size == open; };
    if (declared && !std::equal(wanted.shape.begin(), wanted.shape.end(), declared->begin(), declared->end(), fits))
      throw Error(fmt::format("--shape {}: input '{}' has shape {}", text, wanted.name, to_string(*declared)));
    shapes[static_cast<std::size_t>(found - graph.inputs().begin())] = wanted.shape;
    unknown.erase(wanted.name);
  }
  if (!unknown.empty())
    throw Error(fmt::format("input '{}' has no shape: give it with --shape as well", *unknown.begin()));
  return shapes;
}

/// "runs; 58 of 61 layers with weights can be quantized (97.4 % of the multiply-accumulates)"
std::string verdict(const Support& support) {
  if (!support.why_not.empty()) return support.why_not;
  if (support.layers == 0) return "runs; no layer has constant weights, so nothing can be quantized";
  std::string text = fmt::format("runs; {} of {} layers with weights {} quantized", support.quantized_layers,
                                 support.layers, support.is_quantized ? "are" : "can be");
  if (!support.counts_all_macs) return text + "; to count their multiply-accumulates, give open sizes with --shape";
  if (support.macs > 0)
    text += fmt::format(" ({} of the multiply-accumulates)",
                        percent(static_cast<double>(support.quantized_macs) / static_cast<double>(support.macs)));
  return text;
}

void inspect(const InspectFlags& o) {
  const Graph loaded = load_onnx(o.model);
  Graph optimized = loaded;
  if (!is_quantized(loaded)) optimize(optimized);
  const Graph& graph = o.optimize ? optimized : loaded;
  const std::vector<Shape> shapes = input_shapes(loaded, o.shapes);
  const auto layers = naming_file(o.model, [&] { return summarize(graph, shapes); });
  const Support support = naming_file(o.model, [&] { return check_support(optimized, shapes); });
  std::int64_t parameters = 0, macs = 0;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows{
      {"layer", "op", "output", "parameters", "MACs", "bits", "can be quantized"}};
  for (const auto& layer : layers) {
    parameters += layer.parameter_count;
    macs += layer.mac_count;
    rows.push_back({layer.name, layer.op, to_string(layer.output_shape),
                    count(static_cast<double>(layer.parameter_count)), count(static_cast<double>(layer.mac_count)),
                    bits_text(layer), layer.can_quantize ? "yes" : "no: " + layer.reason});
    list.push_back({{"name", layer.name},
                    {"op", layer.op},
                    {"value", layer.value},
                    {"output_shape", layer.output_shape},
                    {"parameters", layer.parameter_count},
                    {"macs", layer.mac_count},
                    {"weight_bits", layer.weight_bits},
                    {"activation_bits", layer.activation_bits},
                    {"can_quantize", layer.can_quantize},
                    {"reason", layer.reason}});
  }
  o.output->say(verdict(support));
  for (const std::string& group : support.in_float) o.output->say(fmt::format("  in float: {}", group));
  o.output->say(fmt::format("{}: {} layers, {} parameters, {} multiply-accumulates per sample, {}", o.model,
                            layers.size(), count(static_cast<double>(parameters)), count(static_cast<double>(macs)),
                            bytes(static_cast<double>(file_bytes(o.model)))));
  o.output->say_all(describe_interface(graph));
  o.output->say("");
  o.output->table(rows);
  o.output->write({{"model", o.model},
                   {"parameters", parameters},
                   {"macs", macs},
                   {"bytes", file_bytes(o.model)},
                   {"quantized", support.is_quantized},
                   {"runs", support.why_not.empty()},
                   {"why_not", support.why_not},
                   {"layers_with_weights", support.layers},
                   {"quantizable_layers", support.quantized_layers},
                   {"quantizable_macs", support.quantized_macs},
                   {"in_float", support.in_float},
                   {"layers", list}});
  if (o.checks && !support.why_not.empty()) throw Error(fmt::format("{}: {}", o.model, support.why_not));
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectFlags>();
  CLI::App* verb = app.add_subcommand(
      "inspect", "Report whether a model can be run and quantized, and list its layers, shapes, parameters and MACs");
  verb->add_option("model", o->model, "The ONNX model")->required();
  verb->add_flag("--optimize", o->optimize, "Show the network after folding, as quantize sees it");
  verb->add_option("--shape", o->shapes,
                   "Shape of an input whose sizes are open, such as x=1x3x224x224; may be repeated")
      ->type_name("NAME=1x3x...")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_flag("--check", o->checks, "Exit with status 1 if the model cannot run");
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold inspect model.onnx --optimize");
  verb->callback([o] { inspect(*o); });
}

}  // namespace bitfold::cli
