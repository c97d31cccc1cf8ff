#include "data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "data/byte_source.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

// Reads a file from its start to its end, inflating gzipped ones (RFC 1952). Memory holds one piece.
class IdxStream {
 public:
  IdxStream(ByteSource bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {
    gzipped_ = bytes_.size() >= 2 && bytes_.read(0, 2) == std::vector{std::byte{0x1f}, std::byte{0x8b}};
    constexpr int kGzip = 15 + 16;
    if (gzipped_) check(::inflateInit2(&stream_, kGzip) == Z_OK, "'{}': out of memory", name_);
  }
  ~IdxStream() {
    if (gzipped_) ::inflateEnd(&stream_);
  }
  IdxStream(const IdxStream&) = delete;
  IdxStream& operator=(const IdxStream&) = delete;

  bool is_gzipped() const { return gzipped_; }
  std::uint64_t file_bytes() const { return bytes_.size(); }
  /// An upper bound: deflate expands at most 1032 to 1.
  std::uint64_t max_bytes() const { return gzipped_ ? (bytes_.size() + 1) * 1032 : bytes_.size(); }
  /// The next `count` bytes of a file that is not gzipped.
  ByteSource part(std::uint64_t count) const {
    check(bytes_.has(taken_, count), "'{}': truncated: {} bytes", name_, bytes_.size());
    return bytes_.part(taken_, count);
  }

  void read(std::span<std::byte> out) {
    if (!gzipped_) {
      part(out.size()).read(0, out);
      taken_ += out.size();
      return;
    }
    while (!out.empty()) {
      const std::size_t got = inflate_some(out);
      check(got > 0, "'{}': truncated: ends after {} bytes", name_, std::uint64_t{stream_.total_out});
      out = out.subspan(got);
    }
  }
  /// Whether `count` bytes are left, and, if gzipped, whether the end is undamaged.
  bool ends_after(std::uint64_t count) {
    if (!gzipped_) return bytes_.size() - taken_ == count;
    std::byte beyond{};
    return count == 0 && inflate_some({&beyond, 1}) == 0 && ended_;
  }

 private:
  // Returns the number of bytes written; 0 at the end of the stream or file. zlib checks the checksum of the gzip
  // trailer.
  std::size_t inflate_some(std::span<std::byte> out) {
    constexpr std::size_t kMaxAtOnce = std::size_t{1} << 30;  // zlib counts in 32 bits
    const std::size_t wanted = std::min(out.size(), kMaxAtOnce);
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(wanted);
    while (!ended_ && stream_.avail_out == wanted) {
      const bool has_input = stream_.avail_in > 0 || refill();
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      ended_ = status == Z_STREAM_END;
      check(ended_ || status == Z_OK || status == Z_BUF_ERROR, "'{}': its gzip data is damaged", name_);
      if (!has_input) break;
    }
    return wanted - stream_.avail_out;
  }

  bool refill() {
    constexpr std::uint64_t kPieceBytes = 1 << 16;
    buffer_ = bytes_.read(taken_, std::min(kPieceBytes, bytes_.size() - taken_));
    taken_ += buffer_.size();
    stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_in = static_cast<uInt>(buffer_.size());
    return !buffer_.empty();
  }

  ByteSource bytes_;
  std::string name_;
  std::uint64_t taken_ = 0;  // bytes of the file given to zlib
  bool gzipped_ = false, ended_ = false;
  z_stream stream_{};
  std::vector<std::byte> buffer_;  // compressed bytes that zlib has not taken
};

std::optional<DataType> element_type(int code) {
  switch (code) {
    case 0x08:
      return DataType::uint8;
    case 0x09:
      return DataType::int8;
    case 0x0b:
      return DataType::int16;
    case 0x0c:
      return DataType::int32;
    case 0x0d:
      return DataType::float32;
    case 0x0e:
      return DataType::float64;
    default:
      return std::nullopt;
  }
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_images_name(const std::string& name) {
  return lower(name).find("images") != std::string::npos && lower(name).find("idx3") != std::string::npos;
}

bool replace(std::string& text, std::string_view from, std::string_view to) {
  const std::size_t at = lower(text).find(from);
  if (at == std::string::npos) return false;
  text.replace(at, from.size(), to);
  return true;
}

ArrayLayout read_header(IdxStream& stream, const std::string& name) {
  std::array<std::byte, 4> word{};
  stream.read(word);
  const auto dtype = element_type(std::to_integer<int>(word[2]));
  check(word[0] == std::byte{0} && word[1] == std::byte{0} && dtype.has_value(),
        "'{}': not an IDX file: it starts with {:02x} {:02x} {:02x} {:02x}", name, std::to_integer<int>(word[0]),
        std::to_integer<int>(word[1]), std::to_integer<int>(word[2]), std::to_integer<int>(word[3]));
  Shape shape(std::to_integer<std::size_t>(word[3]));
  for (std::int64_t& dim : shape) {
    stream.read(word);
    for (std::byte byte : word) dim = dim << 8 | std::to_integer<std::int64_t>(byte);
  }
  std::uint64_t size = static_cast<std::uint64_t>(bit_width(*dtype)) / 8;
  for (std::int64_t dim : shape) {
    size = dim == 0 ? 0 : size;
    check(size <= stream.max_bytes() / std::max<std::uint64_t>(1, static_cast<std::uint64_t>(dim)),
          "'{}': declares {} elements of shape {}, more than its {} bytes can hold", name, to_string(*dtype),
          to_string(shape), stream.file_bytes());
    size *= static_cast<std::uint64_t>(dim);
  }
  return {.dtype = *dtype, .big_endian = true, .shape = shape};
}

void check_end(IdxStream& stream, std::uint64_t left, const ArrayLayout& layout, const std::string& name) {
  check(stream.ends_after(left), "'{}': has extra bytes after {} elements of shape {}, or its end is damaged", name,
        to_string(layout.dtype), to_string(layout.shape));
}

std::unique_ptr<ArrayReader> open_idx_bytes(const ByteSource& bytes, const std::string& name) {
  const auto where = fmt::format("'{}'", name);
  IdxStream stream(bytes, name);
  ArrayLayout layout = read_header(stream, name);
  if (!stream.is_gzipped()) {
    ByteSource elements = stream.part(layout.bytes());
    check_end(stream, layout.bytes(), layout, name);
    return make_array_reader(std::move(layout), std::move(elements), where);
  }
  if (layout.bytes() == 0) check_end(stream, 0, layout, name);
  const auto open = [bytes, layout, name] {
    const auto elements = std::make_shared<IdxStream>(bytes, name);
    read_header(*elements, name);
    return [elements, layout, name, left = layout.bytes()](std::span<std::byte> out) mutable {
      elements->read(out);
      left -= out.size();
      if (left == 0 && !out.empty()) check_end(*elements, 0, layout, name);
    };
  };
  return make_array_reader(layout, open, where);
}

}  // namespace

Tensor parse_idx(std::span<const std::byte> bytes, const std::string& name) {
  return open_idx_bytes(ByteSource(bytes), name)->read();
}

std::unique_ptr<ArrayReader> open_idx(const std::string& path) {
  return open_idx_bytes(ByteSource(std::make_shared<const InputFile>(path)), path);
}

std::optional<IdxFiles> find_idx_files_of(const fs::path& images) {
  std::string labels = images.filename().string();
  if (!is_images_name(labels)) return std::nullopt;
  replace(labels, "images", "labels");
  replace(labels, "idx3", "idx1");
  IdxFiles files{images, {}};
  std::string other = labels;
  if (other.ends_with(".gz"))
    other.resize(other.size() - 3);
  else
    other += ".gz";
  for (const std::string& name : {labels, other}) {
    std::error_code ignored;
    if (!files.labels.empty() || !fs::is_regular_file(images.parent_path() / name, ignored)) continue;
    files.labels = images.parent_path() / name;
  }
  return files;
}

std::optional<IdxFiles> find_idx_files(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error, ignored;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->is_regular_file(ignored) && is_images_name(at->path().filename().string())) found.push_back(at->path());
  check(!error, "cannot read folder '{}': {}", folder.string(), error.message());
  std::sort(found.begin(), found.end());
  // The same file plain and gzipped counts once; the plain one is read.
  std::erase_if(found, [&](const fs::path& path) {
    return path.extension() == ".gz" &&
           std::find(found.begin(), found.end(), fs::path(path).replace_extension()) != found.end();
  });
  if (found.empty()) return std::nullopt;
  if (found.size() > 1)
    fail("'{}': contains several sets of IDX images ('{}' and '{}'); name one of these files instead of the folder",
         folder.string(), found[0].filename().string(), found[1].filename().string());
  return find_idx_files_of(found[0]);
}

}  // namespace bitfold
