#include "data/byte_source.h"

#include <algorithm>

#include "base/check.h"

namespace bitfold {

void ByteSource::read(std::uint64_t at, std::span<std::byte> out) const {
  check(has(at, out.size()), "{} bytes from offset {} were requested, but there are {}", out.size(), at, size_);
  if (out.empty()) return;
  if (file_ != nullptr) return file_->read(start_ + at, out);
  std::copy_n(memory_ + start_ + at, out.size(), out.data());
}

std::vector<std::byte> ByteSource::read(std::uint64_t at, std::uint64_t count) const {
  check(has(at, count), "{} bytes from offset {} were requested, but there are {}", count, at, size_);
  std::vector<std::byte> bytes(count);
  read(at, bytes);
  return bytes;
}

ByteSource ByteSource::part(std::uint64_t at, std::uint64_t count) const {
  check(has(at, count), "{} bytes from offset {} were requested, but there are {}", count, at, size_);
  ByteSource part = *this;
  part.start_ += at;
  part.size_ = count;
  return part;
}

}  // namespace bitfold
