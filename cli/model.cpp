#include "model.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>

#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "terminal.h"

namespace bitfold::cli {

Graph load_float(const std::string& path, const std::string& verb, const LoadOptions& options) {
  Graph graph = load_onnx(path, options);
  if (is_quantized(graph))
    throw Error(fmt::format("{}: is quantized already; {} the float model from which it was made", path, verb));
  return graph;
}

Graph load_optimized(const std::string& path, const LoadOptions& options) {
  Graph graph = load_onnx(path, options);
  if (!is_quantized(graph)) optimize(graph);
  return graph;
}

void add_cut_flags(CLI::App& verb, Cut& cut) {
  constexpr const char* kGroup = "Part of the network";
  verb.add_option("--inputs-at", cut.inputs_at,
                  "Start from these values instead of the network's inputs; the data are samples of them")
      ->type_name("VALUE,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(kGroup);
  verb.add_option("--outputs-at", cut.outputs_at, "End at these values instead of the network's outputs")
      ->type_name("VALUE,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(kGroup);
}

Graph load_runnable(const std::string& path, const Cut& cut, const LoadOptions& options, bool optimizes) {
  const Graph whole = load_onnx(path, options);
  Graph graph = cut.empty() ? whole : naming_file(path, [&] { return extract_part(whole, cut).graph; });
  if (optimizes && !is_quantized(whole)) optimize(graph);
  if (!cut.empty()) return graph;
  naming_file(path, [&] {
    if (extract_part(graph).left.empty()) return;
    // The advice names values of the file: optimizing removes some.
    const Part part = extract_part(whole);
    std::string outputs;
    for (ValueId id : part.graph.outputs())
      outputs += fmt::format("{}{}", outputs.empty() ? "" : ",", part.graph.value(id).name);
    throw Error(fmt::format("cannot run: {}; to work on the part that can be run, add --outputs-at {}",
                            list_refused(part.left), outputs));
  });
  return graph;
}

LoadOptions load_options_for(const std::string& data) {
  LoadOptions options;
  std::error_code ignored;
  if (!std::filesystem::is_directory(data, ignored) && !std::filesystem::is_regular_file(data, ignored)) return options;
  const std::vector<std::string> files = whole_samples(data);
  if (files.empty()) return options;
  const std::vector<NamedTensor> arrays = load_npy(files.front());
  // A lone array feeds a lone input under any name.
  for (std::size_t i = 0; arrays.size() > 1 && i < arrays.size(); ++i) options.overridden.push_back(arrays[i].name);
  return options;
}

bool is_array_input(const std::string& path) {
  std::error_code ignored;
  if (path.empty() || !std::filesystem::exists(path, ignored)) return true;  // reported when it is read
  if (std::filesystem::is_directory(path, ignored)) return false;
  return !std::filesystem::is_regular_file(path, ignored) || is_array_file(path);
}

std::vector<NamedTensor> load_arrays(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_fifo(path, ignored))
    print_line(stderr, fmt::format("waiting for an array from the pipe '{}'", path));
  return load_npy(path);
}

std::vector<std::string> describe_interface(const Graph& graph) {
  const auto describe = [&](std::string text, const std::vector<ValueId>& ids) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Value& value = graph.value(ids[i]);
      const std::string shape = value.shape ? to_string(*value.shape) : "(shape known only at run time)";
      text += fmt::format("{}'{}' {} {}", i > 0 ? ", " : "", value.name, to_string(value.dtype),
                          value.items ? fmt::format("of {}", to_string(value.items->dtype)) : shape);
    }
    return text;
  };
  return {describe("inputs:  ", graph.inputs()), describe("outputs: ", graph.outputs())};
}

Shape parse_shape(const std::string& text) {
  Shape shape;
  std::string words = text;
  std::replace(words.begin(), words.end(), 'x', ',');
  std::istringstream stream(words + ',');
  for (std::string word; std::getline(stream, word, ',');) {
    CLI::detail::trim(word);
    std::int64_t size = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), size);
    if (error != std::errc() || end != word.data() + word.size() || size < 1)
      throw CLI::ValidationError("--shape", fmt::format("'{}': expected a list of sizes such as 1,3,48,320", text));
    shape.push_back(size);
  }
  return shape;
}

NamedShape parse_named_shape(const std::string& text) {
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos)
    throw CLI::ValidationError("--shape", fmt::format("'{}': expected NAME=SIZES, such as x=1x3x224x224", text));
  return {text.substr(0, equals), parse_shape(text.substr(equals + 1))};
}

void add_opset_flag(CLI::App& verb, std::optional<std::int64_t>& opset) {
  verb.add_option("--opset", opset,
                  "Opset of the file to write, 7 to 28 (default: the model's own, or the lowest above it that the "
                  "content needs)");
}

}  // namespace bitfold::cli
