// Sound in memory: decoding audio files to one channel, and resampling.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitfold {

/// In samples; longer files are rejected. 4 hours at 16 kHz, 1 GB.
inline constexpr std::int64_t kMaxAudioLength = std::int64_t{1} << 28;

struct AudioInfo {
  std::int64_t length = 0;  ///< Samples per channel.
  std::int64_t rate = 0;    ///< Samples per second.
};

/// From the file's header. Throws Error naming the file if libsndfile cannot read it or it holds no samples.
AudioInfo audio_info(const std::string& path);

/// The length after resampling: length * to / from, rounded to the nearest whole number, but at least 1.
std::int64_t resampled_length(std::int64_t length, std::int64_t from, std::int64_t to);

/// The mean of the file's channels, resampled to `rate`: resampled_length() samples. Throws Error naming the file if it
/// is damaged.
std::vector<float> read_audio(const std::string& path, std::int64_t rate);

}  // namespace bitfold
