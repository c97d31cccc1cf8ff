// Datasets on disk and their preprocessing, as a BatchSource.
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

/// The order of colour channels that a network expects.
enum class Channels {
  rgb,
  bgr,
  gray,  ///< One channel: ITU-R 601 luma.
};

struct ImageSize {
  std::int64_t width = 0, height = 0;
};

/// The preprocessing of decoded pixels. Steps are applied in this order: resize, crop, channels, scale, mean, std,
/// layout.
struct Preprocess {
  /// Short side in pixels, keeping the aspect ratio; the long side is truncated to whole pixels (`--resize 256`).
  /// Resizing is bilinear with half-pixel centres and antialiased when shrinking, equal to Pillow's pixel for pixel.
  /// uint8 data only.
  std::optional<std::int64_t> resize_short;
  std::optional<ImageSize> resize_exact;  ///< Width x height (`--resize 320x240`).
  std::optional<ImageSize> crop;  ///< Centre crop; with an odd margin, the extra pixel is cut at the right and bottom.
  std::optional<float> scale;     ///< Factor for every element; if absent, 1/255 for uint8 data and 1 for float data.
  std::vector<float> mean, std;   ///< Subtracted, then divided by, after the scale; one number, or one per channel.
  std::optional<Channels> channels;  ///< If absent, rgb, or gray for a 1-channel input.
};

/// Sets one key (resize, crop, scale, mean, std, channels) from the text of a flag: "256" or "320x240", "224", "1/255",
/// "0.485,0.456,0.406", "bgr". Throws Error that starts with the key and suggests the nearest valid one if it is
/// unknown.
void set_preprocess(Preprocess& preprocess, std::string_view key, std::string_view text);

/// Reads the TOML file of `--preprocess`, which has the same keys as the flags. Throws Error naming file, line and key,
/// and suggests the nearest valid key for an unknown one.
Preprocess load_preprocess(const std::string& path);

/// The name, type and shape of one graph input that a dataset must provide.
struct InputSpec {
  std::string name;
  DataType dtype = DataType::float32;
  Shape shape;  ///< May contain kDynamic.
  /// False if the network does not declare a shape. Only a folder of samples can feed such an input.
  bool has_shape = true;
  DataType item = DataType::unknown;  ///< The type of the tensors in a sequence or an optional.
};

struct DatasetOptions {
  Preprocess preprocess;
  std::optional<std::int64_t> limit;  ///< Maximum number of samples.
  bool strict = false;                ///< A sample that cannot be read is an Error; else it is skipped with a warning.
  WarningFunction warn = {};          ///< Receives one message for each skipped sample.
};

struct Dataset {
  std::unique_ptr<BatchSource> source;
  std::vector<std::string> notes;  ///< Guesses that the user should see: format, layout, scale.
};

/// Opens `path`: a folder of .npz or .npy files, each of which is one sample (sample_files()); a folder of IDX files
/// (plain or gzipped), a .npy or .npz file with samples along the first axis, a folder of JPEG/PNG images with
/// labels.txt ("file index" per line) or with one subfolder per class. Throws Error naming the file if it has another
/// format, holds no samples, or does not fit `inputs` (shape, type).
Dataset open_dataset(const std::string& path, const std::vector<InputSpec>& inputs, const DatasetOptions& options = {});

/// One named array of an .npz, or the array of an .npy (with an empty name).
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Reads .npy or .npz (stored or deflated, any byte order, C or Fortran order). Throws Error naming file and array.
std::vector<NamedTensor> load_npy(const std::string& path);
/// The .npz or .npy files of a folder, sorted by name; empty if it has none. Throws Error if it has both.
std::vector<std::string> sample_files(const std::string& folder);
/// The tensors of the network's inputs, in their order: the arrays of their names, or the only array for the only
/// input. Sequences and optionals consist of the arrays that arrays_of() names. Reals are converted to the type of the
/// input, and integers that hold the bits of a type that NumPy lacks (is_stored_as()) become that type. Throws Error
/// naming `path`, array, and the expected type and shape. `notes` receives the names of unused arrays.
std::vector<Tensor> arrange_inputs(std::vector<NamedTensor> arrays, const std::vector<InputSpec>& inputs,
                                   const std::string& path, std::vector<std::string>& notes);
/// The arrays that hold a value in a file: those of a sequence 'x' are x_0, x_1, ...; an empty optional has none.
std::vector<NamedTensor> arrays_of(const std::string& name, const Tensor& value);
/// Writes .npy (exactly one array) or .npz according to the path's extension, under a temporary name that is then
/// renamed (invariant 9).
void save_npy(const std::string& path, const std::vector<NamedTensor>& arrays);

}  // namespace bitfold
