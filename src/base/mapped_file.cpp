#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "base/check.h"

namespace bitfold {
namespace {

/// Identifies the contents of a file: device, inode, size, and time of the last change.
using FileId = std::tuple<std::uint64_t, std::uint64_t, std::int64_t, std::int64_t, std::int64_t>;

/// All live mappings of the process.
struct Mappings {
  std::mutex mutex;
  std::map<FileId, std::weak_ptr<const MappedFile>> by_file;
  std::map<std::uintptr_t, std::uintptr_t> ends;  // key: begin address
};

Mappings& mappings() {
  static auto* all = new Mappings;  // never destroyed: tensors of static duration may outlive it
  return *all;
}

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : value_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file(path);
  struct stat info {};
  if (file.value() < 0 || ::fstat(file.value(), &info) != 0) fail("cannot read '{}': {}", path, std::strerror(errno));
  check(!S_ISDIR(info.st_mode), "cannot read '{}': it is a folder", path);
  check(S_ISREG(info.st_mode), "cannot read '{}': it is not a regular file", path);
  const FileId id{info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
  Mappings& all = mappings();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.by_file, [](const auto& entry) { return entry.second.expired(); });
  if (const auto known = all.by_file.find(id); known != all.by_file.end())
    if (auto shared = known->second.lock()) return shared;
  std::span<const std::byte> bytes;
  if (info.st_size > 0) {
    const auto size = static_cast<std::size_t>(info.st_size);
    void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value(), 0);
    if (memory == MAP_FAILED) fail("cannot read '{}': {}", path, std::strerror(errno));
    bytes = {static_cast<const std::byte*>(memory), size};
    const auto begin = reinterpret_cast<std::uintptr_t>(memory);
    all.ends[begin] = begin + size;
  }
  std::shared_ptr<const MappedFile> made(new MappedFile(bytes));
  all.by_file[id] = made;
  return made;
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  Mappings& all = mappings();
  const std::lock_guard lock(all.mutex);
  all.ends.erase(reinterpret_cast<std::uintptr_t>(bytes_.data()));
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void release_mapped_pages(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()), end = begin + bytes.size();
  const std::uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first >= last) return;
  Mappings& all = mappings();
  const std::lock_guard lock(all.mutex);
  auto mapping = all.ends.upper_bound(begin);
  if (mapping == all.ends.begin() || (--mapping)->second < end) return;
  // Pages of a private mapping that was never written; dropped pages are read from the file again.
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace bitfold
