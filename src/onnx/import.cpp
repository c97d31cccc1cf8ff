// From an ONNX file to a Graph. Every operator takes the form it has at opset 21; Constant nodes become constants, and
// QuantizeLinear / DequantizeLinear pairs grids. The file is trusted in nothing: every size is checked before it is
// used.
#include <limits>
#include <map>
#include <new>
#include <set>

#include "base/check.h"
#include "base/mapped_file.h"
#include "bitfold/onnx.h"
#include "graph/fresh_name.h"
#include "onnx/initializer_data.h"
#include "onnx/op_table.h"
#include "onnx/qdq.h"
#include "onnx/sort_nodes.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

constexpr const char* kOpsetKey = "bitfold.opset:";

bool is_default_domain(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

struct Declared {
  DataType dtype = DataType::float32;
  std::optional<Shape> shape;
};

Declared read_type(const onnx::ValueInfoProto& info) {
  check(info.type().has_tensor_type(), "value '{}' is not a tensor", info.name());
  const auto& type = info.type().tensor_type();
  Declared declared;
  const auto dtype = data_type_of_onnx(type.elem_type());
  check(dtype.has_value(), "value '{}' has element type number {}, which is not supported", info.name(),
        type.elem_type());
  declared.dtype = *dtype;
  if (!type.has_shape()) return declared;
  Shape shape, known;
  for (const auto& dim : type.shape().dim()) {
    // Some exporters write -1 for a size that is left open.
    const bool is_known = dim.has_dim_value() && dim.dim_value() != kDynamic;
    shape.push_back(is_known ? dim.dim_value() : kDynamic);
    check(!is_known || dim.dim_value() >= 0, "value '{}' has a dimension of {}", info.name(), dim.dim_value());
    if (is_known) known.push_back(dim.dim_value());
  }
  try {
    element_count(known);
  } catch (const Error& error) {
    fail("value '{}': {}", info.name(), error.what());
  }
  declared.shape = std::move(shape);
  return declared;
}

class Importer {
 public:
  /// Takes the elements of tensors out of `model` as it reads them. `data` is what parse_model() left out of it, in
  /// memory that `owner` keeps.
  Importer(onnx::ModelProto& model, InitializerData data, std::shared_ptr<const void> owner, std::string folder)
      : model_(model),
        file_(model.graph()),
        data_(std::move(data)),
        owner_(std::move(owner)),
        folder_(std::move(folder)) {}

  Graph run() {
    check_header();
    read_constants_and_inputs();
    read_declarations();
    for (int i : sort_nodes(file_, given_)) import_node(*model_.mutable_graph()->mutable_node(i));
    for (const auto& output : file_.output()) mark_output(output);
    absorb_qdq(graph_, marks_);
    settle_grids(graph_);
    graph_.compact();
    name_nodes();
    infer_shapes(graph_);
    verify(graph_, Stage::imported);
    return std::move(graph_);
  }

 private:
  void check_header();
  void read_constants_and_inputs();
  void read_declarations();
  void import_node(onnx::NodeProto& node);
  void import_checked(onnx::NodeProto& node);
  void mark_output(const onnx::ValueInfoProto& output);
  void name_nodes();

  Tensor take_initializer(int i);
  std::optional<Tensor> constant_of(onnx::NodeProto& node);
  bool fold_qdq(const Opaque& op, const std::vector<ValueId>& inputs, const std::string& output);
  Opaque make_opaque(const onnx::NodeProto& node);
  bool import_flattened_softmax(const onnx::NodeProto& node, const NodeImport& at);
  NodeImport start(const onnx::NodeProto& node);
  ValueId find(const std::string& name) const;
  bool skip_identity(const onnx::NodeProto& node, const NodeImport& at);
  void add_node(const onnx::NodeProto& node, Op op, std::vector<ValueId> inputs, std::size_t output_count);
  void infer(NodeId id);
  std::int64_t opset_of(const std::string& domain) const;

  onnx::ModelProto& model_;
  const onnx::GraphProto& file_;
  InitializerData data_;
  std::shared_ptr<const void> owner_;
  std::string folder_;
  Graph graph_;
  std::map<std::string, std::int64_t> opsets_;
  std::map<std::string, Declared> declared_;
  std::set<std::string> given_, read_, output_names_;
  std::map<std::string, ValueId> aliases_;  // further names of constants
  QdqMarks marks_;
  std::vector<std::optional<ValueInfo>> infos_;  // per value, filled as nodes need them
};

void Importer::check_header() {
  check(model_.has_ir_version() && model_.ir_version() > 0, "is not an ONNX model: it has no IR version");
  check(model_.ir_version() >= 3, "has IR version {}; 3 is the oldest supported", model_.ir_version());
  check(model_.opset_import_size() > 0, "is not an ONNX model: it imports no operator set");
  check(model_.has_graph(), "is not an ONNX model: it has no graph");
  for (const auto& opset : model_.opset_import())
    opsets_[is_default_domain(opset.domain()) ? "" : opset.domain()] = opset.version();
  if (const auto standard = opsets_.find(""); standard != opsets_.end())
    check(standard->second >= kOldestOpset && standard->second <= kLatestOpset,
          "has opset {}; supported are {} to {} (onnx.version_converter changes it)", standard->second, kOldestOpset,
          kLatestOpset);
  check(file_.sparse_initializer_size() == 0, "has sparse initializers, which are not supported");
  graph_.name = file_.name();
  for (const auto& entry : model_.metadata_props()) graph_.metadata[entry.key()] = entry.value();
}

void Importer::read_constants_and_inputs() {
  for (int i = 0; i < file_.initializer_size(); ++i) {
    const auto& tensor = file_.initializer(i);
    check(!tensor.name().empty(), "has an initializer without a name");
    check(given_.insert(tensor.name()).second, "has two initializers named '{}'", tensor.name());
    graph_.add_constant(tensor.name(), take_initializer(i));
  }
  std::set<std::string> inputs;
  for (const auto& input : file_.input()) {
    check(!input.name().empty(), "has a graph input without a name");
    check(inputs.insert(input.name()).second, "has two graph inputs named '{}'", input.name());
    if (given_.contains(input.name())) continue;  // a default value, which old files list as an input
    const Declared declared = read_type(input);
    const ValueId id = graph_.add_input(input.name(), declared.dtype, declared.shape.value_or(Shape{}));
    graph_.value(id).shape = declared.shape;
  }
  given_.insert(inputs.begin(), inputs.end());
}

// Types of computed values, and which values anything reads.
void Importer::read_declarations() {
  for (const auto& info : file_.value_info())
    if (info.type().has_tensor_type() && data_type_of_onnx(info.type().tensor_type().elem_type()))
      declared_[info.name()] = read_type(info);
  for (const auto& output : file_.output()) {
    read_.insert(output.name());
    output_names_.insert(output.name());
    if (output.has_type()) declared_[output.name()] = read_type(output);
  }
  for (const auto& node : file_.node()) {
    for (const std::string& name : node.input()) read_.insert(name);
    const std::set<std::string> captured = captured_names(node);
    check(captured.empty(), "{} reads '{}' of the outer graph inside its subgraph, which is not supported", where(node),
          captured.empty() ? "" : *captured.begin());
  }
}

std::int64_t Importer::opset_of(const std::string& domain) const {
  const auto it = opsets_.find(is_default_domain(domain) ? "" : domain);
  check(it != opsets_.end(), "is of operator set '{}', which the model does not import", domain);
  return it->second;
}

// Leaves the initializer without elements, so that a model and its graph do not both hold them.
Tensor Importer::take_initializer(int i) {
  auto& tensor = *model_.mutable_graph()->mutable_initializer(i);
  const auto index = static_cast<std::size_t>(i);
  const bool is_detached = index < data_.size() && data_[index].data() != nullptr;
  if (!is_detached && tensor.has_raw_data()) return take_tensor(tensor, folder_);
  Tensor taken = read_tensor(tensor, folder_, {is_detached ? data_[index] : std::span<const std::byte>(), owner_});
  tensor.clear_float_data();
  tensor.clear_double_data();
  tensor.clear_int32_data();
  tensor.clear_int64_data();
  tensor.clear_uint64_data();
  return taken;
}

// The elements of a Constant node; none for any other node.
std::optional<Tensor> Importer::constant_of(onnx::NodeProto& node) {
  if (node.op_type() != "Constant" || !is_default_domain(node.domain())) return std::nullopt;
  for (auto& attribute : *node.mutable_attribute())
    if (attribute.name() == "value" && attribute.type() == onnx::AttributeProto::TENSOR && attribute.t().has_raw_data())
      return take_tensor(*attribute.mutable_t(), folder_);
  AttributeReader attributes(node, folder_);
  const auto length = [](const auto& values) { return Shape{static_cast<std::int64_t>(values.size())}; };
  if (auto tensor = attributes.tensor("value")) return tensor;
  if (const auto real = attributes.real("value_float")) return float_scalar(*real);
  if (const auto reals = attributes.reals("value_floats")) return Tensor::from(length(*reals), *reals);
  if (const auto integers = attributes.integers("value_ints")) return Tensor::from(length(*integers), *integers);
  if (const auto integer = attributes.integer("value_int"))
    return Tensor::from<std::int64_t>({}, std::span<const std::int64_t>(&*integer, 1));
  fail("holds no number (sparse or text constants are not supported)");
}

Opaque Importer::make_opaque(const onnx::NodeProto& node) {
  Opaque op{is_default_domain(node.domain()) ? "" : node.domain(), node.op_type(), {}};
  for (const auto& attribute : node.attribute()) {
    check(attribute.t().data_location() != onnx::TensorProto::EXTERNAL, "attribute '{}' lies in another file",
          attribute.name());
    op.attributes.push_back(attribute.SerializeAsString());
  }
  for (const auto& function : model_.functions())
    check(function.name() != node.op_type() || function.domain() != node.domain(),
          "calls a function of the model itself, which is not supported (onnx.inliner removes them)");
  return op;
}

bool Importer::fold_qdq(const Opaque& op, const std::vector<ValueId>& inputs, const std::string& output) {
  if (!is_quantize(op) && !is_dequantize(op)) return false;
  auto folded = fold_constant_qdq(graph_, op, inputs);
  if (!folded) return false;
  folded->name = output;
  graph_.add_value(std::move(*folded));
  return true;
}

// Reshape(Softmax(Flatten(x))), as the exporter writes it, is one operator again; what it was made of is then unread.
bool Importer::import_flattened_softmax(const onnx::NodeProto& node, const NodeImport& at) {
  const auto input_of = [&](ValueId id) {
    const NodeId producer = id == ValueId::none ? NodeId::none : graph_.producer(id);
    return producer == NodeId::none || graph_.node(producer).inputs.empty() ? NodeId::none : producer;
  };
  const NodeId softmax_id = at.inputs.empty() ? NodeId::none : input_of(at.inputs[0]);
  const auto* softmax = softmax_id == NodeId::none ? nullptr : std::get_if<Softmax>(&graph_.node(softmax_id).op);
  if (softmax == nullptr) return false;
  const NodeId flatten_id = input_of(graph_.node(softmax_id).inputs[0]);
  const auto* flatten = flatten_id == NodeId::none ? nullptr : std::get_if<Flatten>(&graph_.node(flatten_id).op);
  if (flatten == nullptr) return false;
  add_node(node, Softmax{flatten->axis, softmax->log, true}, {graph_.node(flatten_id).inputs[0]}, at.output_count);
  return true;
}

ValueId Importer::find(const std::string& name) const {
  if (name.empty()) return ValueId::none;
  const auto alias = aliases_.find(name);
  return alias == aliases_.end() ? graph_.find(name) : alias->second;
}

// An Identity of a constant gives it a second name: exporters write one initializer for equal constants and an Identity
// for each further use. So the constant is found wherever one must be known, such as a scale.
bool Importer::skip_identity(const onnx::NodeProto& node, const NodeImport& at) {
  if (node.op_type() != "Identity" || !is_default_domain(node.domain()) || !node.doc_string().empty()) return false;
  if (at.inputs.size() != 1 || !graph_.is_constant(at.inputs[0]) || output_names_.contains(node.output(0)))
    return false;
  check(graph_.find(node.output(0)) == ValueId::none, "value '{}' is defined twice", node.output(0));
  aliases_[node.output(0)] = at.inputs[0];
  return true;
}

NodeImport Importer::start(const onnx::NodeProto& node) {
  NodeImport at{graph_, node, opset_of(node.domain()), AttributeReader(node, folder_), {}, 0};
  for (const std::string& name : node.input()) at.inputs.push_back(find(name));
  for (int i = 0; i < node.output_size(); ++i)
    if (!node.output(i).empty() && read_.contains(node.output(i))) at.output_count = static_cast<std::size_t>(i) + 1;
  // A Split's sizes follow from how many parts there are, read or not.
  if (node.op_type() == "Split" && at.output_count > 0) at.output_count = static_cast<std::size_t>(node.output_size());
  return at;
}

void Importer::add_node(const onnx::NodeProto& node, Op op, std::vector<ValueId> inputs, std::size_t output_count) {
  Node added{.name = node.name(), .op = std::move(op), .inputs = std::move(inputs)};
  for (std::size_t i = 0; i < output_count; ++i) {
    const std::string& name = node.output(static_cast<int>(i));
    if (name.empty()) {
      added.outputs.push_back(ValueId::none);
      continue;
    }
    const auto declared = declared_.find(name);
    const Declared type = declared == declared_.end() ? Declared{} : declared->second;
    added.outputs.push_back(graph_.add_value({.name = name, .dtype = type.dtype, .shape = type.shape}));
  }
  if (added.name.empty()) added.name = node.output(0);
  const NodeId id = graph_.add_node(std::move(added));
  infer(id);
  if (node.doc_string() == kGridClip) marks_.grid_clips.insert(id);
  if (node.doc_string() == kRequantize) marks_.requantizes.insert(id);
}

// Types and shapes as far as they are known, so that the import of later nodes can use them.
void Importer::infer(NodeId id) {
  const Node& node = graph_.node(id);
  const auto info_of = [&](ValueId value) -> ValueInfo& {
    const auto index = static_cast<std::size_t>(value);
    if (infos_.size() <= index) infos_.resize(index + 1);
    if (!infos_[index]) infos_[index] = declared_info(graph_.value(value));
    return *infos_[index];
  };
  std::vector<ValueInfo> inputs;
  for (ValueId in : node.inputs) inputs.push_back(in == ValueId::none ? ValueInfo{} : info_of(in));
  const bool is_opaque = std::holds_alternative<Opaque>(node.op);
  std::vector<ValueInfo> inferred = infer_node(node, inputs);
  if (!inferred.empty() && !inputs.empty()) {
    if (is_quantize(node.op) || is_dequantize(node.op)) inferred[0].shape = inputs[0].shape;
    if (is_quantize(node.op) && node.outputs[0] != ValueId::none)
      graph_.value(node.outputs[0]).dtype = inputs.size() > 2 ? inputs[2].dtype : DataType::uint8;
  }
  for (std::size_t i = 0; i < node.outputs.size() && i < inferred.size(); ++i) {
    if (node.outputs[i] == ValueId::none) continue;
    Value& value = graph_.value(node.outputs[i]);
    if (inferred[i].shape) value.shape = inferred[i].shape;
    inferred[i].shape = value.shape;
    if (is_opaque)
      inferred[i].dtype = value.dtype;
    else
      value.dtype = inferred[i].dtype;
    info_of(node.outputs[i]) = std::move(inferred[i]);
  }
}

void Importer::import_node(onnx::NodeProto& node) {
  try {
    import_checked(node);
  } catch (const Error& error) {
    fail("{} {}", where(node), error.what());
  }
}

void Importer::import_checked(onnx::NodeProto& node) {
  check(!node.op_type().empty(), "has no operator type");
  if (auto constant = constant_of(node)) {
    check(node.output_size() == 1 && !node.output(0).empty(), "has no output");
    graph_.add_constant(node.output(0), std::move(*constant));
    return;
  }
  NodeImport at = start(node);
  if (at.output_count == 0) return;  // its outputs are not read
  if (skip_identity(node, at)) return;
  if (is_default_domain(node.domain())) {
    if (node.doc_string() == kRequantize && node.op_type() == "Identity")
      return add_node(node, Requantize{}, at.inputs, at.output_count);
    if (node.doc_string() == kFlattenedSoftmax && import_flattened_softmax(node, at)) return;
    const std::vector<ValueId> as_given = at.inputs;
    if (const OpRow* row = find_row(node.op_type(), at.opset)) {
      std::optional<Op> op = row->import_node(at);
      if (op && at.attributes.all_read()) return add_node(node, std::move(*op), at.inputs, at.output_count);
    }
    at.inputs = as_given;
  }
  Opaque op = make_opaque(node);
  if (fold_qdq(op, at.inputs, node.output(0))) return;
  const bool is_pair_part = is_quantize(op) || is_dequantize(op);
  // Another opset than the one files are written with: said, so that the file written says it too.
  if (!is_pair_part) graph_.metadata.try_emplace(kOpsetKey + op.domain, std::to_string(at.opset));
  add_node(node, std::move(op), at.inputs, at.output_count);
}

void Importer::mark_output(const onnx::ValueInfoProto& output) {
  const ValueId id = output.name().empty() ? ValueId::none : graph_.find(output.name());
  check(id != ValueId::none, "nothing produces the graph output '{}'", output.name());
  graph_.mark_output(id);
}

void Importer::name_nodes() {
  std::set<std::string> taken;
  for (NodeId id : graph_.nodes()) {
    const std::string stem = graph_.node(id).name;
    const std::string name = fresh_name(stem, [&](const std::string& candidate) { return taken.contains(candidate); });
    taken.insert(name);
    if (name != stem) graph_.rename_node(id, name);
  }
}

}  // namespace

namespace {

// `owner` keeps `bytes`, which tensors borrow then; null where the caller may change them.
Graph import_bytes(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner, const std::string& name,
                   const std::string& folder) {
  try {
    check(!bytes.empty(), "is empty");
    check(bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()),
          "has {} bytes; beyond 2 GB weights must lie in external files", bytes.size());
    onnx::ModelProto model;
    auto data = parse_model(bytes, model);
    check(data.has_value(), "is not an ONNX model, or is cut short: its {} bytes do not parse", bytes.size());
    return Importer(model, std::move(*data), owner, folder).run();
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  } catch (const std::bad_alloc&) {
    fail("{}: out of memory", name);
  }
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

}  // namespace

Graph parse_onnx(std::span<const std::byte> bytes, const std::string& name, const std::string& folder) {
  return import_bytes(bytes, nullptr, name, folder);
}

Graph load_onnx(const std::string& path) {
  const auto file = MappedFile::open(path);
  Graph graph = import_bytes(file->bytes(), file, path, folder_of(path));
  release_mapped_pages(file->bytes());
  return graph;
}

std::int64_t onnx_file_bytes(const std::string& path) {
  const auto file = MappedFile::open(path);
  auto sum = static_cast<std::int64_t>(file->bytes().size());
  onnx::ModelProto model;
  if (!parse_model(file->bytes(), model)) return sum;
  std::set<std::string> others;
  for (const auto& tensor : model.graph().initializer())
    if (const auto location = external_location(tensor)) others.insert(*location);
  for (const std::string& location : others) sum += external_file_bytes(location, folder_of(path));
  return sum;
}

}  // namespace bitfold
