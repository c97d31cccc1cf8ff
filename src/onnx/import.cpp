// Reads an ONNX file into a Graph. Every operator takes the form of its row in the operator table. Constant nodes
// become constants, and QuantizeLinear / DequantizeLinear pairs become grids. No size in the file is trusted: each is
// checked before it is used.
#include <charconv>
#include <limits>
#include <new>

#include "base/check.h"
#include "base/mapped_file.h"
#include "bitfold/onnx.h"
#include "onnx/initializer_data.h"
#include "onnx/other_formats.h"
#include "onnx/read_graph.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

void check_header(const onnx::ModelProto& model, const Opsets& opsets) {
  check(model.has_ir_version() && model.ir_version() > 0, "is not an ONNX model: it has no IR version");
  check(model.ir_version() >= 3, "has IR version {}; 3 is the oldest supported", model.ir_version());
  check(model.opset_import_size() > 0, "is not an ONNX model: it imports no operator set");
  check(model.has_graph(), "is not an ONNX model: it has no graph");
  if (const auto standard = opsets.find(""); standard != opsets.end())
    check(standard->second >= kOldestReadOpset && standard->second <= kLatestOpset,
          "has opset {}; supported are {} to {} (onnx.version_converter changes it)", standard->second,
          kOldestReadOpset, kLatestOpset);
}

// Metadata of values: "bitfold.bits:VALUE" for the main graph, "bitfold.bits@PATH:VALUE" for a body.
void read_metadata(ModelFile& file) {
  auto& main = file.body_metadata[""];
  for (const auto& entry : file.model.metadata_props()) {
    bool is_of_body = false;
    for (const std::string key : {kBitsKey, kNarrowKey}) {
      const std::string start = key.substr(0, key.size() - 1) + "@";
      const std::size_t colon = entry.key().find("/:", start.size());
      if (!entry.key().starts_with(start) || colon == std::string::npos) continue;
      const std::string path = entry.key().substr(start.size(), colon + 1 - start.size());
      file.body_metadata[path][key + entry.key().substr(colon + 2)] = entry.value();
      is_of_body = true;
    }
    if (!is_of_body) main[entry.key()] = entry.value();
  }
}

// The value of Graph::opset: this file's opset, or the original one if Bitfold raised it when it wrote the file.
std::int64_t read_opset(ModelFile& file, const Opsets& opsets) {
  const auto standard = opsets.find("");
  const std::int64_t opset = standard == opsets.end() ? 0 : standard->second;
  auto& metadata = file.body_metadata[""];
  std::erase_if(metadata, [](const auto& entry) { return entry.first.starts_with(kOldOpsetKey); });
  const auto said = metadata.find(kOpsetKey);
  if (said == metadata.end()) return opset;
  std::int64_t earlier = -1;
  std::from_chars(said->second.data(), said->second.data() + said->second.size(), earlier);
  metadata.erase(said);
  if (earlier < 0 || earlier >= opset) return opset;
  file.earlier_opset = earlier;
  return earlier;
}

Graph import(onnx::ModelProto& model, DetachedModelData data, std::shared_ptr<const void> owner,
             const std::string& folder, const LoadOptions& options) {
  const Opsets opsets = read_opsets(model.opset_import());
  check_header(model, opsets);
  ModelFile file(model, std::move(data), std::move(owner), folder);
  file.overridden.insert(options.overridden.begin(), options.overridden.end());
  read_metadata(file);
  const std::int64_t opset = read_opset(file, opsets);
  Graph graph = GraphReader(file, model.graph(), opsets).read();
  graph.opset = opset;
  if (file.constants != DataType::unknown) graph.metadata[kConstantsKey] = to_string(file.constants);
  adopt_captured(graph);
  infer_shapes(graph);
  verify(graph, Stage::imported);
  return graph;
}

Graph import_bytes(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner, const std::string& name,
                   const std::string& folder, const LoadOptions& options) {
  try {
    check(!bytes.empty(), "is empty");
    check(bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()),
          "has {} bytes; beyond 2 GB weights must lie in external files", bytes.size());
    onnx::ModelProto model;
    auto data = parse_model(bytes, model);
    check(data.has_value(), "is not an ONNX model, or is cut short: its {} bytes do not parse", bytes.size());
    return import(model, std::move(*data), owner, folder, options);
  } catch (const Error& error) {
    const std::string advice = other_format(bytes, name);
    fail("{}: {}", name, advice.empty() ? error.what() : advice);
  } catch (const std::bad_alloc&) {
    fail("{}: out of memory", name);
  }
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

}  // namespace

Graph parse_onnx(std::span<const std::byte> bytes, const std::string& name, const std::string& folder,
                 const LoadOptions& options) {
  return import_bytes(bytes, nullptr, name, folder, options);
}

Graph load_onnx(const std::string& path, const LoadOptions& options) {
  const auto file = MappedFile::open(path);
  Graph graph = import_bytes(file->bytes(), file, path, folder_of(path), options);
  release_mapped_pages(file->bytes());
  return graph;
}

}  // namespace bitfold
