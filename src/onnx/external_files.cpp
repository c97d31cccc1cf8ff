// Finds the files that hold a model's external data by walking through the wire format. Weights are skipped, not read.
#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "base/mapped_file.h"
#include "bitfold/onnx.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

using google::protobuf::io::CodedInputStream;

enum class Message { model, graph, node, attribute, function, sparse_tensor, tensor, entry };

struct SubmessageField {
  Message parent;
  std::uint32_t number;
  Message child;
};

// The fields of onnx.proto through which a model reaches its tensors.
constexpr std::array<SubmessageField, 16> kFields{{{Message::model, 7, Message::graph},
                                                   {Message::model, 25, Message::function},
                                                   {Message::graph, 1, Message::node},
                                                   {Message::graph, 5, Message::tensor},
                                                   {Message::graph, 15, Message::sparse_tensor},
                                                   {Message::function, 7, Message::node},
                                                   {Message::node, 5, Message::attribute},
                                                   {Message::attribute, 5, Message::tensor},
                                                   {Message::attribute, 6, Message::graph},
                                                   {Message::attribute, 10, Message::tensor},
                                                   {Message::attribute, 11, Message::graph},
                                                   {Message::attribute, 22, Message::sparse_tensor},
                                                   {Message::attribute, 23, Message::sparse_tensor},
                                                   {Message::sparse_tensor, 1, Message::tensor},
                                                   {Message::sparse_tensor, 2, Message::tensor},
                                                   {Message::tensor, 13, Message::entry}}};
constexpr std::uint32_t kEntryKey = 1, kEntryValue = 2;

class Walker {
 public:
  explicit Walker(CodedInputStream& in) : in_(in) {}

  // False if the bytes are not a message.
  bool walk(Message message, int depth = 0) {
    constexpr int kDeepest = 100;  // protobuf's own limit
    if (depth > kDeepest) return false;
    while (const std::uint32_t tag = in_.ReadTag()) {
      const std::uint32_t number = tag >> 3;
      const auto field = std::find_if(kFields.begin(), kFields.end(), [&](const SubmessageField& f) {
        return f.parent == message && f.number == number;
      });
      if ((tag & 7) == 2 && field != kFields.end()) {
        if (!descend(field->child, depth)) return false;
      } else if ((tag & 7) == 2 && message == Message::entry && (number == kEntryKey || number == kEntryValue)) {
        if (!read_text(number == kEntryKey ? key_ : value_)) return false;
      } else if (!skip(tag & 7)) {
        return false;
      }
    }
    return in_.ConsumedEntireMessage();
  }

  /// Each location once.
  std::vector<std::string> take_locations() { return std::move(locations_); }

 private:
  bool descend(Message child, int depth) {
    std::uint32_t length = 0;
    if (!in_.ReadVarint32(&length)) return false;
    if (child == Message::entry) key_.clear(), value_.clear();
    const CodedInputStream::Limit limit = in_.PushLimit(static_cast<int>(length));
    if (!walk(child, depth + 1)) return false;
    in_.PopLimit(limit);
    const bool is_location = child == Message::entry && key_ == "location";
    if (is_location && std::find(locations_.begin(), locations_.end(), value_) == locations_.end())
      locations_.push_back(value_);
    return true;
  }

  bool read_text(std::string& text) {
    constexpr std::uint32_t kLongest = 1 << 16;
    std::uint32_t length = 0;
    return in_.ReadVarint32(&length) && length <= kLongest && in_.ReadString(&text, static_cast<int>(length));
  }

  bool skip(std::uint32_t wire_type) {
    std::uint64_t number = 0;
    std::uint32_t length = 0;
    switch (wire_type) {
      case 0:
        return in_.ReadVarint64(&number);
      case 1:
        return in_.Skip(8);
      case 2:
        return in_.ReadVarint32(&length) && length <= INT32_MAX && in_.Skip(static_cast<int>(length));
      case 5:
        return in_.Skip(4);
      default:
        return false;
    }
  }

  CodedInputStream& in_;
  std::string key_, value_;
  std::vector<std::string> locations_;
};

/// The locations that the model's tensors name; none for a file that is not a model.
std::vector<std::string> external_locations(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return {};
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  google::protobuf::io::FileInputStream stream(descriptor);
  stream.SetCloseOnDelete(true);
  CodedInputStream in(&stream);
  Walker walker(in);
  return walker.walk(Message::model) ? walker.take_locations() : std::vector<std::string>{};
}

}  // namespace

std::vector<std::string> external_files(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (const std::string& location : external_locations(path)) {
    std::string file = (fs::path(path).parent_path() / location).string();
    std::error_code error;
    if (fs::is_regular_file(file, error)) files.push_back(std::move(file));
  }
  return files;
}

std::int64_t onnx_file_bytes(const std::string& path) {
  auto sum = static_cast<std::int64_t>(MappedFile::open(path)->bytes().size());
  const std::string folder = std::filesystem::path(path).parent_path().string();
  for (const std::string& location : external_locations(path)) sum += external_file_bytes(location, folder);
  return sum;
}

}  // namespace bitfold
