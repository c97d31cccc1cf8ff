#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace bitfold {

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  struct stat info {};
  // Checked before opening, because opening a pipe blocks until another process writes to it.
  if (::stat(path_.c_str(), &info) != 0) fail("cannot read '{}': {}", path_, std::strerror(errno));
  check(!S_ISDIR(info.st_mode), "cannot read '{}': it is a folder", path_);
  check(S_ISREG(info.st_mode), "cannot read '{}': it is not a regular file", path_);
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail("cannot read '{}': {}", path_, std::strerror(errno));
  size_ = static_cast<std::uint64_t>(info.st_size);
}

InputFile::InputFile(int descriptor, std::string name) : path_(std::move(name)), descriptor_(descriptor) {
  struct stat info {};
  if (::fstat(descriptor_, &info) != 0) fail("cannot read '{}': {}", path_, std::strerror(errno));
  size_ = static_cast<std::uint64_t>(info.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(std::uint64_t at, std::span<std::byte> out) const {
  constexpr std::size_t kMaxAtOnce = std::size_t{1} << 30;  // Linux reads at most 2 GiB in one call
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_, out.data(), std::min(out.size(), kMaxAtOnce), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("cannot read '{}': {}", path_, std::strerror(errno));
    check(count > 0, "cannot read '{}': it ends after {} bytes, but {} more are needed", path_, at, out.size());
    at += static_cast<std::uint64_t>(count);
    out = out.subspan(static_cast<std::size_t>(count));
  }
}

std::vector<std::byte> read_file(const std::string& path) {
  const InputFile file(path);
  std::vector<std::byte> bytes(file.size());
  file.read(0, bytes);
  return bytes;
}

}  // namespace bitfold
