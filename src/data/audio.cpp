#include "data/audio.h"

#include <samplerate.h>
#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/check.h"

namespace bitfold {
namespace {

struct AudioFile {
  SF_INFO info{};
  std::unique_ptr<SNDFILE, decltype(&sf_close)> handle{nullptr, &sf_close};
};

AudioFile open_audio(const std::string& path) {
  AudioFile file;
  file.handle.reset(sf_open(path.c_str(), SFM_READ, &file.info));
  check(file.handle != nullptr, "'{}': cannot be read as audio: {}", path, sf_strerror(nullptr));
  check(file.info.frames > 0, "'{}': contains no samples", path);
  check(file.info.frames <= kMaxAudioLength && file.info.channels > 0 && file.info.samplerate > 0,
        "'{}': has {} samples of {} channels at {} Hz; at most {} samples are supported", path, file.info.frames,
        file.info.channels, file.info.samplerate, kMaxAudioLength);
  return file;
}

std::vector<float> mono(const AudioFile& file, const std::string& path) {
  constexpr std::int64_t kBlock = 1 << 14;
  const std::int64_t channels = file.info.channels;
  std::vector<float> block(static_cast<std::size_t>(kBlock * channels)), samples;
  // The length in a header is not trusted, so memory grows with what was read.
  while (static_cast<std::int64_t>(samples.size()) < file.info.frames) {
    const sf_count_t count = sf_readf_float(file.handle.get(), block.data(), kBlock);
    if (count <= 0) break;
    for (std::int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (std::int64_t c = 0; c < channels; ++c) sum += block[static_cast<std::size_t>(i * channels + c)];
      samples.push_back(static_cast<float>(sum / static_cast<double>(channels)));
    }
  }
  check(sf_error(file.handle.get()) == SF_ERR_NO_ERROR && static_cast<std::int64_t>(samples.size()) == file.info.frames,
        "'{}': damaged: only {} of {} samples can be decoded", path, samples.size(), file.info.frames);
  const auto bad = std::find_if(samples.begin(), samples.end(), [](float value) { return !std::isfinite(value); });
  check(bad == samples.end(), "'{}': sample {} is not a finite number", path, bad - samples.begin());
  return samples;
}

}  // namespace

AudioInfo audio_info(const std::string& path) {
  const AudioFile file = open_audio(path);
  return {file.info.frames, file.info.samplerate};
}

std::int64_t resampled_length(std::int64_t length, std::int64_t from, std::int64_t to) {
  return std::max<std::int64_t>(1, (2 * length * to + from) / (2 * from));
}

std::vector<float> read_audio(const std::string& path, std::int64_t rate) {
  const AudioFile file = open_audio(path);
  std::vector<float> samples = mono(file, path);
  const std::int64_t from = file.info.samplerate;
  if (from == rate) return samples;
  const double ratio = static_cast<double>(rate) / static_cast<double>(from);
  check(src_is_valid_ratio(ratio) != 0, "'{}': cannot be resampled from {} Hz to {} Hz: the ratio exceeds 256", path,
        from, rate);
  const std::int64_t length = resampled_length(file.info.frames, from, rate);
  check(length <= kMaxAudioLength, "'{}': would have {} samples at {} Hz; at most {} are supported", path, length, rate,
        kMaxAudioLength);
  // The converter may give a sample less than the rounded length; it stays 0.
  std::vector<float> resampled(static_cast<std::size_t>(length));
  SRC_DATA data{};
  data.data_in = samples.data();
  data.input_frames = static_cast<long>(samples.size());
  data.data_out = resampled.data();
  data.output_frames = static_cast<long>(length);
  data.src_ratio = ratio;
  const int error = src_simple(&data, SRC_SINC_MEDIUM_QUALITY, 1);
  check(error == 0, "'{}': cannot be resampled: {}", path, src_strerror(error));
  return resampled;
}

}  // namespace bitfold
