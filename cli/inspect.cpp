#include <fmt/format.h>

#include <memory>

#include "bitfold/onnx.h"
#include "bitfold/report.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct Options {
  std::string model;
  bool optimize = false;
  std::unique_ptr<Output> output;
};

std::string bits_text(const LayerSummary& layer) {
  if (layer.weight_bits == 0 && layer.activation_bits == 0) return "float";
  const auto text = [](int bits) { return bits == 0 ? std::string("f") : std::to_string(bits); };
  return layer.weight_bits == 0 ? "A" + text(layer.activation_bits)
                                : "W" + text(layer.weight_bits) + "A" + text(layer.activation_bits);
}

void inspect(const Options& o) {
  const Graph graph = o.optimize ? load_optimized(o.model) : load_onnx(o.model);
  const auto layers = summarize(graph);
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
                   {"quantized", is_quantized(graph)},
                   {"layers", list}});
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("inspect", "List layers, shapes, parameters, MACs, and what can be quantized");
  verb->add_option("model", o->model, "The ONNX model")->required();
  verb->add_flag("--optimize", o->optimize, "Show the network after folding, as quantize sees it");
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold inspect model.onnx --optimize");
  verb->callback([o] { inspect(*o); });
}

}  // namespace bitfold::cli
