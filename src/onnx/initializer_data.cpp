// Works on protobuf's wire format. A message is a sequence of fields. A field is a tag (its number and wire type) and
// its contents. The contents of a nested message follow their length.
#include "onnx/initializer_data.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "base/check.h"

namespace bitfold {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using Bytes = std::span<const std::byte>;

/// Elements below this size (bytes) stay in the message.
constexpr std::size_t kLargeData = 1024;

struct Field {
  int number = 0;
  bool has_length = false;
  Bytes whole, contents;  ///< `contents` is set only if the field has a length.
};

/// Calls visit(field) for each field of a message. Returns false if the bytes are not a message.
template <class Visit>
bool for_each_field(Bytes message, const Visit& visit) {
  if (message.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) return false;
  const auto size = static_cast<int>(message.size());
  CodedInputStream input(reinterpret_cast<const std::uint8_t*>(message.data()), size);
  while (input.CurrentPosition() < size) {
    const auto begin = static_cast<std::size_t>(input.CurrentPosition());
    const std::uint32_t tag = input.ReadTag();
    if (tag == 0) return false;
    Field field{WireFormatLite::GetTagFieldNumber(tag),
                WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED,
                {},
                {}};
    if (field.has_length) {
      std::uint32_t length = 0;
      if (!input.ReadVarint32(&length)) return false;
      const auto at = static_cast<std::size_t>(input.CurrentPosition());
      if (length > message.size() - at || !input.Skip(static_cast<int>(length))) return false;
      field.contents = message.subspan(at, length);
    } else if (!WireFormatLite::SkipField(&input, tag)) {
      return false;
    }
    field.whole = message.subspan(begin, static_cast<std::size_t>(input.CurrentPosition()) - begin);
    if (!visit(field)) return false;
  }
  return true;
}

/// The value of a field that is one varint; 0 for other fields.
int varint_of(const Field& field) {
  if (field.has_length) return 0;
  CodedInputStream input(reinterpret_cast<const std::uint8_t*>(field.whole.data()),
                         static_cast<int>(field.whole.size()));
  std::uint64_t value = 0;
  if (WireFormatLite::GetTagWireType(input.ReadTag()) != WireFormatLite::WIRETYPE_VARINT) return 0;
  return input.ReadVarint64(&value) ? static_cast<int>(value) : 0;
}

void append(std::string& to, Bytes bytes) { to.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); }

/// The tag and length that precede `length` bytes of contents.
std::string header(int number, std::size_t length) {
  std::uint8_t bytes[20];
  std::uint8_t* end = CodedOutputStream::WriteTagToArray(
      WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED), bytes);
  end = CodedOutputStream::WriteVarint64ToArray(length, end);
  return {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(end - bytes)};
}

void append_field(std::string& to, int number, const std::string& contents) {
  to += header(number, contents.size());
  to += contents;
}

/// The elements of a tensor that can be kept apart: its raw_data, or the float_data of a float32 tensor, which is
/// packed into one field. Null data if there are none. Returns false if the bytes are not a message.
bool find_elements(Bytes tensor, Bytes& elements) {
  Bytes raw, floats;
  int float_fields = 0, type = 0;
  const bool is_read = for_each_field(tensor, [&](const Field& field) {
    if (field.number == onnx::TensorProto::kRawDataFieldNumber && field.has_length)
      raw = field.contents;  // of several raw_data fields, protobuf uses the last
    if (field.number == onnx::TensorProto::kFloatDataFieldNumber) {
      ++float_fields;
      floats = field.has_length ? field.contents : Bytes();
    }
    if (field.number == onnx::TensorProto::kDataTypeFieldNumber) type = varint_of(field);
    return true;
  });
  const bool is_packed = raw.data() == nullptr && float_fields == 1 && type == onnx::TensorProto::FLOAT;
  elements = is_packed ? floats : raw;
  return is_read;
}

bool shrink_tensor(Bytes tensor, std::string& to, Bytes& data) {
  Bytes elements;
  if (!find_elements(tensor, elements)) return false;
  if (elements.size() >= kLargeData) data = elements;
  return for_each_field(tensor, [&](const Field& field) {
    // An earlier raw_data, which does not count, is left out as well.
    const bool is_left_out = data.data() != nullptr && (field.contents.data() == data.data() ||
                                                        field.number == onnx::TensorProto::kRawDataFieldNumber);
    if (!is_left_out) append(to, field.whole);
    return true;
  });
}

/// The field of a message with that number. Empty if there is none, or several.
std::optional<Field> only_field(Bytes message, int number) {
  std::optional<Field> found;
  int count = 0;
  const bool is_read = for_each_field(message, [&](const Field& field) {
    if (field.number == number && ++count == 1) found = field;
    return true;
  });
  return is_read && count == 1 && found->has_length ? found : std::nullopt;
}

bool is_text(const std::optional<Field>& field, std::string_view text) {
  return field && std::ranges::equal(field->contents, std::as_bytes(std::span(text)));
}

/// The message with other contents of its field `part`.
std::string with_contents(Bytes message, const Field& part, const std::string& contents) {
  const auto begin = static_cast<std::size_t>(part.whole.data() - message.data());
  std::string out;
  append(out, message.first(begin));
  append_field(out, part.number, contents);
  append(out, message.subspan(begin + part.whole.size()));
  return out;
}

/// Whether the node is of ONNX's own operators.
bool has_standard_domain(Bytes node) {
  return for_each_field(node, [&](const Field& field) {
    return field.number != onnx::NodeProto::kDomainFieldNumber || field.contents.empty() || is_text(field, "ai.onnx");
  });
}

/// The node without the elements of its tensor, if it is a Constant of one tensor; else an empty string.
std::string shrink_constant(Bytes node, Bytes& data) {
  using Node = onnx::NodeProto;
  if (node.size() < kLargeData || !is_text(only_field(node, Node::kOpTypeFieldNumber), "Constant")) return {};
  if (!has_standard_domain(node)) return {};
  const auto attribute = only_field(node, Node::kAttributeFieldNumber);
  const auto tensor = attribute ? only_field(attribute->contents, onnx::AttributeProto::kTFieldNumber) : std::nullopt;
  std::string shrunk;
  if (!tensor || !shrink_tensor(tensor->contents, shrunk, data) || data.data() == nullptr) return {};
  return with_contents(node, *attribute, with_contents(attribute->contents, *tensor, shrunk));
}

/// `has_functions`: a model that defines functions may define its own Constant.
bool shrink_graph(Bytes graph, bool has_functions, std::string& to, DetachedModelData& data) {
  return for_each_field(graph, [&](const Field& field) {
    if (field.number == onnx::GraphProto::kInitializerFieldNumber && field.has_length) {
      std::string tensor;
      if (!shrink_tensor(field.contents, tensor, data.initializers.emplace_back())) return false;
      append_field(to, field.number, tensor);
      return true;
    }
    std::string node;
    if (field.number == onnx::GraphProto::kNodeFieldNumber && field.has_length) {
      Bytes& elements = data.constants.emplace_back();
      if (!has_functions) node = shrink_constant(field.contents, elements);
    }
    if (node.empty())
      append(to, field.whole);
    else
      append_field(to, field.number, node);
    return true;
  });
}

Bytes as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

/// A serialized model without raw_data, split at the positions of the raw_data.
struct Skeleton {
  std::string bytes;
  struct Cut {
    /// The parts of `bytes` up to `begin` are written, then `header`, and then `bytes` from `end` on.
    std::size_t begin, end;
    std::string header;
    std::size_t data_end;  ///< Position of the raw_data in `bytes`; SIZE_MAX if there is none.
    Bytes data;
  };
  std::vector<Cut> cuts;
  std::size_t total = 0;
};

Skeleton skeleton_of(const onnx::ModelProto& model, const InitializerData& data) {
  Skeleton s;
  check(model.SerializeToString(&s.bytes), "the model without its weights exceeds 2 GB, protobuf's limit");
  const Bytes bytes = as_bytes(s.bytes);
  const auto offset = [&](Bytes part) { return static_cast<std::size_t>(part.data() - bytes.data()); };
  s.total = s.bytes.size();
  const bool is_read = for_each_field(bytes, [&](const Field& field) {
    if (field.number != onnx::ModelProto::kGraphFieldNumber) return true;
    const std::size_t graph_cut = s.cuts.size();
    s.cuts.push_back({offset(field.whole), offset(field.contents), "", SIZE_MAX, {}});
    std::size_t graph_bytes = field.contents.size(), index = 0;
    const bool is_graph = for_each_field(field.contents, [&](const Field& part) {
      if (part.number != onnx::GraphProto::kInitializerFieldNumber) return true;
      const Bytes raw = index < data.size() ? data[index] : Bytes();
      ++index;
      if (raw.data() == nullptr) return true;
      const std::size_t field_bytes = header(onnx::TensorProto::kRawDataFieldNumber, raw.size()).size() + raw.size();
      const std::size_t tensor_bytes = part.contents.size() + field_bytes;
      const std::string tensor_header = header(part.number, tensor_bytes);
      graph_bytes += tensor_header.size() + tensor_bytes - part.whole.size();
      s.cuts.push_back({offset(part.whole), offset(part.contents), tensor_header,
                        offset(part.contents) + part.contents.size(), raw});
      return true;
    });
    Skeleton::Cut& cut = s.cuts[graph_cut];
    cut.header = header(field.number, graph_bytes);
    s.total += cut.header.size() + graph_bytes - field.whole.size();
    return is_graph;
  });
  check(is_read, "the model cannot be written: its message does not parse");
  return s;
}

}  // namespace

std::optional<DetachedModelData> parse_model(Bytes bytes, onnx::ModelProto& model) {
  std::string rest;
  std::vector<Bytes> graphs;  // protobuf merges several into one
  const bool is_read = for_each_field(bytes, [&](const Field& field) {
    if (field.number == onnx::ModelProto::kGraphFieldNumber && field.has_length)
      graphs.push_back(field.contents);
    else
      append(rest, field.whole);
    return true;
  });
  if (!is_read || !model.ParseFromString(rest)) return std::nullopt;
  DetachedModelData data;
  for (const Bytes graph : graphs) {
    std::string shrunk;
    if (!shrink_graph(graph, model.functions_size() > 0, shrunk, data)) return std::nullopt;
    if (!model.mutable_graph()->MergeFromString(shrunk)) return std::nullopt;
  }
  return data;
}

std::size_t serialized_bytes(const onnx::ModelProto& model, const InitializerData& data) {
  return skeleton_of(model, data).total;
}

void serialize_model(const onnx::ModelProto& model, const InitializerData& data,
                     const std::function<void(Bytes)>& write, const std::function<void(Bytes)>& done) {
  const Skeleton s = skeleton_of(model, data);
  const Bytes bytes = as_bytes(s.bytes);
  std::size_t at = 0;
  const auto write_until = [&](std::size_t end) {
    write(bytes.subspan(at, end - at));
    at = end;
  };
  for (const Skeleton::Cut& cut : s.cuts) {
    write_until(cut.begin);
    write(as_bytes(cut.header));
    at = cut.end;
    if (cut.data_end == SIZE_MAX) continue;
    write_until(cut.data_end);
    write(as_bytes(header(onnx::TensorProto::kRawDataFieldNumber, cut.data.size())));
    write(cut.data);
    done(cut.data);
  }
  write_until(bytes.size());
}

}  // namespace bitfold
