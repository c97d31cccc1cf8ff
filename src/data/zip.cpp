#include "data/zip.h"

#include <algorithm>
#include <concepts>
#include <limits>
#include <optional>

#include "base/check.h"

namespace bitfold {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalHeader = 0x04034b50, kDirectoryEntry = 0x02014b50, kEndOfDirectory = 0x06054b50,
                        kEndOfDirectory64 = 0x06064b50, kEndLocator64 = 0x07064b50;
constexpr std::size_t kLocalHeaderBytes = 30, kDirectoryEntryBytes = 46, kEndOfDirectoryBytes = 22,
                      kEndOfDirectory64Bytes = 56, kEndLocator64Bytes = 20;
constexpr std::uint32_t kFull32 = 0xffffffff;  // marks a field whose value is in the 64-bit extra field
constexpr std::uint16_t kFull16 = 0xffff;
constexpr std::uint64_t kMaxExpansion = 1032;  // deflate encodes at most 258 bytes in two bits

// Little-endian fields by position; the caller has checked that they are in range.
template <std::unsigned_integral T>
T field(Bytes bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  return static_cast<T>(value);
}

struct Directory {
  std::uint64_t entry_count = 0, offset = 0;
};

Directory find_directory(const ByteSource& bytes, const std::string& archive) {
  // The end record comes last, except for a comment of at most 65535 bytes; the 64-bit locator is directly before it.
  check(bytes.size() >= kEndOfDirectoryBytes, "'{}': not a zip archive: {} bytes", archive, bytes.size());
  constexpr std::size_t kMaxBytes = kEndLocator64Bytes + kEndOfDirectoryBytes + kFull16;
  const std::uint64_t start = bytes.size() - std::min<std::uint64_t>(bytes.size(), kMaxBytes);
  const std::vector<std::byte> held = bytes.read(start, bytes.size() - start);
  const Bytes tail = held;
  const std::size_t last = tail.size() - kEndOfDirectoryBytes;
  const std::size_t first = last - std::min<std::size_t>(last, kFull16);
  std::optional<std::size_t> end;
  for (std::size_t at = last + 1; at-- > first;) {
    if (field<std::uint32_t>(tail, at) == kEndOfDirectory) {
      end = at;
      break;
    }
  }
  check(end.has_value(), "'{}': not a zip archive, or truncated: it has no central directory", archive);
  check(field<std::uint16_t>(tail, *end + 4) == 0 || field<std::uint16_t>(tail, *end + 4) == kFull16,
        "'{}': is a part of an archive in several volumes, which is not supported", archive);
  Directory directory{field<std::uint16_t>(tail, *end + 10), field<std::uint32_t>(tail, *end + 16)};
  if (directory.entry_count != kFull16 && directory.offset != kFull32 &&
      field<std::uint32_t>(tail, *end + 12) != kFull32)
    return directory;
  check(*end >= kEndLocator64Bytes && field<std::uint32_t>(tail, *end - kEndLocator64Bytes) == kEndLocator64,
        "'{}': its 64-bit end record is missing", archive);
  const auto at64 = field<std::uint64_t>(tail, *end - kEndLocator64Bytes + 8);
  check(bytes.has(at64, kEndOfDirectory64Bytes), "'{}': its 64-bit end record is not where it should be", archive);
  const std::vector<std::byte> end64 = bytes.read(at64, kEndOfDirectory64Bytes);
  check(field<std::uint32_t>(end64, 0) == kEndOfDirectory64, "'{}': its 64-bit end record is not where it should be",
        archive);
  return {field<std::uint64_t>(end64, 32), field<std::uint64_t>(end64, 48)};
}

struct Sizes {
  std::uint64_t inflated, stored, offset;
};

// The extra field 0x0001 contains the fields that are kFull32 in the fixed part, in this order (APPNOTE 4.5.3).
bool widen(Sizes& sizes, Bytes extra) {
  if (sizes.inflated != kFull32 && sizes.stored != kFull32 && sizes.offset != kFull32) return true;
  while (extra.size() >= 4) {
    const auto id = field<std::uint16_t>(extra, 0);
    const std::size_t count = field<std::uint16_t>(extra, 2);
    if (count > extra.size() - 4) return false;
    Bytes values = extra.subspan(4, count);
    if (id == 1) {
      for (std::uint64_t* size : {&sizes.inflated, &sizes.stored, &sizes.offset}) {
        if (*size != kFull32) continue;
        if (values.size() < 8) return false;
        *size = field<std::uint64_t>(values, 0);
        values = values.subspan(8);
      }
      return true;
    }
    extra = extra.subspan(4 + count);
  }
  return false;
}

ZipEntry read_entry(const ByteSource& bytes, Bytes header, const std::string& archive) {
  const std::size_t name_bytes = field<std::uint16_t>(header, 28), extra_bytes = field<std::uint16_t>(header, 30);
  const auto* name = reinterpret_cast<const char*>(header.data() + kDirectoryEntryBytes);
  ZipEntry entry{.name = std::string(name, name_bytes), .contents = bytes.part(0, 0)};
  const auto flags = field<std::uint16_t>(header, 8), method = field<std::uint16_t>(header, 10);
  check((flags & 1) == 0, "'{}': entry '{}' is encrypted", archive, entry.name);
  check(method == 0 || method == 8,
        "'{}': entry '{}' uses zip compression method {}; only stored and deflated entries are supported", archive,
        entry.name, method);
  entry.deflated = method == 8;
  entry.crc = field<std::uint32_t>(header, 16);
  Sizes sizes{field<std::uint32_t>(header, 24), field<std::uint32_t>(header, 20), field<std::uint32_t>(header, 42)};
  check(widen(sizes, header.subspan(kDirectoryEntryBytes + name_bytes, extra_bytes)),
        "'{}': entry '{}' lacks its 64-bit sizes", archive, entry.name);
  entry.size = sizes.inflated;
  check(bytes.has(sizes.offset, kLocalHeaderBytes), "'{}': entry '{}' is not where the directory says", archive,
        entry.name);
  const std::vector<std::byte> local = bytes.read(sizes.offset, kLocalHeaderBytes);
  check(field<std::uint32_t>(local, 0) == kLocalHeader, "'{}': entry '{}' is not where the directory says", archive,
        entry.name);
  const std::uint64_t start =
      sizes.offset + kLocalHeaderBytes + field<std::uint16_t>(local, 26) + field<std::uint16_t>(local, 28);
  check(bytes.has(start, sizes.stored), "'{}': entry '{}' is truncated", archive, entry.name);
  entry.contents = bytes.part(start, sizes.stored);
  if (entry.deflated)
    check(entry.size / kMaxExpansion <= sizes.stored, "'{}': entry '{}' cannot inflate from {} to {} bytes", archive,
          entry.name, sizes.stored, entry.size);
  else
    check(entry.size == sizes.stored, "'{}': stored entry '{}' has {} bytes but declares {}", archive, entry.name,
          sizes.stored, entry.size);
  return entry;
}

}  // namespace

std::vector<ZipEntry> read_zip_directory(const ByteSource& bytes, const std::string& archive) {
  const Directory directory = find_directory(bytes, archive);
  std::vector<ZipEntry> entries;
  std::uint64_t at = directory.offset, stored_bytes = 0;
  std::vector<std::byte> header;
  for (std::uint64_t i = 0; i < directory.entry_count; ++i) {
    std::uint64_t count = kDirectoryEntryBytes;
    const auto is_there = [&] {
      if (!bytes.has(at, count)) return false;
      header.resize(count);
      bytes.read(at, header);
      return field<std::uint32_t>(header, 0) == kDirectoryEntry;
    };
    check(is_there(), "'{}': its central directory ends at entry {} of {}", archive, i, directory.entry_count);
    for (const std::size_t length : {28, 30, 32}) count += field<std::uint16_t>(header, length);
    check(is_there(), "'{}': its central directory is truncated at entry {}", archive, i);
    ZipEntry entry = read_entry(bytes, header, archive);
    at += count;
    if (entry.name.ends_with('/')) continue;
    // Entries must not overlap: zip bombs share bytes between entries.
    stored_bytes += entry.contents.size();
    check(stored_bytes <= bytes.size(), "'{}': its entries overlap", archive);
    entries.push_back(std::move(entry));
  }
  return entries;
}

ZipEntryReader::ZipEntryReader(ZipEntry entry, const std::string& archive)
    : entry_(std::move(entry)), where_(fmt::format("'{}': entry '{}'", archive, entry_.name)) {
  constexpr int kRawDeflate = -15;
  if (entry_.deflated) check(::inflateInit2(&stream_, kRawDeflate) == Z_OK, "{}: out of memory", where_);
}

ZipEntryReader::~ZipEntryReader() {
  if (entry_.deflated) ::inflateEnd(&stream_);
}

// Inflates into `out`, of at most 1 GiB, until it is full or zlib needs more input. Returns zlib's status;
// stream_.avail_out holds the number of missing bytes.
int ZipEntryReader::inflate(std::span<std::byte> out) {
  constexpr std::uint64_t kReadAtOnce = 1 << 16;
  if (stream_.avail_in == 0) {
    buffer_.resize(std::min(kReadAtOnce, entry_.contents.size() - taken_));
    entry_.contents.read(taken_, buffer_);
    taken_ += buffer_.size();
    stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_in = static_cast<uInt>(buffer_.size());
  }
  stream_.next_out = reinterpret_cast<Bytef*>(out.data());
  stream_.avail_out = static_cast<uInt>(out.size());
  return ::inflate(&stream_, Z_NO_FLUSH);
}

void ZipEntryReader::read(std::span<std::byte> out) {
  check(out.size() <= remaining(), "{}: ends after {} bytes", where_, entry_.size);
  constexpr std::size_t kMaxAtOnce = std::size_t{1} << 30;  // zlib counts in 32 bits
  while (!out.empty()) {
    std::span<std::byte> piece = out.first(std::min(out.size(), kMaxAtOnce));
    if (!entry_.deflated) {
      entry_.contents.read(position_, piece);
    } else {
      const int status = inflate(piece);  // Z_OK means that something was read or written
      piece = piece.first(piece.size() - stream_.avail_out);
      check(status == Z_OK || (status == Z_STREAM_END && piece.size() == out.size()),
            "{}: its compressed data is damaged", where_);
    }
    crc_ = static_cast<std::uint32_t>(::crc32_z(crc_, reinterpret_cast<const Bytef*>(piece.data()), piece.size()));
    position_ += piece.size();
    out = out.subspan(piece.size());
  }
}

void ZipEntryReader::finish() {
  check(remaining() == 0, "{}: has {} extra bytes at its end", where_, remaining());
  // The stream must have ended: another byte in `beyond` means that it has more contents.
  std::byte beyond{};
  if (entry_.deflated) {
    inflate({&beyond, 1});
    check(stream_.avail_out == 1, "{}: contains more than the {} bytes it declares", where_, entry_.size);
  }
  check(crc_ == entry_.crc, "{}: its checksum is wrong", where_);
}

namespace {

class Record {
 public:
  template <std::unsigned_integral T>
  Record& put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_.push_back(static_cast<std::byte>(std::uint64_t{value} >> (8 * i)));
    return *this;
  }
  Record& put(Bytes bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Bytes bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

u32 narrow(u64 value) { return value >= kFull32 ? kFull32 : static_cast<u32>(value); }

// Writes the fields from "version needed" to the length of the name, which local headers and directory entries share.
void put_entry(Record& record, u64 size, u32 crc, const std::string& name) {
  constexpr u16 kVersion = 45;       // 64-bit sizes
  constexpr u16 kFirstDay = 0x0021;  // 1 January 1980, so that the same arrays give the same file
  constexpr u16 kUtf8Names = 1 << 11;
  record.put(kVersion).put(kUtf8Names).put(u16{0}).put(u16{0}).put(kFirstDay).put(crc);
  record.put(narrow(size)).put(narrow(size)).put(static_cast<u16>(name.size()));
}

}  // namespace

void ZipWriter::add(const std::string& name, std::span<const Bytes> pieces) {
  check(name.size() < kFull16, "the name of an array has {} bytes", name.size());
  u64 size = 0;
  u32 crc = 0;
  for (Bytes piece : pieces) {
    size += piece.size();
    if (!piece.empty())
      crc = static_cast<u32>(::crc32_z(crc, reinterpret_cast<const Bytef*>(piece.data()), piece.size()));
  }
  const Bytes name_bytes = std::as_bytes(std::span(name));
  Record wide_sizes;
  if (size >= kFull32) wide_sizes.put(u16{1}).put(u16{16}).put(size).put(size);
  Record local;
  local.put(kLocalHeader);
  put_entry(local, size, crc, name);
  local.put(static_cast<u16>(wide_sizes.bytes().size())).put(name_bytes).put(wide_sizes.bytes());
  file_.write(local.bytes());
  for (Bytes piece : pieces) file_.write(piece);

  Record extra;
  if (size >= kFull32 || position_ >= kFull32) {
    extra.put(u16{1}).put(static_cast<u16>((size >= kFull32 ? 16 : 0) + (position_ >= kFull32 ? 8 : 0)));
    if (size >= kFull32) extra.put(size).put(size);
    if (position_ >= kFull32) extra.put(position_);
  }
  Record entry;
  entry.put(kDirectoryEntry).put(u16{45});
  put_entry(entry, size, crc, name);
  entry.put(static_cast<u16>(extra.bytes().size())).put(u16{0}).put(u16{0}).put(u16{0}).put(u32{0});
  entry.put(narrow(position_)).put(name_bytes).put(extra.bytes());
  directory_.insert(directory_.end(), entry.bytes().begin(), entry.bytes().end());
  position_ += local.bytes().size() + size;
  ++entry_count_;
}

void ZipWriter::commit() {
  const u64 directory_bytes = directory_.size();
  file_.write(directory_);
  Record end;
  if (entry_count_ >= kFull16 || position_ >= kFull32 || directory_bytes >= kFull32) {
    end.put(kEndOfDirectory64).put(u64{kEndOfDirectory64Bytes - 12}).put(u16{45}).put(u16{45}).put(u32{0}).put(u32{0});
    end.put(entry_count_).put(entry_count_).put(directory_bytes).put(position_);
    end.put(kEndLocator64).put(u32{0}).put(position_ + directory_bytes).put(u32{1});
  }
  const u16 count = entry_count_ >= kFull16 ? kFull16 : static_cast<u16>(entry_count_);
  end.put(kEndOfDirectory).put(u16{0}).put(u16{0}).put(count).put(count);
  end.put(narrow(directory_bytes)).put(narrow(position_)).put(u16{0});
  file_.write(end.bytes());
  file_.commit();
}

}  // namespace bitfold
