#include <fmt/format.h>

#include <memory>

#include "bitfold/data.h"
#include "bitfold/error.h"
#include "bitfold/reals.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct Options {
  std::string model, input, output_path;
  Cut cut;
  int threads = 1;
  bool simulate = false;
  std::unique_ptr<Output> output;
};

/// The file's arrays in graph input order: by name, or the only array for the only input.
std::vector<Tensor> arrange(const Graph& graph, std::vector<NamedTensor> arrays, const std::string& path,
                            const Output& output) {
  if (graph.inputs().size() == 1 && arrays.size() == 1) return {arrays.front().tensor};
  std::vector<Tensor> inputs;
  for (ValueId id : graph.inputs()) {
    const std::string& name = graph.value(id).name;
    const NamedTensor* found = nullptr;
    for (const auto& array : arrays)
      if (array.name == name) found = &array;
    if (found == nullptr) throw Error(fmt::format("{}: lacks the array '{}', which the network reads", path, name));
    inputs.push_back(found->tensor);
  }
  for (const auto& array : arrays) {
    const ValueId id = graph.find(array.name);
    if (id == ValueId::none || !graph.is_input(id))
      output.say(fmt::format("'{}': array '{}' is not used", path, array.name));
  }
  return inputs;
}

/// Converts arrays of reals to the types that the network reads.
std::vector<Tensor> converted(const Graph& graph, std::vector<Tensor> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const DataType wanted = graph.value(graph.inputs()[i]).dtype;
    if (needs_conversion(inputs[i].dtype(), wanted)) inputs[i] = convert_reals(inputs[i], wanted);
  }
  return inputs;
}

/// The names of arrays that the network does not read, as it is by default.
std::vector<std::string> other_names(const Graph& graph, const std::vector<NamedTensor>& arrays) {
  std::vector<std::string> names;
  if (graph.inputs().size() == 1 && arrays.size() == 1) return names;
  for (const NamedTensor& array : arrays)
    if (!graph.is_input(graph.find(array.name))) names.push_back(array.name);
  return names;
}

void run_model(const Options& o) {
  Graph graph = load_runnable(o.model, o.cut);
  const std::vector<NamedTensor> given = load_arrays(o.input);
  // An array may replace the default value of an input.
  if (const auto names = other_names(graph, given); !names.empty()) graph = load_runnable(o.model, o.cut, {names});
  const auto inputs = converted(graph, arrange(graph, given, o.input, *o.output));
  const auto outputs = naming_file(o.model, [&] {
    return o.simulate ? Reference(graph).run(inputs) : Session(graph, {.threads = o.threads}).run(inputs);
  });
  std::vector<NamedTensor> arrays;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = graph.value(graph.outputs()[i]).name;
    arrays.push_back({name, outputs[i]});
    list.push_back({{"name", name}, {"shape", outputs[i].shape()}, {"dtype", to_string(outputs[i].dtype())}});
    o.output->say(fmt::format("output '{}' {} {}", name, to_string(outputs[i].dtype()), to_string(outputs[i].shape())));
  }
  if (o.output_path.ends_with(".npy") && arrays.size() > 1)
    throw Error(fmt::format("{}: the network has {} outputs, but an .npy file holds one array; write an .npz file",
                            o.output_path, arrays.size()));
  if (!o.output_path.empty()) save_npy(o.output_path, arrays);
  o.output->write({{"model", o.model}, {"outputs", list}});
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("run", "Run a model on arrays that need no preprocessing");
  verb->add_option("model", o->model, "The ONNX model, float or quantized")->required();
  verb->add_option("--input", o->input, "A .npy file (also through a pipe), or an .npz with one array per input")
      ->required();
  verb->add_option("--output", o->output_path, "Where to write the outputs: .npz, or .npy for one output");
  verb->add_option("--threads", o->threads, "Cores to use, 0 for all (default: 1)")->check(CLI::Range(0, 1024));
  verb->add_flag("--simulate", o->simulate, "Run the float simulation instead of the integer engine");
  add_cut_flags(*verb, o->cut);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold run model.int8.onnx --input x.npy --output y.npz");
  verb->callback([o] { run_model(*o); });
}

}  // namespace bitfold::cli
