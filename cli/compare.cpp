#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "bitfold/report.h"
#include "data_options.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct CompareFlags {
  std::string float_model, quantized_model, data;
  Cut cut;
  int threads = 0;
  std::size_t worst = 10;
  std::unique_ptr<DataOptions> data_options;
  std::unique_ptr<Output> output;
};

nlohmann::ordered_json to_json(const ValueError& e) {
  return {{"value", e.value},
          {"node", e.node},
          {"op", e.op},
          {"sqnr_db", finite(e.sqnr_db)},
          {"max_abs_error", finite(e.max_abs_error)},
          {"bits", e.bits}};
}

void print_worst(const CompareFlags& o, const Comparison& result) {
  std::vector<ValueError> layers = result.layers;
  std::stable_sort(layers.begin(), layers.end(), [](const auto& a, const auto& b) { return a.sqnr_db < b.sqnr_db; });
  layers.resize(std::min(layers.size(), o.worst));
  std::vector<std::vector<std::string>> rows{{"layers furthest from float", "op", "SQNR dB", "max error", "bits"}};
  for (const auto& e : layers)
    rows.push_back({e.node.empty() ? e.value : e.node, e.op, fmt::format("{:.1f}", e.sqnr_db),
                    fmt::format("{:.4g}", e.max_abs_error), e.bits == 0 ? "float" : std::to_string(e.bits)});
  if (!layers.empty()) o.output->table(rows);
}

void compare_models(const CompareFlags& o) {
  const LoadOptions load = load_options_for(o.data);
  const Graph float_graph = load_runnable(o.float_model, o.cut, load);
  const Graph quantized_graph = load_runnable(o.quantized_model, o.cut, load);
  Dataset dataset = open_dataset(o.data, input_specs(float_graph), o.data_options->resolve());
  o.output->say_all(dataset.notes);
  Comparison result;
  {
    ProgressBar bar;
    result = compare(float_graph, quantized_graph, *dataset.source,
                     {.threads = o.threads, .progress = bar.progress(), .names = {o.float_model, o.quantized_model}});
  }
  const auto times = bench_interleaved(
      {&float_graph, &quantized_graph},
      with_first_sample({.min_time_s = 0.5, .names = {o.float_model, o.quantized_model}}, *dataset.source));
  const double float_bytes = static_cast<double>(file_bytes(o.float_model));
  const double quantized_bytes = static_cast<double>(file_bytes(o.quantized_model));

  print_worst(o, result);
  o.output->say("");
  o.output->say(fmt::format("samples          {}", result.sample_count));
  if (result.top1_agreement) o.output->say(fmt::format("top-1 agreement  {}", percent(*result.top1_agreement)));
  nlohmann::ordered_json outputs = nlohmann::ordered_json::array(), layers = nlohmann::ordered_json::array();
  for (const auto& e : result.outputs) {
    o.output->say(fmt::format("output '{}'  SQNR {:.1f} dB, max error {:.4g}", e.value, e.sqnr_db, e.max_abs_error));
    outputs.push_back(to_json(e));
  }
  for (const auto& e : result.layers) layers.push_back(to_json(e));
  o.output->say("size             " + size_change(float_bytes, quantized_bytes));
  o.output->say(fmt::format("latency          {}; median, batch 1, 1 thread",
                            speed_change(times[0].median_us, times[1].median_us)));
  nlohmann::ordered_json json{
      {"float_model", o.float_model}, {"quantized_model", o.quantized_model}, {"samples", result.sample_count}};
  json["top1_agreement"] = result.top1_agreement ? nlohmann::ordered_json(*result.top1_agreement) : nullptr;
  json["sqnr_db"] = finite(result.sqnr_db);
  json["max_abs_error"] = finite(result.max_abs_error);
  json["outputs"] = outputs;
  json["layers"] = layers;
  json["float_bytes"] = static_cast<std::int64_t>(float_bytes);
  json["quantized_bytes"] = static_cast<std::int64_t>(quantized_bytes);
  json["float_median_us"] = times[0].median_us;
  json["quantized_median_us"] = times[1].median_us;
  o.output->write(json);
}

}  // namespace

void add_compare(CLI::App& app) {
  auto o = std::make_shared<CompareFlags>();
  CLI::App* verb = app.add_subcommand("compare", "Compare a quantized model with its float original");
  verb->add_option("float_model", o->float_model, "The float ONNX model")->required();
  verb->add_option("quantized_model", o->quantized_model, "The quantized ONNX model")->required();
  verb->add_option("--data", o->data, fmt::format("Samples: {}; labels are not needed", kDataForms))->required();
  verb->add_option("--threads", o->threads, "Cores to use (default: all)")->check(CLI::Range(0, 1024));
  verb->add_option("--worst", o->worst, "How many layers to list; the JSON has all (default: 10)");
  add_cut_flags(*verb, o->cut);
  o->data_options = std::make_unique<DataOptions>(*verb);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold compare model.onnx model.int8.onnx --data mnist/test --mean 0.1307 --std 0.3081");
  verb->callback([o] { compare_models(*o); });
}

}  // namespace bitfold::cli
