// Works on protobuf's wire format. A message is a sequence of fields. A field is a tag (its number and wire type) and
// its contents. The contents of a nested message follow their length.
#include "onnx/initializer_data.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <limits>

#include "base/check.h"

namespace bitfold {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using Bytes = std::span<const std::byte>;

/// raw_data below this size (bytes) stays in the message.
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

bool shrink_initializer(Bytes tensor, std::string& to, Bytes& data) {
  return for_each_field(tensor, [&](const Field& field) {
    const bool is_data = field.number == onnx::TensorProto::kRawDataFieldNumber && field.has_length;
    if (is_data) data = {};  // of several raw_data fields, protobuf uses the last
    if (is_data && field.contents.size() >= kLargeData)
      data = field.contents;
    else
      append(to, field.whole);
    return true;
  });
}

bool shrink_graph(Bytes graph, std::string& to, InitializerData& data) {
  return for_each_field(graph, [&](const Field& field) {
    if (field.number != onnx::GraphProto::kInitializerFieldNumber || !field.has_length) {
      append(to, field.whole);
      return true;
    }
    std::string tensor;
    if (!shrink_initializer(field.contents, tensor, data.emplace_back())) return false;
    append_field(to, field.number, tensor);
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
  check(model.SerializeToString(&s.bytes), "the model without its weights does not fit 2 GB");
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
  check(is_read, "the model cannot be written");
  return s;
}

}  // namespace

std::optional<InitializerData> parse_model(Bytes bytes, onnx::ModelProto& model) {
  InitializerData data;
  std::string skeleton;
  const bool is_read = for_each_field(bytes, [&](const Field& field) {
    if (field.number != onnx::ModelProto::kGraphFieldNumber || !field.has_length) {
      append(skeleton, field.whole);
      return true;
    }
    std::string graph;
    if (!shrink_graph(field.contents, graph, data)) return false;
    append_field(skeleton, field.number, graph);
    return true;
  });
  if (!is_read || !model.ParseFromString(skeleton)) return std::nullopt;
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
