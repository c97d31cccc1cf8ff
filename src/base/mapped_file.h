// Files read through memory mappings: the system may drop and reload their pages, so they need no memory of their own.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace bitfold {

/// A regular file mapped for reading. The file may be replaced or deleted while it is mapped. If a process truncates it
/// in place, every process that reads the lost part ends with SIGBUS, as with any mapping.
class MappedFile {
 public:
  /// Returns the same mapping for a file that is mapped already and unchanged. Throws Error naming `path` and the
  /// reason.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

/// Takes the whole pages inside `bytes` out of this process's memory if they belong to a MappedFile; a later read loads
/// them again. Does nothing to other memory. Thread-safe.
void release_mapped_pages(std::span<const std::byte> bytes);

}  // namespace bitfold
