// Datasets and preprocessing: what people have on disk, as a BatchSource.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/progress.h"
#include "bitfold/tensor.h"

namespace bitfold {

enum class Channels { rgb, bgr, gray };

struct ImageSize {
  std::int64_t width = 0, height = 0;
};

/// From decoded pixels to the network's input, in this order: resize, crop, channels, scale, mean, std, layout.
struct Preprocess {
  /// Short side in pixels, aspect kept, the long side cut to whole pixels (`--resize 256`). Resizing is bilinear with
  /// half-pixel centres, antialiased when shrinking: pixel for pixel what Pillow does. uint8 data only.
  std::optional<std::int64_t> resize_short;
  std::optional<ImageSize> resize_exact;  ///< Width x height (`--resize 320x240`).
  std::optional<ImageSize> crop;          ///< Centre crop; an odd pixel stays at the right and bottom.
  std::optional<float> scale;             ///< Multiplies; absent: 1/255 for uint8 data, 1 for float data.
  std::vector<float> mean, std;           ///< After the scale; one number, or one per channel.
  std::optional<Channels> channels;       ///< Absent: rgb, or gray for a 1-channel input.
};

/// Sets one key (resize, crop, scale, mean, std, channels) from the text a flag gives it: "256" or "320x240", "224",
/// "1/255", "0.485,0.456,0.406", "bgr". Throws Error that starts with the key, with the nearest valid one for an
/// unknown.
void set_preprocess(Preprocess& preprocess, std::string_view key, std::string_view text);

/// Reads the TOML file of `--preprocess`: the same keys as the flags. Throws Error naming file, line and key,
/// with the nearest valid key for an unknown one.
Preprocess load_preprocess(const std::string& path);

/// What the network wants: one per graph input.
struct InputSpec {
  std::string name;
  DataType dtype = DataType::float32;
  Shape shape;  ///< kDynamic allowed.
};

struct DatasetOptions {
  Preprocess preprocess;
  std::optional<std::int64_t> limit;  ///< At most that many samples.
  bool strict = false;                ///< A sample that cannot be read is an Error; else it is skipped with a warning.
  WarningFunction warn = {};          ///< Receives the name of each skipped sample.
};

struct Dataset {
  std::unique_ptr<BatchSource> source;
  std::vector<std::string> notes;  ///< What was guessed: format, layout, scale.
};

/// Opens `path`: a folder of IDX files (plain or gzipped), a .npy or .npz file, a folder of JPEG/PNG images with
/// labels.txt ("file index" per line) or with one subfolder per class. Throws Error naming the file when it is
/// none of these, holds no samples, or does not fit `inputs` (shape, type).
Dataset open_dataset(const std::string& path, const std::vector<InputSpec>& inputs, const DatasetOptions& options = {});

/// One named array of an .npz, or the one array of an .npy (name empty).
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Reads .npy or .npz (stored or deflated, any byte order, C or Fortran order). Throws Error naming file and array.
std::vector<NamedTensor> load_npy(const std::string& path);
/// Writes .npy (exactly one array) or .npz by the path's ending; under a temporary name, then renamed (invariant 9).
void save_npy(const std::string& path, const std::vector<NamedTensor>& arrays);

}  // namespace bitfold
