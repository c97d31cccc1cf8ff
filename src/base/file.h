// Files read whole or in parts, and files written whole or not at all (invariant 9).
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
  /// Throws Error naming the path and the reason, also when it is not a regular file.
  explicit InputFile(std::string path);
  /// Takes over an open descriptor; `name` stands for it in errors.
  InputFile(int descriptor, std::string name);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::uint64_t size() const { return size_; }
  /// Fills `out` with the bytes from `at` on. Throws Error when the file ends before.
  void read(std::uint64_t at, std::span<std::byte> out) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// Writes a file that takes its name with commit(). Destroyed before that, it leaves nothing.
/// A regular file is written under a temporary name in the same folder and renamed; it keeps its permissions, and a
/// symbolic link to it stays. A device, a pipe or an open descriptor (/dev/stdout) is written in place.
/// Everything throws Error naming the path and the reason.
class FileWriter {
 public:
  /// Selects the constructor for a file that nothing else refers to yet.
  struct NewFile {};

  explicit FileWriter(std::string path);
  /// Creates `path`, or where that exists the first free one of path.2, path.3, ... It never replaces a file.
  FileWriter(NewFile, std::string path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

  const std::string& path() const { return path_; }
  /// False for what is written in place.
  bool is_regular() const { return !unfinished_.empty(); }

 private:
  [[noreturn]] void fail_with_errno();
  bool create(const std::string& name);

  std::string path_;
  std::string target_;      // what path_ means once links are followed
  std::string unfinished_;  // the name while writing; empty in place and once committed
  int slot_ = -1;           // where the signal handler finds that name
  std::FILE* file_ = nullptr;
};

/// The whole life of a FileWriter.
void write_file(const std::string& path, std::span<const std::byte> bytes);

}  // namespace bitfold
