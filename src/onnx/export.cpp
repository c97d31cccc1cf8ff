// From a Graph to an ONNX file: opset 21, IR version 10. Grids become QuantizeLinear / DequantizeLinear pairs:
//
//   computed value v, graph input v    v -> QuantizeLinear -> v/q -> DequantizeLinear -> v/dq, which v's consumers read
//   the same as graph output           v/raw -> QuantizeLinear -> v/q -> DequantizeLinear -> v
//   Requantize x -> y                  x -> QuantizeLinear -> y/q -> DequantizeLinear -> y
//   constant w                         w/codes -> DequantizeLinear -> w
//
// ONNX Runtime's CPU provider runs a node in integers where every tensor input comes from a DequantizeLinear and every
// output goes to a QuantizeLinear and is no graph output; the forms above are those. Scales and zero points are
// initializers. What ONNX's types cannot say stands in metadata (qdq.h).
//
// Constant codes of 2 and 3 bits are stored in int4 (int2 needs opset 25, which few runtimes read), all other codes
// below 8 bits in int8 or uint8. A runtime would let such an activation use the whole of the wider type, so a Clip in
// front keeps it on its grid; narrow grids of 8 and 16 bits do without, for the Clip would keep ONNX Runtime from
// fusing and the one code too many is only reached by reals outside the calibrated range. What only moves elements of
// a value on the same grid needs no Clip, and must not get one: ONNX Runtime 1.32 moves the pairs around such nodes and
// then refuses a model with signed codes behind a Clip.
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "base/mapped_file.h"
#include "bitfold/onnx.h"
#include "bitfold/version.h"
#include "graph/fresh_name.h"
#include "onnx/initializer_data.h"
#include "onnx/op_table.h"
#include "onnx/qdq.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

constexpr std::int64_t kIrVersion = 10;  // the first with 4-bit integers
constexpr const char* kOpsetKey = "bitfold.opset:";
constexpr std::size_t kSmallTensor = 1024;  // bytes; up to this size elements stay in the model's message

bool needs_clip(const QuantParams& grid) { return grid.bits != 8 && grid.bits != 16; }

// Whether the node only picks elements of its first input, which lies on the same grid.
bool stays_on_grid(const Graph& graph, const Node& node, const Value& output) {
  if (node.inputs.empty() || node.inputs[0] == ValueId::none) return false;
  const auto* pool = std::get_if<Pool>(&node.op);
  const bool moves = (pool != nullptr && pool->kind == PoolKind::max) || std::holds_alternative<Flatten>(node.op) ||
                     std::holds_alternative<Reshape>(node.op) || std::holds_alternative<Transpose>(node.op) ||
                     std::holds_alternative<Squeeze>(node.op) || std::holds_alternative<Unsqueeze>(node.op) ||
                     std::holds_alternative<Slice>(node.op);
  return moves && graph.value(node.inputs[0]).quant == output.quant;
}

void write_type(onnx::ValueInfoProto& info, const std::string& name, const Value& value) {
  info.set_name(name);
  auto& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx_number(value.dtype));
  if (!value.shape) return;
  auto& shape = *type.mutable_shape();
  for (std::int64_t dim : *value.shape) {
    auto& written = *shape.add_dim();
    if (dim != kDynamic) written.set_dim_value(dim);
  }
}

class Exporter {
 public:
  explicit Exporter(const Graph& graph) : graph_(graph), file_(*model_.mutable_graph()) {}

  /// A model, and the elements of its large initializers, by index, which are not in it.
  struct Result {
    onnx::ModelProto model;
    std::vector<std::optional<Tensor>> data;

    InitializerData spans() const {
      InitializerData all;
      for (const auto& tensor : data)
        all.push_back(tensor ? std::span(tensor->bytes(), tensor->size_bytes()) : std::span<const std::byte>());
      return all;
    }
  };

  Result run() {
    model_.set_ir_version(kIrVersion);
    model_.set_producer_name("bitfold");
    model_.set_producer_version(version());
    file_.set_name(graph_.name.empty() ? "graph" : graph_.name);
    for (ValueId id : graph_.values()) taken_.insert(graph_.value(id).name);
    for (ValueId id : graph_.inputs()) write_input(id);
    for (ValueId id : graph_.values())
      if (graph_.is_constant(id)) write_constant(id);
    for (NodeId id : graph_.topological_order()) write_node(id);
    for (ValueId id : graph_.outputs()) write_type(*file_.add_output(), graph_.value(id).name, graph_.value(id));
    write_metadata();
    return {std::move(model_), std::move(data_)};
  }

 private:
  void write_input(ValueId id);
  void write_constant(ValueId id);
  void write_node(NodeId id);
  void write_operator(NodeId id);
  void write_snapped_outputs(const Node& node);
  void write_requantize(const Node& node);
  void write_flattened_softmax(const Node& node);
  void write_metadata();
  void write_opsets();

  onnx::NodeProto& add(const char* type, const std::string& node_name, const std::vector<std::string>& inputs,
                       const std::string& output);
  void write_pair(const Value& value, const std::string& from, const std::string& to, const char* mark,
                  const std::string& node_name);
  std::vector<std::string> write_grid(const Value& value, bool with_zero_point);
  std::string clipped(const Value& value, const std::string& from);
  void add_initializer(const std::string& name, const Tensor& tensor) {
    const bool is_large = tensor.size_bytes() > kSmallTensor;
    *file_.add_initializer() = is_large ? write_tensor_header(name, tensor) : write_tensor(name, tensor);
    data_.push_back(is_large ? std::optional(tensor) : std::nullopt);
  }

  std::string fresh(const std::string& stem);
  std::string raw_name(ValueId id);
  std::string read_name(ValueId id) const;

  const Graph& graph_;
  onnx::ModelProto model_;
  onnx::GraphProto& file_;
  std::vector<std::optional<Tensor>> data_;  // of large initializers
  std::set<std::string> taken_;
  std::map<ValueId, std::string> read_names_;  // where it is not the value's own
  std::map<std::string, std::int64_t> opsets_{{"", kExportOpset}};
};

std::string Exporter::fresh(const std::string& stem) {
  std::string name = fresh_name(stem, [this](const std::string& candidate) { return taken_.contains(candidate); });
  taken_.insert(name);
  return name;
}

std::string Exporter::read_name(ValueId id) const {
  if (id == ValueId::none) return "";
  const auto it = read_names_.find(id);
  return it == read_names_.end() ? graph_.value(id).name : it->second;
}

onnx::NodeProto& Exporter::add(const char* type, const std::string& node_name, const std::vector<std::string>& inputs,
                               const std::string& output) {
  onnx::NodeProto& node = *file_.add_node();
  node.set_op_type(type);
  node.set_name(node_name);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

Tensor zero_points(const Value& value, const Shape& shape) {
  const QuantParams& grid = *value.quant;
  const DataType type = file_type(value);
  const auto make = [&]<class T>(T) {
    return Tensor::from(shape, std::vector<T>(grid.zero_point.begin(), grid.zero_point.end()));
  };
  switch (type) {
    case DataType::int4:
      return pack(make(std::int8_t{}), 4);
    case DataType::uint4:
      return pack(make(std::uint8_t{}), 4);
    case DataType::int2:
      return pack(make(std::int8_t{}), 2);
    case DataType::uint2:
      return pack(make(std::uint8_t{}), 2);
    case DataType::int8:
      return make(std::int8_t{});
    case DataType::uint8:
      return make(std::uint8_t{});
    case DataType::int16:
      return make(std::int16_t{});
    case DataType::uint16:
      return make(std::uint16_t{});
    default:
      return make(std::int32_t{});
  }
}

// The names of a grid's scale and zero_point.
std::vector<std::string> Exporter::write_grid(const Value& value, bool with_zero_point) {
  const QuantParams& grid = *value.quant;
  const Shape channels{static_cast<std::int64_t>(grid.scale.size())};
  const Shape shape = grid.has_blocks()    ? grid.grid_shape(value.constant->shape())
                      : grid.per_channel() ? channels
                                           : Shape{};
  std::vector<std::string> names{fresh(value.name + "/scale")};
  add_initializer(names[0], Tensor::from(shape, grid.scale));
  if (!with_zero_point) return names;
  names.push_back(fresh(value.name + "/zero_point"));
  add_initializer(names[1], zero_points(value, shape));
  return names;
}

// Keeps reals where the grid's own codes reach; 'from' itself where the type does that.
std::string Exporter::clipped(const Value& value, const std::string& from) {
  const QuantParams& grid = *value.quant;
  if (!needs_clip(grid)) return from;
  check(!grid.per_channel(), "value '{}': {} bits per channel cannot be written; a computed value needs 8 or 16",
        value.name, grid.bits);
  const auto real = [&](std::int32_t code) {
    return float_scalar(static_cast<float>(code - grid.zero_point[0]) * grid.scale[0]);
  };
  const std::string low = fresh(value.name + "/min"), high = fresh(value.name + "/max");
  add_initializer(low, real(grid.qmin()));
  add_initializer(high, real(grid.qmax()));
  const std::string to = fresh(value.name + "/clip");
  add("Clip", to, {from, low, high}, to).set_doc_string(kGridClip);
  return to;
}

void Exporter::write_pair(const Value& value, const std::string& from, const std::string& to, const char* mark,
                          const std::string& node_name) {
  const QuantParams& grid = *value.quant;
  check(!grid.has_blocks(), "value '{}' has a grid in blocks; only constants can have one", value.name);
  check(grid.bits <= 16, "value '{}': a computed value's grid has {} bits; ONNX quantizes to at most 16", value.name,
        grid.bits);
  const std::vector<std::string> names = write_grid(value, true);
  const std::string codes = fresh(value.name + "/q");
  onnx::NodeProto& quantize =
      add("QuantizeLinear", node_name.empty() ? codes : node_name, {from, names[0], names[1]}, codes);
  if (grid.per_channel()) set_integer(quantize, "axis", grid.axis);
  if (mark != nullptr) quantize.set_doc_string(mark);
  onnx::NodeProto& dequantize =
      add("DequantizeLinear", fresh(value.name + "/dq_node"), {codes, names[0], names[1]}, to);
  if (grid.per_channel()) set_integer(dequantize, "axis", grid.axis);
}

void Exporter::write_input(ValueId id) {
  const Value& value = graph_.value(id);
  write_type(*file_.add_input(), value.name, value);
  if (!value.quant) return;
  check(!graph_.is_output(id), "value '{}' has a grid and is both graph input and graph output", value.name);
  const std::string snapped = fresh(value.name + "/dq");
  write_pair(value, clipped(value, value.name), snapped, nullptr, "");
  read_names_[id] = snapped;
}

void Exporter::write_constant(ValueId id) {
  const Value& value = graph_.value(id);
  if (graph_.consumers(id).empty() && !graph_.is_output(id)) return;
  if (!value.quant) return add_initializer(value.name, *value.constant);
  const QuantParams& grid = *value.quant;
  const bool must_pack = file_type(value) != value.constant->dtype();
  const std::string codes = fresh(value.name + "/codes");
  add_initializer(codes, must_pack ? pack(*value.constant, bit_width(file_type(value))) : *value.constant);
  // Without one it is 0 of the codes' type.
  const bool has_zero_point =
      std::any_of(grid.zero_point.begin(), grid.zero_point.end(), [](auto z) { return z != 0; }) || grid.bits <= 16;
  std::vector<std::string> inputs = write_grid(value, has_zero_point);
  inputs.insert(inputs.begin(), codes);
  onnx::NodeProto& node = add("DequantizeLinear", fresh(value.name + "/dq_node"), inputs, value.name);
  if (grid.per_channel()) set_integer(node, "axis", grid.axis);
  if (grid.has_blocks()) set_integer(node, "block_size", grid.block_size);
}

// Softmax before opset 13, over all axes from one on: Flatten, Softmax over the last axis, Reshape back.
void Exporter::write_flattened_softmax(const Node& node) {
  const auto& softmax = std::get<Softmax>(node.op);
  const std::string from = read_name(node.inputs[0]), to = raw_name(node.outputs[0]);
  const std::string shape = fresh(to + "/shape"), flat = fresh(to + "/flat"), rows = fresh(to + "/rows");
  add("Shape", shape, {from}, shape);
  set_integer(add("Flatten", flat, {from}, flat), "axis", softmax.axis);
  set_integer(add(softmax.log ? "LogSoftmax" : "Softmax", rows, {flat}, rows), "axis", -1);
  add("Reshape", node.name, {rows, shape}, to).set_doc_string(kFlattenedSoftmax);
}

// The name a node's own output gets; its snapped form follows in write_node.
std::string Exporter::raw_name(ValueId id) {
  if (id == ValueId::none) return "";
  const Value& value = graph_.value(id);
  return value.quant && graph_.is_output(id) ? fresh(value.name + "/raw") : value.name;
}

void Exporter::write_requantize(const Node& node) {
  const Value& value = graph_.value(node.outputs[0]);
  const std::string from = read_name(node.inputs[0]);
  if (value.quant) return write_pair(value, clipped(value, from), value.name, kRequantize, node.name);
  add("Identity", node.name, {from}, value.name).set_doc_string(kRequantize);
}

void Exporter::write_node(NodeId id) {
  const Node& node = graph_.node(id);
  for (ValueId out : node.outputs)
    if (out != ValueId::none && !graph_.is_output(out))
      write_type(*file_.add_value_info(), graph_.value(out).name, graph_.value(out));
  if (std::holds_alternative<Requantize>(node.op)) return write_requantize(node);

  const auto* softmax = std::get_if<Softmax>(&node.op);
  if (softmax != nullptr && softmax->flattened)
    write_flattened_softmax(node);
  else
    write_operator(id);
  write_snapped_outputs(node);
}

void Exporter::write_operator(NodeId id) {
  const Node& node = graph_.node(id);
  onnx::NodeProto& written = *file_.add_node();
  written.set_name(node.name);
  for (ValueId in : node.inputs) written.add_input(read_name(in));
  for (ValueId out : node.outputs) written.add_output(raw_name(out));
  if (const auto* opaque = std::get_if<Opaque>(&node.op)) {
    written.set_op_type(opaque->type);
    written.set_domain(opaque->domain);
    for (const std::string& bytes : opaque->attributes)
      check(written.add_attribute()->ParseFromString(bytes), "{} has a broken attribute", where(graph_, id));
    opsets_.try_emplace(opaque->domain, 1);
  } else {
    const OpRow* row = find_export_row(op_name(node.op));
    check(row != nullptr, "{} has no form in ONNX", where(graph_, id));
    written.set_op_type(row->type);
    row->export_node(node.op, written);
  }
}

void Exporter::write_snapped_outputs(const Node& node) {
  const onnx::NodeProto written = file_.node(file_.node_size() - 1);  // a copy: the list grows
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId out = node.outputs[i];
    if (out == ValueId::none || !graph_.value(out).quant) continue;
    const Value& value = graph_.value(out);
    const std::string raw = written.output(static_cast<int>(i));
    const bool is_output = graph_.is_output(out);
    const std::string snapped = is_output ? value.name : fresh(value.name + "/dq");
    write_pair(value, stays_on_grid(graph_, node, value) ? raw : clipped(value, raw), snapped, nullptr, "");
    read_names_[out] = snapped;
  }
}

void Exporter::write_metadata() {
  const auto put = [&](const std::string& key, const std::string& text) {
    auto& entry = *model_.add_metadata_props();
    entry.set_key(key);
    entry.set_value(text);
  };
  for (const auto& [key, text] : graph_.metadata) put(key, text);
  for (ValueId id : graph_.values()) {
    const Value& value = graph_.value(id);
    if (!value.quant) continue;
    if (bit_width(file_type(value)) != value.quant->bits) put(kBitsKey + value.name, std::to_string(value.quant->bits));
    if (infers_narrow(value) != value.quant->narrow)
      put(kNarrowKey + value.name, value.quant->narrow ? "true" : "false");
  }
  write_opsets();
}

// Opset 21, or that of operators Bitfold does not know, which may not exist in 21.
void Exporter::write_opsets() {
  for (auto& [domain, opset] : opsets_) {
    const auto said = graph_.metadata.find(kOpsetKey + domain);
    if (said == graph_.metadata.end()) continue;
    const std::int64_t wanted = std::strtoll(said->second.c_str(), nullptr, 10);
    opset = domain.empty() ? std::clamp(wanted, kExportOpset, kLatestOpset) : std::max<std::int64_t>(wanted, 1);
  }
  for (const auto& tensor : file_.initializer())
    if (tensor.data_type() == kOnnxInt2 || tensor.data_type() == kOnnxUint2) opsets_[""] = kLatestOpset;
  for (const auto& [domain, opset] : opsets_) {
    auto& entry = *model_.add_opset_import();
    entry.set_domain(domain);
    entry.set_version(opset);
  }
}

// Writes initializers above a size to another file, and their places in it to the model.
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

// FILE.data, where FILE is cut so that the name and a number after it fit the file system.
std::string data_path(const std::string& path) {
  constexpr std::size_t kLongest = NAME_MAX - std::string_view(".data.999").size();
  const std::size_t name = path.rfind('/') + 1;
  std::string stem = path;
  if (stem.size() - name > kLongest) {
    std::size_t end = name + kLongest;
    while (end > name + 1 && (static_cast<unsigned char>(stem[end]) & 0xc0) == 0x80) --end;  // inside a UTF-8 character
    stem.resize(end);
  }
  return stem + ".data";
}

// The files of weights that save_onnx wrote for the model at `path`: others may belong to other models, too.
std::vector<std::string> own_data_files(const std::string& path) {
  const std::string stem = data_path(path);
  std::vector<std::string> files = external_files(path);
  std::erase_if(files, [&](const std::string& file) {
    const std::string_view rest = file.starts_with(stem) ? std::string_view(file).substr(stem.size()) : "?";
    return !rest.empty() && (rest[0] != '.' || rest.find_first_not_of("0123456789", 1) != std::string_view::npos);
  });
  return files;
}

// The model takes its name last: before that moment the old model stands with the old weights, after it the new with
// the new.
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
    Exporter::Result exported = Exporter(graph).run();
    onnx::ModelProto& model = exported.model;
    InitializerData elements = exported.spans();
    constexpr std::size_t kMost = std::size_t{std::numeric_limits<int>::max()} - (std::size_t{1} << 20);
    const std::vector<std::string> old_data = own_data_files(path);
    FileWriter file(path);
    std::optional<FileWriter> data;
    if (options.external_above_bytes > 0 || serialized_bytes(model, elements) > kMost) {
      const std::size_t above = options.external_above_bytes > 0 ? options.external_above_bytes : kSmallTensor;
      check(file.is_regular(), "'{}' is not a regular file: a file of weights cannot lie beside it", path);
      data.emplace(FileWriter::NewFile{}, data_path(path));
      move_to_external(model, elements, *data, std::filesystem::path(data->path()).filename().string(), above);
    }
    check(serialized_bytes(model, elements) <= kMost, "the model does not fit 2 GB");
    serialize_model(
        model, elements, [&](std::span<const std::byte> bytes) { file.write(bytes); },
        [](std::span<const std::byte> bytes) { release_mapped_pages(bytes); });
    commit(file, data);
    // Nothing refers to these any more. A file that cannot be removed only takes space.
    for (const std::string& old : old_data) ::unlink(old.c_str());
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(path) != std::string::npos) throw;
    fail("{}: {}", path, message);
  }
}

std::int64_t model_bytes(const Graph& graph) {
  const Exporter::Result exported = Exporter(graph).run();
  return static_cast<std::int64_t>(serialized_bytes(exported.model, exported.spans()));
}

}  // namespace bitfold
