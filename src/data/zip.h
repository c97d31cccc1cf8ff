// The part of the zip format that .npz files use (PKWARE APPNOTE 6.3, sections 4.3 to 4.5): a central directory of
// stored or deflated entries, with 64-bit sizes if needed. No encryption, no archives in several volumes.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "data/byte_source.h"

namespace bitfold {

struct ZipEntry {
  std::string name;
  bool deflated = false;
  std::uint32_t crc = 0;
  std::uint64_t size = 0;  ///< Inflated size in bytes, as declared.
  ByteSource contents;     ///< Bytes in the archive.
};

/// The archive's entries except folders. Throws Error naming `archive` and the entry if it is malformed, encrypted,
/// compressed in another way, overlapping, or declared larger than deflate can expand to (1032 to 1).
std::vector<ZipEntry> read_zip_directory(const ByteSource& bytes, const std::string& archive);

/// Reads one entry from its start to its end, in pieces. Memory holds one piece.
class ZipEntryReader {
 public:
  ZipEntryReader(ZipEntry entry, const std::string& archive);
  ~ZipEntryReader();
  ZipEntryReader(const ZipEntryReader&) = delete;
  ZipEntryReader& operator=(const ZipEntryReader&) = delete;

  /// Fills `out`. Throws Error if the entry ends earlier.
  void read(std::span<std::byte> out);
  std::uint64_t remaining() const { return entry_.size - position_; }
  /// Throws Error unless everything was read, nothing follows, and the checksum matches.
  void finish();

 private:
  int inflate(std::span<std::byte> out);

  ZipEntry entry_;
  std::string where_;
  std::uint64_t position_ = 0, taken_ = 0;  // bytes inflated, bytes of `contents` consumed
  std::uint32_t crc_ = 0;
  z_stream stream_{};
  std::vector<std::byte> buffer_;  // compressed bytes that zlib has not taken
};

/// Writes an archive of stored entries, with 64-bit sizes if 32 bits do not suffice.
class ZipWriter {
 public:
  explicit ZipWriter(std::string path) : file_(std::move(path)) {}
  /// Adds an entry whose contents are `pieces`, one after the other.
  void add(const std::string& name, std::span<const std::span<const std::byte>> pieces);
  void commit();

 private:
  FileWriter file_;
  std::uint64_t position_ = 0;
  std::vector<std::byte> directory_;
  std::uint64_t entry_count_ = 0;
};

}  // namespace bitfold
