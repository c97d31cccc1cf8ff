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

/// Where the image lies on a larger canvas.
enum class Align {
  center,    ///< With an odd margin, the extra pixel is at the right and bottom.
  top_left,  ///< The margin is at the right and bottom.
};

/// The preprocessing of decoded pixels. Steps are applied in this order: resize or fit, crop or pad, channels, scale,
/// mean, std, layout. Resizing is bilinear with half-pixel centres and antialiased when shrinking, equal to Pillow's
/// pixel for pixel, and needs uint8 data.
struct Preprocess {
  /// At most one of these five is set. The short side in pixels (`--resize 256`): the long side keeps the aspect ratio
  /// and is truncated to whole pixels.
  std::optional<std::int64_t> resize_short;
  std::optional<ImageSize> resize_exact;  ///< Width x height (`--resize 320x240`).
  /// The height or the width (`--resize x48`, `--resize 320x`): the other side keeps the aspect ratio and is rounded
  /// up.
  std::optional<std::int64_t> resize_height, resize_width;
  /// Letterbox (`--fit 640x640`): the image is scaled by the largest factor with which it fits, keeping the aspect
  /// ratio, its sides are rounded to the nearest pixel, and the rest of the canvas is filled.
  std::optional<ImageSize> fit;
  std::optional<Align> align;     ///< The image's place within `fit`; if absent, center.
  std::optional<ImageSize> crop;  ///< Centre crop; with an odd margin, the extra pixel is cut at the right and bottom.
  /// The width to which images are padded at the right (`--pad 320`). With `resize_height`, a wider image is shrunk to
  /// this width; otherwise it is an error.
  std::optional<std::int64_t> pad;
  /// The border's pixels before the scale, in the order of the input's channels: one number, or one per channel. If
  /// empty, 114 around `fit`, and the pixel that becomes 0 in the input beside `pad`.
  std::vector<float> fill;
  std::optional<float> scale;  ///< Factor for every element; if absent, default_scale().
  /// After scaling, mean is subtracted, then std divides; one number or one per channel.
  std::vector<float> mean, std;
  std::optional<Channels> channels;  ///< If absent, rgb, or gray for a 1-channel input.
};

/// The scale of uint8 data if none is given: 1/255, or 1 if `mean` or `std` has a number above 1, because it counts in
/// pixel levels then.
double default_scale(const Preprocess& preprocess);

/// A common normalization of pixels, as a word for `--normalize`.
struct NormalizationPreset {
  std::string_view word, formula;
};
/// All presets, for help texts.
std::vector<NormalizationPreset> normalization_presets();

/// Sets one key (resize, fit, align, crop, pad, fill, normalize, scale, mean, std, channels) from the text of a flag:
/// "256" or "320x240", "224", "1/255", "0.485,0.456,0.406", "bgr". "normalize" sets scale, mean and std, and channels
/// for a preset that fixes them. Throws Error that starts with the key and suggests the nearest valid one if it is
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

/// How audio files become samples. A file is decoded to reals from -1 to 1, and its channels are averaged.
struct AudioOptions {
  std::optional<std::int64_t>
      sample_rate;  ///< Hz to which files are resampled; if absent, all must have the same rate.
  /// Samples per window; if absent, the input's length, or the whole file if the network leaves it open. A file shorter
  /// than a window is padded with zeros, and a rest at the end that is shorter is left out.
  std::optional<std::int64_t> window;
  std::optional<std::int64_t> hop;  ///< Samples from the start of a window to the next; if absent, `window`.
};

struct DatasetOptions {
  Preprocess preprocess;
  AudioOptions audio = {};
  std::optional<std::int64_t> limit;  ///< Maximum number of samples.
  bool strict = false;                ///< A sample that cannot be read is an Error; else it is skipped with a warning.
  WarningFunction warn = {};          ///< Receives one message for each skipped sample.
};

struct Dataset {
  std::unique_ptr<BatchSource> source;
  std::vector<std::string> notes;  ///< Guesses that the user should see: format, layout, scale.
  /// The file of each sample, in order; several samples may be windows of one file. Empty if the data is one array.
  std::vector<std::string> files;
};

/// Opens `path`: a folder of .npz or .npy files, each of which is one sample (sample_files()); a folder of IDX files
/// (plain or gzipped), a .npy or .npz file with samples along the first axis, a folder of JPEG/PNG images or of audio
/// files with labels.txt ("file index" per line) or with one subfolder per class, one image or audio file, or a text
/// file with one sample's path per line. Throws Error naming the file if it has another format, holds no samples, or
/// does not fit `inputs` (shape, type).
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
/// Whether the file begins like an .npy or .npz file, or is named like one.
bool is_array_file(const std::string& path);
/// The files that open_dataset() takes as one whole sample each: sample_files() of a folder, or the array files that a
/// list names; empty for other data.
std::vector<std::string> whole_samples(const std::string& path);
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
