// Keeps tensors in a temporary file, so that memory does not grow with their number.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "bitfold/tensor.h"

namespace bitfold::quantization {

/// An unnamed file in the system's folder for temporary files (TMPDIR); it disappears with the process. Safe to use
/// from several threads at once.
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

  /// Absent where the disk is full.
  std::optional<Place> write(const Tensor& tensor);
  /// Throws Error when reading fails.
  Tensor read(const Place& place) const;
  /// Discards everything written.
  void clear();

 private:
  bool open();

  std::mutex lock_;  // guards writing
  int file_ = -1;
  std::int64_t end_ = 0;
};

}  // namespace bitfold::quantization
