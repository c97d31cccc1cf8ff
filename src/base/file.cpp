#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/check.h"

namespace bitfold {

std::vector<std::byte> read_file(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) fail("cannot read '{}': {}", path, std::strerror(errno));
  check(!S_ISDIR(info.st_mode), "cannot read '{}': it is a folder", path);
  check(S_ISREG(info.st_mode), "cannot read '{}': it is no regular file", path);
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) fail("cannot read '{}': {}", path, std::strerror(errno));
  std::vector<std::byte> bytes(static_cast<std::size_t>(info.st_size));
  const std::size_t count = std::fread(bytes.data(), 1, bytes.size(), file);
  std::fclose(file);
  check(count == bytes.size(), "cannot read '{}': {} of {} bytes came", path, count, bytes.size());
  return bytes;
}

FileWriter::FileWriter(std::string path) : path_(std::move(path)) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path_, ignored);
  check(!std::filesystem::is_directory(status), "cannot write '{}': it is a folder", path_);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    file_ = std::fopen(path_.c_str(), "wb");
  } else {
    std::string name = path_ + ".XXXXXX";
    const int descriptor = ::mkstemp(name.data());
    if (descriptor >= 0) {
      temporary_ = name;
      // mkstemp's files are private; a result should be as readable as any new file.
      const mode_t mask = ::umask(0);
      ::umask(mask);
      ::fchmod(descriptor, 0666 & ~mask);
      file_ = ::fdopen(descriptor, "wb");
    }
  }
  if (file_ == nullptr) fail_with_errno();
}

FileWriter::~FileWriter() {
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void FileWriter::fail_with_errno() {
  const int error = errno;
  fail("cannot write '{}': {}", path_, std::strerror(error));
}

void FileWriter::write(std::span<const std::byte> bytes) {
  if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) fail_with_errno();
}

void FileWriter::commit() {
  if (std::fflush(file_) != 0) fail_with_errno();
  // Renaming a file whose bytes have not reached the disk could leave half of it after a power failure.
  if (!temporary_.empty() && ::fsync(::fileno(file_)) != 0) fail_with_errno();
  std::FILE* file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0) fail_with_errno();
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_with_errno();
  temporary_.clear();
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  FileWriter writer(path);
  writer.write(bytes);
  writer.commit();
}

void write_file(const std::string& path, std::string_view text) { write_file(path, std::as_bytes(std::span(text))); }

}  // namespace bitfold
