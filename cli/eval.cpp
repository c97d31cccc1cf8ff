#include <fmt/format.h>

#include <memory>

#include "bitfold/report.h"
#include "data_options.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct EvalFlags {
  std::string model, data;
  Cut cut;
  int threads = 0;
  std::int64_t batch = 0;
  bool simulate = false;
  std::unique_ptr<DataOptions> data_options;
  std::unique_ptr<Output> output;
};

void eval(const EvalFlags& o) {
  const Graph graph = load_runnable(o.model, o.cut, load_options_for(o.data));
  Dataset dataset = open_dataset(o.data, input_specs(graph), o.data_options->resolve());
  o.output->say_all(dataset.notes);
  Evaluation result;
  {
    ProgressBar bar;
    result = naming_file(o.model, [&] {
      return evaluate(
          graph, *dataset.source,
          {.batch_size = o.batch, .threads = o.threads, .use_reference = o.simulate, .progress = bar.progress()});
    });
  }
  o.output->say(fmt::format("samples  {}", result.sample_count));
  if (result.top1) o.output->say(fmt::format("top-1    {}", percent(*result.top1)));
  if (result.top5) o.output->say(fmt::format("top-5    {}", percent(*result.top5)));
  if (!result.top1) o.output->say("accuracy is not measured: the data has no labels");
  if (!o.simulate)
    o.output->say(fmt::format("latency  {} per sample (median, batch 1, 1 thread)", duration(result.latency_us)));
  nlohmann::ordered_json json{{"model", o.model}, {"data", o.data}, {"samples", result.sample_count}};
  json["top1"] = result.top1 ? nlohmann::ordered_json(*result.top1) : nullptr;
  json["top5"] = result.top5 ? nlohmann::ordered_json(*result.top5) : nullptr;
  json["latency_us"] = o.simulate ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(result.latency_us);
  o.output->write(json);
}

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<EvalFlags>();
  CLI::App* verb = app.add_subcommand("eval", "Measure top-1 and top-5 accuracy and latency on labelled data");
  verb->add_option("model", o->model, "The ONNX model, float or quantized")->required();
  verb->add_option("--data", o->data, fmt::format("Labelled samples: {}", kDataForms))->required();
  verb->add_option("--threads", o->threads, "Cores to use (default: all)")->check(CLI::Range(0, 1024));
  verb->add_option("--batch", o->batch, "Batch size (default: chosen automatically)")->check(CLI::Range(1, 1 << 20));
  verb->add_flag("--simulate", o->simulate, "Run the float simulation instead of the integer engine");
  add_cut_flags(*verb, o->cut);
  o->data_options = std::make_unique<DataOptions>(*verb);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold eval model.int8.onnx --data imagenet/val --crop 224");
  verb->callback([o] { eval(*o); });
}

}  // namespace bitfold::cli
