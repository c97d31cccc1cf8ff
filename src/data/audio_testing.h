// WAV files for tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace bitfold::testing {

/// 16-bit PCM; channels are interleaved.
inline std::string wav(const std::vector<std::int16_t>& samples, std::uint32_t rate, std::uint16_t channels = 1) {
  const auto number = [](std::uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  std::string data;
  for (const std::int16_t sample : samples) data += number(static_cast<std::uint16_t>(sample), 2);
  return "RIFF" + number(36 + data.size(), 4) + "WAVEfmt " + number(16, 4) + number(1, 2) + number(channels, 2) +
         number(rate, 4) + number(rate * channels * 2U, 4) + number(channels * 2U, 2) + number(16, 2) + "data" +
         number(data.size(), 4) + data;
}

/// `count` samples of a sine with half the full amplitude.
inline std::vector<std::int16_t> sine(std::size_t count, double hertz, double rate) {
  std::vector<std::int16_t> samples;
  for (std::size_t i = 0; i < count; ++i)
    samples.push_back(
        static_cast<std::int16_t>(std::lround(16384 * std::sin(2 * M_PI * hertz * static_cast<double>(i) / rate))));
  return samples;
}

}  // namespace bitfold::testing
