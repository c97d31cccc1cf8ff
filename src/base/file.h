// Files read whole, and files written whole or not at all (invariant 9).
#pragma once

#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitfold {

/// The bytes of a regular file. Throws Error naming it and the reason.
std::vector<std::byte> read_file(const std::string& path);

/// Writes `path` under a temporary name beside it, renamed by commit(). Destroyed before that, it leaves nothing.
/// An existing path that is no regular file (a pipe, /dev/null) is written in place.
/// Everything throws Error naming the path and the reason.
class FileWriter {
 public:
  explicit FileWriter(std::string path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  [[noreturn]] void fail_with_errno();

  std::string path_, temporary_;  // temporary_ is empty when writing in place
  std::FILE* file_ = nullptr;
};

/// A FileWriter's whole life.
void write_file(const std::string& path, std::span<const std::byte> bytes);
void write_file(const std::string& path, std::string_view text);

}  // namespace bitfold
