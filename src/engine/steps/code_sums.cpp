#include "engine/steps/code_sums.h"

namespace bitfold::engine {

template <class T>
void CodeSumsStep::run_rows(T* y, std::int64_t begin, std::int64_t end) const noexcept {
  // Unsigned, because sums wrap.
  const std::uint32_t a = terms_.has_zero_point ? *at<std::uint8_t>(2) : 0;
  const CodeProductFacts& facts = *terms_.facts;
  const auto channels = static_cast<std::int64_t>(facts.weight_sums.size());
  const std::int32_t *weight_sums = facts.weight_sums.data(), *zero_points = facts.zero_points.data();
  for (std::int64_t row = begin; row < end; ++row) {
    const auto* sums = at<std::uint32_t>(1) + row * terms_.row_size;
    T* out = y + row * channels;
    const auto store = [&](std::int64_t c, std::uint32_t sum) {
      out[c] = static_cast<T>(static_cast<std::int32_t>(sum));
    };
    if (facts.zero_points.empty()) {
      for (std::int64_t c = 0; c < channels; ++c) store(c, sums[c] - a * static_cast<std::uint32_t>(weight_sums[c]));
      continue;
    }
    const std::uint32_t x = sums[channels] - a * static_cast<std::uint32_t>(facts.depth);
    for (std::int64_t c = 0; c < channels; ++c)
      store(c,
            sums[c] - a * static_cast<std::uint32_t>(weight_sums[c]) - static_cast<std::uint32_t>(zero_points[c]) * x);
  }
}

void CodeSumsStep::run(const Team& team) noexcept {
  for_each_part(team, threads_, terms_.rows, [&](std::int64_t begin, std::int64_t end) {
    if (terms_.gives_reals)
      run_rows(at<float>(0), begin, end);
    else
      run_rows(at<std::int32_t>(0), begin, end);
  });
}

}  // namespace bitfold::engine
