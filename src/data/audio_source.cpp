// Windows of audio files, decoded one file at a time.
#include <algorithm>

#include "base/check.h"
#include "data/audio.h"
#include "data/preprocess.h"
#include "data/sources.h"

namespace bitfold {
namespace {

/// How the input's dimensions represent a waveform.
struct WaveformLayout {
  std::size_t time_axis = 0;
  bool has_batch = false;
};

WaveformLayout waveform_layout(const InputSpec& input, const std::string& where) {
  const Shape& shape = input.shape;
  if (shape.size() == 1) return {0, false};
  if (shape.size() == 2) return {1, true};
  const bool is_planar = shape.size() == 3 && (shape[1] == 1 || (shape[1] == kDynamic && shape[2] != 1));
  check(is_planar || (shape.size() == 3 && shape[2] == 1),
        "{}: input '{}' of shape {} does not accept waveforms; expected N, batch x N, batch x 1 x N or batch x N x 1 "
        "(networks that take spectra need a folder of .npz files)",
        where, input.name, to_string(shape));
  return {is_planar ? std::size_t{2} : std::size_t{1}, true};
}

constexpr std::size_t kMaxWindows = 10'000'000;

struct AudioWindow {
  std::size_t file;
  std::int64_t first, length;
};

/// (x * scale - mean) / std.
struct Normalization {
  double scale = 1, mean = 0, std = 1;

  Normalization(const Preprocess& p, const std::string& where) {
    check(!asks_for_geometry(p), "{}: audio has no pixels; leave out the flags for images, such as --resize", where);
    check(p.mean.size() <= 1 && p.std.size() <= 1,
          "{}: audio is reduced to one channel; give --mean and --std one number", where);
    scale = p.scale.value_or(1);
    if (!p.mean.empty()) mean = p.mean[0];
    if (!p.std.empty()) std = p.std[0];
  }
};

void check_range(const char* flag, std::optional<std::int64_t> value, std::int64_t most) {
  check(value.value_or(1) >= 1 && value.value_or(1) <= most, "--{} is {}; it must be from 1 to {}", flag,
        value.value_or(1), most);
}

class AudioSource final : public BatchSource {
 public:
  AudioSource(FileSet set, const InputSpec& input, const DatasetOptions& options, std::vector<std::string>& notes)
      : set_(std::move(set)),
        where_(fmt::format("'{}'", set_.path)),
        layout_(waveform_layout(input, where_)),
        normalization_(options.preprocess, where_) {
    const std::int64_t wanted = input.shape[layout_.time_axis];
    check(wanted == kDynamic || options.audio.window.value_or(wanted) == wanted,
          "{}: --window is {}, but input '{}' of shape {} expects {} samples", where_, options.audio.window.value_or(0),
          input.name, to_string(input.shape), wanted);
    const std::optional<std::int64_t> window = wanted == kDynamic ? options.audio.window : wanted;
    check(window || !options.audio.hop, "{}: --hop needs --window, because the network leaves the length open", where_);
    const std::int64_t hop = options.audio.hop.value_or(window.value_or(1));
    check_range("window", options.audio.window, kMaxAudioLength);
    check_range("hop", options.audio.hop, kMaxAudioLength);
    check_range("sample-rate", options.audio.sample_rate, 10'000'000);
    rate_ = options.audio.sample_rate.value_or(0);
    for (std::size_t i = 0; i < set_.files.size(); ++i) add_windows(i, window, hop, options);
    check(!windows_.empty(), "{}: none of its {} audio files can be read", where_, set_.files.size());
    notes.push_back(fmt::format(
        "{}: {} Hz, {}", where_, rate_,
        window ? fmt::format("windows of {} samples, one every {}", *window, hop) : "each file as a whole"));
    shape_ = Shape(input.shape.size(), 1);
    if (options.limit) keep_evenly(static_cast<std::size_t>(*options.limit));
  }

  std::optional<Batch> next(std::int64_t max_samples) override {
    check(max_samples > 0, "a batch of {} samples was requested; at least 1 is needed", max_samples);
    if (position_ == windows_.size()) return std::nullopt;
    std::size_t end = position_;
    const std::int64_t length = windows_[position_].length;
    while (end < windows_.size() && windows_[end].length == length &&
           end - position_ < static_cast<std::size_t>(max_samples))
      ++end;
    Batch batch;
    batch.sample_count = static_cast<std::int64_t>(end - position_);
    if (layout_.has_batch) batch.inputs.push_back(Tensor(DataType::float32, shape_of(batch.sample_count, length)));
    for (std::int64_t i = 0; i < batch.sample_count; ++i, ++position_) {
      const AudioWindow& window = windows_[position_];
      if (layout_.has_batch) {
        write(window, batch.inputs[0].mutable_data<float>().subspan(static_cast<std::size_t>(i * length)));
      } else {
        Tensor sample(DataType::float32, {length});
        write(window, sample.mutable_data<float>());
        batch.runs.push_back({std::move(sample)});
      }
      if (set_.has_labels) batch.labels.push_back(set_.files[window.file].label);
    }
    return batch;
  }
  void rewind() override { position_ = 0; }
  std::int64_t sample_count() const override { return static_cast<std::int64_t>(windows_.size()); }
  bool has_labels() const override { return set_.has_labels; }
  bool has_whole_samples() const override { return !layout_.has_batch; }
  std::string description() const override {
    return fmt::format("{} samples from {} (audio)", windows_.size(), set_.path);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> paths;
    for (const AudioWindow& window : windows_) paths.push_back(path(window.file));
    return paths;
  }

 private:
  std::string path(std::size_t file) const { return set_.files[file].path.string(); }

  void add_windows(std::size_t file, std::optional<std::int64_t> window, std::int64_t hop,
                   const DatasetOptions& options) {
    AudioInfo info;
    try {
      info = audio_info(path(file));
    } catch (const Error& error) {
      if (options.strict) throw;
      if (options.warn) options.warn(fmt::format("skipped {}", error.what()));
      return;
    }
    if (rate_ == 0) rate_ = info.rate;
    check(options.audio.sample_rate || info.rate == rate_,
          "'{}': has {} Hz, files before it have {} Hz; give the network's rate with --sample-rate", path(file),
          info.rate, rate_);
    const std::int64_t length = resampled_length(info.length, info.rate, rate_);
    if (!window) return windows_.push_back({file, 0, length});
    for (std::int64_t first = 0; first == 0 || first + *window <= length; first += hop) {
      windows_.push_back({file, first, *window});
      check(windows_.size() <= kMaxWindows, "'{}': there are more than {} windows; give a larger --hop", path(file),
            kMaxWindows);
    }
  }

  // The first windows would be those of one long file.
  void keep_evenly(std::size_t count) {
    if (count >= windows_.size()) return;
    for (std::size_t i = 0; i < count; ++i) windows_[i] = windows_[i * windows_.size() / count];
    windows_.resize(count);
  }

  Shape shape_of(std::int64_t samples, std::int64_t length) const {
    Shape shape = shape_;
    shape[0] = samples;
    shape[layout_.time_axis] = length;
    return shape;
  }

  // The rest of a short file's window stays 0, which is silence before the normalization.
  void write(const AudioWindow& window, std::span<float> out) {
    if (decoded_file_ != window.file) {
      decoded_ = read_audio(path(window.file), rate_);
      decoded_file_ = window.file;
    }
    const auto& [scale, mean, std] = normalization_;
    for (std::int64_t i = 0; i < window.length; ++i) {
      const auto at = static_cast<std::size_t>(window.first + i);
      const double sample = at < decoded_.size() ? decoded_[at] : 0;
      out[static_cast<std::size_t>(i)] = static_cast<float>((sample * scale - mean) / std);
    }
  }

  FileSet set_;
  std::string where_;
  WaveformLayout layout_;
  Normalization normalization_;
  std::int64_t rate_ = 0;
  std::vector<AudioWindow> windows_;
  Shape shape_;  // of a batch, with 1 for the sizes that vary
  std::size_t position_ = 0;
  std::optional<std::size_t> decoded_file_;  // whose samples are decoded_
  std::vector<float> decoded_;
};

}  // namespace

std::unique_ptr<BatchSource> make_audio_source(FileSet set, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, Dataset& dataset) {
  check(inputs.size() == 1,
        "'{}': audio files can feed one input, but the network has {}; use a folder of .npz files with one array per "
        "input",
        set.path, inputs.size());
  check(inputs[0].dtype == DataType::float32, "'{}': audio is decoded to float32, but input '{}' expects {}", set.path,
        inputs[0].name, to_string(inputs[0].dtype));
  auto source = std::make_unique<AudioSource>(std::move(set), inputs[0], options, dataset.notes);
  dataset.files = source->files();
  return source;
}

}  // namespace bitfold
