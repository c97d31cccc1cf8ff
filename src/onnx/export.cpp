// Writes a Graph to an ONNX file. The opset is that of the file it was read from, or the lowest higher one that can
// express it.
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <limits>

#include "base/check.h"
#include "base/file.h"
#include "base/mapped_file.h"
#include "bitfold/onnx.h"
#include "bitfold/version.h"
#include "onnx/initializer_data.h"
#include "onnx/lower_opset.h"
#include "onnx/qdq.h"
#include "onnx/wire.h"
#include "onnx/write_graph.h"

namespace bitfold {
namespace {

/// A model without the elements of its large initializers, and these elements by initializer index.
struct Written {
  onnx::ModelProto model;
  std::vector<std::optional<Tensor>> data;

  InitializerData spans() const {
    InitializerData all;
    for (const auto& tensor : data)
      all.push_back(tensor ? std::span(tensor->bytes(), tensor->size_bytes()) : std::span<const std::byte>());
    return all;
  }
};

DataType constants_type(const Graph& graph, std::int64_t opset) {
  constexpr std::int64_t kFirstWithBfloat16 = 13;
  const auto type = graph.metadata.find(kConstantsKey);
  if (type == graph.metadata.end()) return DataType::unknown;
  for (DataType half : {DataType::float16, DataType::bfloat16})
    if (type->second == to_string(half) && (half == DataType::float16 || opset >= kFirstWithBfloat16)) return half;
  return DataType::unknown;
}

Written write_model(const Graph& graph, std::optional<std::int64_t> wanted) {
  onnx::ModelProto model;
  ModelWriting writing{.opset = choose_opset(graph, wanted)};
  writing.constants = constants_type(graph, writing.opset);
  take_names(graph, writing.taken);
  model.set_ir_version(ir_version(writing.opset));
  model.set_producer_name("bitfold");
  model.set_producer_version(version());
  GraphWriter(writing, graph, *model.mutable_graph()).write();
  const auto import = [&](const std::string& domain, std::int64_t version) {
    auto& entry = *model.add_opset_import();
    entry.set_domain(domain);
    entry.set_version(version);
  };
  import("", writing.opset);
  for (const auto& [domain, version] : writing.domains) import(domain, version);
  // The opset of the original file, used when the graph is written again.
  if (!wanted && graph.opset != writing.opset) writing.metadata[kOpsetKey] = std::to_string(graph.opset);
  for (const auto& [key, text] : writing.metadata) {
    auto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(text);
  }
  return {std::move(model), std::move(writing.data)};
}

// Writes initializers above a size to another file, and their positions in it to the model.
void move_to_external(onnx::ModelProto& model, InitializerData& elements, FileWriter& data, const std::string& location,
                      std::size_t above_bytes) {
  std::size_t offset = 0;
  for (int i = 0; i < model.graph().initializer_size(); ++i) {
    auto& tensor = *model.mutable_graph()->mutable_initializer(i);
    auto& detached = elements[static_cast<std::size_t>(i)];
    const auto bytes = detached.data() != nullptr ? detached : std::as_bytes(std::span(tensor.raw_data()));
    const std::size_t length = bytes.size();
    if (length <= above_bytes) continue;
    constexpr std::size_t kPage = 4096;  // so that a reader can map it
    const std::string padding((kPage - offset % kPage) % kPage, '\0');
    data.write(padding);
    data.write(bytes);
    release_mapped_pages(bytes);
    detached = {};
    offset += padding.size();
    const auto put = [&](const char* key, const std::string& text) {
      auto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(text);
    };
    put("location", location);
    put("offset", std::to_string(offset));
    put("length", std::to_string(length));
    offset += length;
    tensor.clear_raw_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  }
}

// FILE.data, where FILE is shortened so that the name and a number after it fit the file system.
std::string data_path(const std::string& path) {
  constexpr std::size_t kLongest = NAME_MAX - std::string_view(".data.999").size();
  const std::size_t name = path.rfind('/') + 1;
  std::string stem = path;
  if (stem.size() - name > kLongest) {
    std::size_t end = name + kLongest;
    // do not cut inside a UTF-8 character
    while (end > name + 1 && (static_cast<unsigned char>(stem[end]) & 0xc0) == 0x80) --end;
    stem.resize(end);
  }
  return stem + ".data";
}

// The files of weights that save_onnx wrote for the model at `path`. Other files that the model refers to are left out:
// they may belong to other models.
std::vector<std::string> own_data_files(const std::string& path) {
  const std::string stem = data_path(path);
  std::vector<std::string> files = external_files(path);
  std::erase_if(files, [&](const std::string& file) {
    const std::string_view rest = file.starts_with(stem) ? std::string_view(file).substr(stem.size()) : "?";
    return !rest.empty() && (rest[0] != '.' || rest.find_first_not_of("0123456789", 1) != std::string_view::npos);
  });
  return files;
}

// The model file is renamed last. Until then the old model and its old weights are in place; afterwards the new model
// and its new weights.
void commit(FileWriter& model, std::optional<FileWriter>& data) {
  if (!data) return model.commit();
  data->commit();
  try {
    model.commit();
  } catch (...) {
    ::unlink(data->path().c_str());
    throw;
  }
}

}  // namespace

void save_onnx(const Graph& graph, const std::string& path, const SaveOptions& options) {
  try {
    Written exported = write_model(graph, options.opset);
    onnx::ModelProto& model = exported.model;
    InitializerData elements = exported.spans();
    constexpr std::size_t kMaxMessageBytes = std::size_t{std::numeric_limits<int>::max()} - (std::size_t{1} << 20);
    const std::vector<std::string> old_data = own_data_files(path);
    FileWriter file(path);
    std::optional<FileWriter> data;
    if (options.external_above_bytes > 0 || serialized_bytes(model, elements) > kMaxMessageBytes) {
      const std::size_t above = options.external_above_bytes > 0 ? options.external_above_bytes : kSmallTensor;
      check(file.is_regular(), "'{}' is not a regular file, so no file of weights can be written next to it", path);
      data.emplace(FileWriter::NewFile{}, data_path(path));
      move_to_external(model, elements, *data, std::filesystem::path(data->path()).filename().string(), above);
    }
    check(serialized_bytes(model, elements) <= kMaxMessageBytes,
          "the model exceeds 2 GB, protobuf's limit, even with its weights in another file");
    serialize_model(
        model, elements, [&](std::span<const std::byte> bytes) { file.write(bytes); },
        [](std::span<const std::byte> bytes) { release_mapped_pages(bytes); });
    commit(file, data);
    // Nothing refers to these files any more. A file that cannot be removed only takes space.
    for (const std::string& old : old_data) ::unlink(old.c_str());
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(path) != std::string::npos) throw;
    fail("{}: {}", path, message);
  }
}

std::int64_t model_bytes(const Graph& graph) {
  const Written exported = write_model(graph, {});
  return static_cast<std::int64_t>(serialized_bytes(exported.model, exported.spans()));
}

}  // namespace bitfold
