// A graph as text, and back.
//
//   graph "lenet"
//   opset 17
//   meta "producer" "pytorch"
//   input "x" float32 [?,3,28,28]
//   const "conv1.weight" float32 [20,3,5,5] #91c0ffee12345678
//   const "shape" int64 [2] = 0 -1
//   node Conv "conv1" ("x", "conv1.weight", -) -> ("h") {kernel=[5,5] strides=[1,1] dilations=[1,1] pads=[0,0,0,0] ...}
//   value "h" float32 [?,20,24,24] grid bits=8 signed=0 narrow=0 axis=-1 scale=[0.02] zero_point=[3]
//   value "parts" sequence of float32 [?,4]
//   output "y"
//
// The bodies of a node follow it, each as a graph between lines "body" and "end".
//
// "-" is an absent operand. Constants of at most 16 elements carry them; larger ones a hash of their bytes (FNV-1a) by
// which texts can be compared, and are read back as zeros. Floats are written so that they read back to the same bits.
#include <bit>

#include "base/check.h"
#include "bitfold/graph.h"
#include "graph/text_fields.h"

namespace bitfold {
namespace {

constexpr std::int64_t kMaxPrintedElements = 16;

std::uint64_t hash_of(const Tensor& tensor) {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a's offset basis and prime
  const auto add = [&hash](std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3U;
  };
  if (tensor.dtype() != DataType::string)
    add({tensor.bytes(), tensor.size_bytes()});
  else
    for (const std::string& text : tensor.data<std::string>())
      add(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
  return hash;
}

std::string print_constant(const Tensor& tensor) {
  if (tensor.size() > kMaxPrintedElements) return fmt::format(" #{:016x}", hash_of(tensor));
  return " = " + text::print_elements(tensor);
}

std::string print_grid(const QuantParams& q) {
  const std::string blocks = q.has_blocks() ? fmt::format(" block_size={}", q.block_size) : "";
  return fmt::format(" grid bits={} signed={:d} narrow={:d} axis={}{} scale={} zero_point={}", q.bits, q.is_signed,
                     q.narrow, q.axis, blocks, text::print(q.scale), text::print(q.zero_point));
}

/// The properties of a value, after the word for its role.
std::string print_value(const Value& value) {
  std::string line = fmt::format("{} {}", text::quoted(value.name), to_string(value.dtype));
  if (value.shape) line += " " + text::print(*value.shape);
  if (value.items && value.items->dtype != DataType::unknown) {
    line += fmt::format(" of {}", to_string(value.items->dtype));
    if (value.items->shape) line += " " + text::print(*value.items->shape);
  }
  if (value.constant && value.constant->dtype() != value.dtype)
    line += fmt::format(" codes {}", to_string(value.constant->dtype()));
  if (value.quant) line += print_grid(*value.quant);
  if (value.constant) line += print_constant(*value.constant);
  return line;
}

std::string print_operands(const Graph& graph, const std::vector<ValueId>& ids) {
  std::string list = "(";
  for (ValueId id : ids) {
    if (list.size() > 1) list += ", ";
    list += id == ValueId::none ? "-" : text::quoted(graph.value(id).name);
  }
  return list + ")";
}

class GraphReader {
 public:
  explicit GraphReader(std::string_view source, int depth = 0) : source_(source), depth_(depth), is_body_(depth > 0) {}

  Graph read() {
    while (!source_.empty()) {
      ++line_number_;
      const std::size_t end = std::min(source_.find('\n'), source_.size());
      text::Cursor line{source_.substr(0, end)};
      source_.remove_prefix(std::min(end + 1, source_.size()));
      if (line.at_end()) continue;
      try {
        if (line.accept("body")) {
          read_body();
          continue;
        }
        if (is_body_ && line.accept("end")) return std::move(graph_);
        read_line(line);
        check(line.at_end(), "unexpected '{}' at the end", line.rest());
      } catch (const Error& e) {
        fail("line {} of a graph: {}", line_number_, e.what());
      }
    }
    check(!is_body_, "a body lacks its 'end'");
    return std::move(graph_);
  }

 private:
  void read_line(text::Cursor& line) {
    const std::string word = line.word();
    if (word == "graph") {
      graph_.name = line.quoted();
    } else if (word == "opset") {
      graph_.opset = line.integer();
    } else if (word == "meta") {
      const std::string key = line.quoted();
      graph_.metadata[key] = line.quoted();
    } else if (word == "input" || word == "value" || word == "const") {
      read_value(line, word);
    } else if (word == "node") {
      read_node(line);
    } else if (word == "output") {
      graph_.mark_output(value_named(line.quoted()));
    } else {
      fail("'{}' must be graph, opset, meta, input, const, value, node or output", word);
    }
  }

  void read_value(text::Cursor& line, const std::string& role) {
    Value value{.name = line.quoted()};
    value.dtype = text::parse_dtype(line.word());
    if (line.next_is('[')) value.shape = line.integers();
    if (line.accept("of ")) {
      value.items = ItemType{.dtype = text::parse_dtype(line.word()), .shape = {}};
      if (line.next_is('[')) value.items->shape = line.integers();
    }
    DataType stored = value.dtype;
    if (line.accept("codes")) stored = text::parse_dtype(line.word());
    if (line.accept("grid")) value.quant = text::read_grid(line);
    if (role == "const") {
      check(value.shape && is_static(*value.shape), "a constant needs a shape");
      check(!is_container(stored), "a constant cannot be a sequence or an optional");
      constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 28;  // limits the memory that a short text can request
      constant_bytes_ += storage_bytes(stored, element_count(*value.shape));
      check(constant_bytes_ <= kMaxBytes, "the constants take more than {} bytes", kMaxBytes);
      Tensor tensor(stored, *value.shape);
      if (line.accept("="))
        text::read_elements(line, tensor);
      else
        line.word();  // the hash
      value.constant = std::move(tensor);
    }
    if (role == "input") {
      check(value.shape.has_value() || is_container(value.dtype), "a graph input needs a shape");
      const ValueId id = graph_.add_input(value.name, value.dtype, value.shape.value_or(Shape{}));
      graph_.value(id).shape = value.shape;
      graph_.value(id).items = value.items;
      graph_.value(id).quant = value.quant;
    } else {
      graph_.add_value(std::move(value));
    }
  }

  ValueId value_named(const std::string& name) {
    const ValueId id = graph_.find(name);
    check(id != ValueId::none, "unknown value '{}'", name);
    return id;
  }

  std::vector<ValueId> operands(text::Cursor& line) {
    std::vector<ValueId> ids;
    line.expect("(");
    while (!line.accept(")")) {
      if (!ids.empty()) line.expect(",");
      ids.push_back(line.accept("-") ? ValueId::none : value_named(line.quoted()));
    }
    return ids;
  }

  void read_node(text::Cursor& line) {
    const std::string type = line.word();
    Node node{.name = line.quoted()};
    node.inputs = operands(line);
    line.expect("->");
    node.outputs = operands(line);
    node.op = text::read_op(type, line);
    graph_.add_node(std::move(node));
  }

  void read_body() {
    constexpr int kMaxDepth = 64;
    check(!graph_.nodes().empty(), "a body must follow a node");
    check(depth_ < kMaxDepth, "bodies are nested more than {} deep", kMaxDepth);
    GraphReader reader(source_, depth_ + 1);
    auto body = std::make_shared<const Graph>(reader.read());
    source_ = reader.source_;
    line_number_ += reader.line_number_;
    const NodeId owner = graph_.nodes().back();
    auto bodies = graph_.node(owner).bodies;
    bodies.push_back(std::move(body));
    graph_.set_bodies(owner, std::move(bodies));
  }

  std::string_view source_;
  int depth_ = 0;
  bool is_body_ = false;
  int line_number_ = 0;
  Graph graph_;
  std::uint64_t constant_bytes_ = 0;
};

}  // namespace

std::string print_graph(const Graph& graph) {
  std::string out = fmt::format("graph {}\n", text::quoted(graph.name));
  if (graph.opset != 0) out += fmt::format("opset {}\n", graph.opset);
  for (const auto& [key, value] : graph.metadata)
    out += fmt::format("meta {} {}\n", text::quoted(key), text::quoted(value));
  for (ValueId id : graph.inputs()) out += fmt::format("input {}\n", print_value(graph.value(id)));
  // Values precede the nodes that name them and keep their order, so that reading gives the same ids.
  for (ValueId id : graph.values())
    if (!graph.is_input(id))
      out += fmt::format("{} {}\n", graph.is_constant(id) ? "const" : "value", print_value(graph.value(id)));
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    out += fmt::format("node {} {} {} -> {} {}\n", text::op_word(node.op), text::quoted(node.name),
                       print_operands(graph, node.inputs), print_operands(graph, node.outputs),
                       text::print_attributes(node.op));
    for (const auto& body : node.bodies) out += "body\n" + print_graph(*body) + "end\n";
  }
  for (ValueId id : graph.outputs()) out += fmt::format("output {}\n", text::quoted(graph.value(id).name));
  return out;
}

Graph parse_graph(std::string_view text) { return GraphReader(text).read(); }

}  // namespace bitfold
