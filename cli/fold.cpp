#include <fmt/format.h>

#include <memory>
#include <optional>

#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct FoldFlags {
  std::string model, output_path;
  std::vector<std::string> skip;
  std::optional<std::int64_t> opset;
  std::unique_ptr<Output> output;
};

void fold(const FoldFlags& o) {
  Graph graph = load_float(o.model, "fold");
  const std::size_t nodes_before = graph.node_count();
  const auto records = optimize(graph, {.skip = o.skip});
  save_onnx(graph, o.output_path, {.opset = o.opset});
  nlohmann::ordered_json passes = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows{{"pass", "changes", "time"}};
  for (const auto& record : records) {
    passes.push_back({{"name", record.name}, {"changes", record.change_count}, {"time_ms", record.time_ms}});
    if (record.change_count > 0)
      rows.push_back({record.name, std::to_string(record.change_count), duration(record.time_ms * 1e3)});
  }
  o.output->table(rows);
  o.output->say("");
  o.output->say(fmt::format("{}: {} nodes -> {}: {} nodes", o.model, nodes_before, o.output_path, graph.node_count()));
  o.output->write({{"model", o.model},
                   {"output", o.output_path},
                   {"nodes_before", nodes_before},
                   {"nodes_after", graph.node_count()},
                   {"passes", passes}});
}

}  // namespace

void add_fold(CLI::App& app) {
  auto o = std::make_shared<FoldFlags>();
  CLI::App* verb = app.add_subcommand("fold", "Fold BatchNorm and constants, merge activations; stays in float");
  verb->add_option("model", o->model, "The float ONNX model")->required();
  verb->add_option("-o,--output", o->output_path, "Where to write the folded model")->required();
  verb->add_option("--skip-pass", o->skip, "Leave out a pass, by name (may be repeated)");
  add_opset_flag(*verb, o->opset);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold fold model.onnx -o folded.onnx");
  verb->callback([o] { fold(*o); });
}

}  // namespace bitfold::cli
