// Reads files completely or in parts, and writes files completely or not at all (invariant 9).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/file.h"

namespace bitfold {

/// The bytes of a regular file. Throws Error naming it and the reason.
std::vector<std::byte> read_file(const std::string& path);

/// A regular file, open for reading at any position. Threads may share it.
class InputFile {
 public:
  /// Throws Error naming the path and the reason, also if it is not a regular file.
  explicit InputFile(std::string path);
  /// Takes over an open descriptor; `name` is used in errors.
  InputFile(int descriptor, std::string name);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::uint64_t size() const { return size_; }
  /// Fills `out` with the bytes from `at` on. Throws Error if the file ends earlier.
  void read(std::uint64_t at, std::span<std::byte> out) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// Writes a file that gets its name in commit(). If it is destroyed earlier, no file is left. A regular file is written
/// under a temporary name in the same folder and renamed; it keeps its permissions, and a symbolic link to it is kept.
/// A device, a pipe or an open descriptor (/dev/stdout) is written in place. All functions throw Error naming the path
/// and the reason.
class FileWriter {
 public:
  /// Selects the constructor for a file that nothing else refers to yet.
  struct NewFile {};

  explicit FileWriter(std::string path);
  /// Creates `path` or, if it exists, the first free one of path.2, path.3, ... Never replaces a file.
  FileWriter(NewFile, std::string path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

  const std::string& path() const { return path_; }
  /// False if the destination is written in place.
  bool is_regular() const { return !unfinished_.empty(); }

 private:
  [[noreturn]] void fail_with_errno();
  bool create(const std::string& name);

  std::string path_;
  std::string target_;      // path_ after following links
  std::string unfinished_;  // temporary name; empty if written in place, and after commit()
  int slot_ = -1;           // slot of that name for the signal handler
  std::FILE* file_ = nullptr;
};

/// Writes a whole file with a FileWriter.
void write_file(const std::string& path, std::span<const std::byte> bytes);

}  // namespace bitfold
