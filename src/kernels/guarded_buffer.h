// Memory for tests that ends at an unmapped page: a kernel that accesses memory past the end crashes at once.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

namespace bitfold::testing {

/// n elements of T, zero-initialized, followed directly by a page without access.
template <class T>
class GuardedBuffer {
 public:
  explicit GuardedBuffer(std::int64_t n) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    const std::size_t readable = (bytes + page - 1) / page * page;
    mapped_bytes_ = readable + page;
    void* memory = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mapped_ = static_cast<std::byte*>(memory);
    if (::mprotect(mapped_ + readable, page, PROT_NONE) != 0) throw std::bad_alloc();
    data_ = reinterpret_cast<T*>(mapped_ + readable - bytes);
  }
  explicit GuardedBuffer(const std::vector<T>& values) : GuardedBuffer(static_cast<std::int64_t>(values.size())) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  ~GuardedBuffer() { ::munmap(mapped_, mapped_bytes_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }

 private:
  std::byte* mapped_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  T* data_ = nullptr;
};

}  // namespace bitfold::testing
