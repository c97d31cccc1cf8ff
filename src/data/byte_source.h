// A range of bytes in memory or in a file that can be read at any position.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/file.h"

namespace bitfold {

/// A range of bytes. Copies share them; memory must outlive all copies. Threads may share one.
class ByteSource {
 public:
  explicit ByteSource(std::span<const std::byte> memory) : memory_(memory.data()), size_(memory.size()) {}
  explicit ByteSource(std::shared_ptr<const InputFile> file) : file_(std::move(file)), size_(file_->size()) {}

  std::uint64_t size() const { return size_; }
  bool has(std::uint64_t at, std::uint64_t count) const { return at <= size_ && count <= size_ - at; }
  /// Fills `out` with the bytes from `at` on; they must be inside. Throws Error when a file cannot be read.
  void read(std::uint64_t at, std::span<std::byte> out) const;
  std::vector<std::byte> read(std::uint64_t at, std::uint64_t count) const;
  /// The `count` bytes from `at` on; they must be inside.
  ByteSource part(std::uint64_t at, std::uint64_t count) const;

 private:
  std::shared_ptr<const InputFile> file_;
  const std::byte* memory_ = nullptr;
  std::uint64_t start_ = 0, size_ = 0;
};

}  // namespace bitfold
