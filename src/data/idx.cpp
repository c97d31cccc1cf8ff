#include "data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>
#include <vector>

#include "base/check.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

// Reads the bytes of a file, inflating gzipped ones (RFC 1952).
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {
    gzipped_ = bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
    constexpr int kGzip = 15 + 16;
    if (gzipped_) check(::inflateInit2(&stream_, kGzip) == Z_OK, "'{}': out of memory", name);
  }
  ~ByteReader() {
    if (gzipped_) ::inflateEnd(&stream_);
  }
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  /// An upper bound: deflate expands at most 1032 to 1.
  std::uint64_t max_bytes() const { return gzipped_ ? (std::uint64_t{bytes_.size()} + 1) * 1032 : bytes_.size(); }

  void read(std::span<std::byte> out) {
    if (!gzipped_) {
      check(out.size() <= bytes_.size() - position_, "'{}': truncated: {} bytes", name_, bytes_.size());
      std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(position_), out.size(), out.begin());
      position_ += out.size();
      return;
    }
    while (!out.empty()) {
      const std::size_t got = inflate_some(out);
      check(got > 0, "'{}': truncated: ends after {} bytes", name_, std::uint64_t{stream_.total_out});
      out = out.subspan(got);
    }
  }
  bool at_end() {
    if (!gzipped_) return position_ == bytes_.size();
    std::byte beyond{};
    return inflate_some({&beyond, 1}) == 0 && ended_;
  }

 private:
  // Returns the number of bytes written; 0 at the end of the stream or file. zlib checks the checksum of the gzip
  // trailer.
  std::size_t inflate_some(std::span<std::byte> out) {
    if (ended_) return 0;
    constexpr std::size_t kMaxAtOnce = std::size_t{1} << 30;  // zlib counts in 32 bits
    const std::size_t wanted = std::min(out.size(), kMaxAtOnce), taken = stream_.total_in;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes_.data() + taken));
    stream_.avail_in = static_cast<uInt>(std::min(bytes_.size() - taken, kMaxAtOnce));
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(wanted);
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    ended_ = status == Z_STREAM_END;
    check(ended_ || status == Z_OK || status == Z_BUF_ERROR, "'{}': its gzip data is damaged", name_);
    return wanted - stream_.avail_out;
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::size_t position_ = 0;
  bool gzipped_ = false, ended_ = false;
  z_stream stream_{};
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

}  // namespace

Tensor parse_idx(std::span<const std::byte> bytes, const std::string& name) {
  ByteReader reader(bytes, name);
  std::array<std::byte, 4> word{};
  reader.read(word);
  const auto dtype = element_type(std::to_integer<int>(word[2]));
  check(word[0] == std::byte{0} && word[1] == std::byte{0} && dtype.has_value(),
        "'{}': not an IDX file: it starts with {:02x} {:02x} {:02x} {:02x}", name, std::to_integer<int>(word[0]),
        std::to_integer<int>(word[1]), std::to_integer<int>(word[2]), std::to_integer<int>(word[3]));
  Shape shape(std::to_integer<std::size_t>(word[3]));
  for (std::int64_t& dim : shape) {
    reader.read(word);
    for (std::byte byte : word) dim = dim << 8 | std::to_integer<std::int64_t>(byte);
  }
  std::uint64_t size = static_cast<std::uint64_t>(bit_width(*dtype)) / 8;
  for (std::int64_t dim : shape) {
    size = dim == 0 ? 0 : size;
    check(size <= reader.max_bytes() / std::max<std::uint64_t>(1, static_cast<std::uint64_t>(dim)),
          "'{}': declares {} elements of shape {}, more than its {} bytes can hold", name, to_string(*dtype),
          to_string(shape), bytes.size());
    size *= static_cast<std::uint64_t>(dim);
  }
  Tensor tensor(*dtype, shape);
  std::byte* elements = tensor.mutable_bytes();
  reader.read({elements, tensor.size_bytes()});
  check(reader.at_end(), "'{}': has extra bytes after {} elements of shape {}, or its end is damaged", name,
        to_string(*dtype), to_string(shape));
  const std::size_t width = static_cast<std::size_t>(bit_width(*dtype)) / 8;
  if (width > 1 && std::endian::native == std::endian::little)
    for (std::size_t at = 0; at < tensor.size_bytes(); at += width) std::reverse(elements + at, elements + at + width);
  return tensor;
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
