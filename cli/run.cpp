#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "bitfold/data.h"
#include "bitfold/error.h"
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

/// The names of arrays that the network does not read, as it is by default.
std::vector<std::string> other_names(const Graph& graph, const std::vector<NamedTensor>& arrays) {
  std::vector<std::string> names;
  if (graph.inputs().size() == 1 && arrays.size() == 1) return names;
  const auto is_item = [&](const std::string& name, ValueId input) {
    return is_container(graph.value(input).dtype) && name.starts_with(graph.value(input).name + "_");
  };
  for (const NamedTensor& array : arrays)
    if (!graph.is_input(graph.find(array.name)) &&
        std::ranges::none_of(graph.inputs(), [&](ValueId input) { return is_item(array.name, input); }))
      names.push_back(array.name);
  return names;
}

/// Either executor of one network.
class Runner {
 public:
  Runner(const Graph& graph, const Options& o) : graph_(graph) {
    if (o.simulate)
      reference_.emplace(graph);
    else
      session_.emplace(graph, SessionOptions{.threads = o.threads});
  }
  std::vector<NamedTensor> run(const std::vector<Tensor>& inputs) {
    const std::vector<Tensor> outputs = session_ ? session_->run(inputs) : reference_->run(inputs);
    std::vector<NamedTensor> named;
    for (std::size_t i = 0; i < outputs.size(); ++i)
      named.push_back({graph_.value(graph_.outputs()[i]).name, outputs[i]});
    return named;
  }

 private:
  const Graph& graph_;
  std::optional<Reference> reference_;
  std::optional<Session> session_;
};

/// Runs the network once for each file of the folder. Outputs have the names of the inputs' files.
void run_folder(const Options& o) {
  namespace fs = std::filesystem;
  const std::vector<std::string> files = some_sample_files(o.input);
  if (!o.output_path.empty()) {
    std::error_code error;
    fs::create_directories(o.output_path, error);
    if (error || !fs::is_directory(o.output_path))
      throw Error(
          fmt::format("{}: the inputs are a folder, so the outputs are written to a folder, which cannot be "
                      "created{}",
                      o.output_path, error ? ": " + error.message() : ""));
  }
  const Graph graph = load_runnable(o.model, o.cut);
  const std::vector<InputSpec> inputs = input_specs(graph);
  naming_file(o.model, [&] {
    Runner runner(graph, o);
    std::vector<std::string> notes;
    for (std::size_t i = 0; i < files.size(); ++i) {
      const std::vector<Tensor> arrays = arrange_inputs(load_npy(files[i]), inputs, files[i], notes);
      if (i == 0) o.output->say_all(notes);
      const auto outputs = naming_file(fmt::format("'{}'", files[i]), [&] { return runner.run(arrays); });
      if (!o.output_path.empty())
        save_npy((fs::path(o.output_path) / fs::path(files[i]).filename().replace_extension(".npz")).string(), outputs);
    }
  });
  o.output->say(fmt::format("{} samples", files.size()));
  o.output->write({{"model", o.model}, {"samples", files.size()}});
}

void run_file(const Options& o) {
  Graph graph = load_runnable(o.model, o.cut);
  if (o.input.empty() && !graph.inputs().empty())
    throw CLI::RequiredError(fmt::format("--input (the network reads {})", describe_interface(graph).front()));
  const std::vector<NamedTensor> given = o.input.empty() ? std::vector<NamedTensor>{} : load_arrays(o.input);
  // An array may replace the default value of an input.
  if (const auto names = other_names(graph, given); !names.empty()) graph = load_runnable(o.model, o.cut, {names});
  std::vector<std::string> notes;
  const auto inputs = arrange_inputs(given, input_specs(graph), o.input, notes);
  o.output->say_all(notes);
  const auto outputs = naming_file(o.model, [&] { return Runner(graph, o).run(inputs); });
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [name, tensor] : outputs) {
    list.push_back({{"name", name}, {"shape", tensor.shape()}, {"dtype", to_string(tensor.dtype())}});
    o.output->say(fmt::format("output '{}' {} {}", name, to_string(tensor.dtype()), to_string(tensor.shape())));
    if (is_container(tensor.dtype()))
      for (const auto& [item, array] : arrays_of(name, tensor))
        o.output->say(fmt::format("  '{}' {} {}", item, to_string(array.dtype()), to_string(array.shape())));
  }
  for (const auto& [name, tensor] : outputs)
    if (o.output_path.ends_with(".npy") && is_container(tensor.dtype()))
      throw Error(fmt::format("{}: output '{}' is a {}, but an .npy file holds one array; write an .npz file",
                              o.output_path, name, to_string(tensor.dtype())));
  if (o.output_path.ends_with(".npy") && outputs.size() > 1)
    throw Error(fmt::format("{}: the network has {} outputs, but an .npy file holds one array; write an .npz file",
                            o.output_path, outputs.size()));
  if (!o.output_path.empty()) save_npy(o.output_path, outputs);
  o.output->write({{"model", o.model}, {"outputs", list}});
}

void run_model(const Options& o) {
  std::error_code ignored;
  if (std::filesystem::is_directory(o.input, ignored))
    run_folder(o);
  else
    run_file(o);
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("run", "Run a model on arrays that need no preprocessing");
  verb->add_option("model", o->model, "The ONNX model, float or quantized")->required();
  verb->add_option(
      "--input", o->input,
      "A .npy file (also through a pipe), an .npz with one array per input (a sequence x is x_0, x_1, ...), or a "
      "folder of such files; not needed if the network has no inputs");
  verb->add_option("--output", o->output_path,
                   "Where to write the outputs: .npz, .npy for one output, or a folder if the input is one");
  verb->add_option("--threads", o->threads, "Cores to use, 0 for all (default: 1)")->check(CLI::Range(0, 1024));
  verb->add_flag("--simulate", o->simulate, "Run the float simulation instead of the integer engine");
  add_cut_flags(*verb, o->cut);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold run model.int8.onnx --input x.npy --output y.npz");
  verb->callback([o] { run_model(*o); });
}

}  // namespace bitfold::cli
