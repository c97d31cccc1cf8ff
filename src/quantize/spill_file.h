// Tensors put aside on disk, so that memory does not grow with their number.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "bitfold/tensor.h"

namespace bitfold::quantization {

/// A file in the system's folder for temporary files (TMPDIR), which has no name and is gone with the process. May be
/// used from several threads at once.
class SpillFile {
 public:
  SpillFile() = default;
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  struct Place {
    DataType dtype;
    Shape shape;
    std::int64_t offset;
  };

  /// None where the disk takes no more.
  std::optional<Place> write(const Tensor& tensor);
  /// Throws Error when the disk fails.
  Tensor read(const Place& place) const;
  /// Forgets all that was written.
  void clear();

 private:
  bool open();

  std::mutex lock_;  // of what follows; reading needs no lock
  int file_ = -1;
  std::int64_t end_ = 0;
};

}  // namespace bitfold::quantization
