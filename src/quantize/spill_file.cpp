#include "quantize/spill_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/check.h"

namespace bitfold::quantization {

SpillFile::~SpillFile() {
  if (file_ >= 0) ::close(file_);
}

bool SpillFile::open() {
  if (file_ >= 0) return true;
  std::error_code error;
  std::string path = std::filesystem::temp_directory_path(error).string() + "/bitfold-XXXXXX";
  if (error) return false;
  file_ = ::mkostemp(path.data(), O_CLOEXEC);
  if (file_ < 0) return false;
  ::unlink(path.c_str());
  return true;
}

std::optional<SpillFile::Place> SpillFile::write(const Tensor& tensor) {
  const auto bytes = static_cast<std::int64_t>(tensor.size_bytes());
  Place place{tensor.dtype(), tensor.shape(), 0};
  {
    const std::lock_guard guard(lock_);
    if (!open()) return std::nullopt;
    // Writing beyond the limit on file sizes would raise SIGXFSZ.
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        static_cast<rlim_t>(end_ + bytes) > limit.rlim_cur)
      return std::nullopt;
    place.offset = end_;
    end_ += bytes;
  }
  for (std::int64_t done = 0; done < bytes;) {
    const ssize_t written =
        ::pwrite(file_, tensor.bytes() + done, static_cast<std::size_t>(bytes - done), place.offset + done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return std::nullopt;
    done += written;
  }
  return place;
}

Tensor SpillFile::read(const Place& place) const {
  Tensor tensor(place.dtype, place.shape);
  const auto bytes = static_cast<std::int64_t>(tensor.size_bytes());
  for (std::int64_t done = 0; done < bytes;) {
    const ssize_t got =
        ::pread(file_, tensor.mutable_bytes() + done, static_cast<std::size_t>(bytes - done), place.offset + done);
    if (got < 0 && errno == EINTR) continue;
    check(got > 0, "a temporary file cannot be read: {}", got == 0 ? "it ends early" : std::strerror(errno));
    done += got;
  }
  return tensor;
}

void SpillFile::clear() {
  const std::lock_guard guard(lock_);
  end_ = 0;
  if (file_ >= 0 && ::ftruncate(file_, 0) != 0) {  // if this fails, the space is freed when the file is closed
  }
}

}  // namespace bitfold::quantization
