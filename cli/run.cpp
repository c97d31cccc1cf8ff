#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "bitfold/data.h"
#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "data_options.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct RunFlags {
  std::string model, input, output_path;
  Cut cut;
  int threads = 1;
  bool simulate = false;
  std::unique_ptr<DataOptions> data_options;
  std::unique_ptr<Output> output;
};

/// The names of arrays that are not inputs of the network. Some may replace default values of inputs.
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
  Runner(const Graph& graph, const RunFlags& o) : graph_(graph) {
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

/// The names of the samples' outputs: those of their files, with numbers if several samples have the same.
std::vector<std::string> output_names(const std::vector<std::string>& files) {
  std::vector<std::string> names;
  std::map<std::string, int> uses, numbers;
  for (const std::string& file : files) ++uses[names.emplace_back(std::filesystem::path(file).stem().string())];
  for (std::string& name : names)
    if (uses[name] > 1) name += fmt::format("-{}", numbers[name]++);
  return names;
}

/// Runs the network once for each sample of a folder or list, or of one image or audio file.
void run_samples(const RunFlags& o) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!o.output_path.empty()) {
    fs::create_directories(o.output_path, error);
    if (error || !fs::is_directory(o.output_path))
      throw Error(
          fmt::format("{}: the inputs are several samples, so the outputs are written to a folder, which cannot be "
                      "created{}",
                      o.output_path, error ? ": " + error.message() : ""));
  }
  const Graph graph = load_runnable(o.model, o.cut, load_options_for(o.input));
  DatasetOptions options = o.data_options->resolve();
  options.strict = true;  // each output belongs to a file
  Dataset dataset = open_dataset(o.input, input_specs(graph), options);
  o.output->say_all(dataset.notes);
  if (dataset.files.empty())
    throw Error(fmt::format("'{}': run takes images, audio files, .npz and .npy files; use eval or compare", o.input));
  const std::vector<std::string> names = output_names(dataset.files);
  Runner runner = naming_file(o.model, [&] { return Runner(graph, o); });
  std::size_t count = 0;
  for (; const auto batch = dataset.source->next(1); ++count) {
    const std::string& file = dataset.files[count];
    const auto outputs = naming_file(o.model, [&] {
      return naming_file(fmt::format("'{}'", file),
                         [&] { return runner.run(batch->runs.empty() ? batch->inputs : batch->runs[0]); });
    });
    if (o.output_path.empty()) continue;
    const fs::path path = fs::path(o.output_path) / (names[count] + ".npz");
    if (fs::equivalent(path, file, error))
      throw Error(fmt::format("{}: the output would overwrite the sample; write to another folder", path.string()));
    save_npy(path.string(), outputs);
  }
  o.output->say(fmt::format("{} samples", count));
  o.output->write({{"model", o.model}, {"samples", count}});
}

void run_file(const RunFlags& o) {
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

void run_model(const RunFlags& o) {
  if (is_array_input(o.input)) {
    if (const std::string flag = o.data_options->first_given(); !flag.empty())
      throw Error(fmt::format("{}: '{}' is an array, which is taken as it is; leave out {}", flag, o.input, flag));
    run_file(o);
  } else {
    run_samples(o);
  }
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<RunFlags>();
  CLI::App* verb = app.add_subcommand("run", "Run a model and write its outputs");
  verb->add_option("model", o->model, "The ONNX model, float or quantized")->required();
  verb->add_option(
      "--input", o->input,
      "A .npy file (also through a pipe) or an .npz with one array per input, as the network takes them (a sequence x "
      "is x_0, x_1, ...); a folder of such files, or of images or audio files; an image or audio file; or a text file "
      "with a path per line; not needed if the network has no inputs");
  verb->add_option(
      "--output", o->output_path,
      "Where to write the outputs: .npz, .npy for one output, or a folder for several samples or decoded files");
  verb->add_option("--threads", o->threads, "Cores to use, 0 for all (default: 1)")->check(CLI::Range(0, 1024));
  verb->add_flag("--simulate", o->simulate, "Run the float simulation instead of the integer engine");
  add_cut_flags(*verb, o->cut);
  o->data_options = std::make_unique<DataOptions>(*verb);
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold run model.int8.onnx --input x.npy --output y.npz");
  verb->callback([o] { run_model(*o); });
}

}  // namespace bitfold::cli
