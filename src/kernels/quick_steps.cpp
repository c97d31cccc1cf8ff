#include "kernels/quick_steps.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace bitfold {
namespace {

constexpr std::int64_t kIntegers = std::int64_t{1} << 23;  // number of integers that can be added to the bits of 2^23
constexpr int kLastCode = 255;
// maximum error of an addend, in units of accumulators, so that codes change close to the exact midpoint
constexpr double kMaxError = 0.125;

/// The parameters of one channel.
struct Channel {
  float multiplier;
  std::int64_t magnitude;  ///< Largest magnitude of an accumulator.
  int zero_point;

  float steps(std::int64_t accumulator) const { return static_cast<float>(accumulator) * multiplier; }

  /// Steps of an accumulator within the range. Both factors have 24 bits and the addend has no bits below theirs, so a
  /// double holds the sum exactly and is rounded once.
  float quick_steps(std::int64_t accumulator, std::int64_t origin, float addend) const {
    const auto sum = static_cast<double>(kIntegers + origin + accumulator);
    return static_cast<float>(sum * static_cast<double>(multiplier) + static_cast<double>(addend));
  }

  double exact_addend(std::int64_t origin) const {
    return -static_cast<double>(kIntegers + origin) * static_cast<double>(multiplier);
  }

  /// Whether all codes change between the same accumulators as in the definition.
  bool agrees(std::int64_t origin, float addend) const {
    const double unit = 1 / static_cast<double>(multiplier);
    const double error = std::abs(exact_addend(origin) - static_cast<double>(addend)) * unit;  // in accumulators
    if (error > kMaxError) return false;
    for (int step = -zero_point; step < kLastCode - zero_point; ++step) {
      const double middle = (step + 0.5) * unit;
      if (std::abs(middle) > static_cast<double>(magnitude) + 2) continue;  // no accumulator is that large
      const auto whole = static_cast<std::int64_t>(middle), near = middle < 0 ? whole - 1 : whole;
      const double rest = middle - static_cast<double>(near);
      // How far the change may lie from the midpoint in either direction: steps have a relative rounding error of
      // 2^-24.
      const double margin = error + 0x1p-23 * std::abs(middle);
      if (rest > margin && 1 - rest > margin) continue;
      // The lowest float that rounds to more than `step`; ties round to even.
      const float half = static_cast<float>(step) + 0.5F;
      const bool ties_go_up = step % 2 != 0;
      const auto is_more = [&](float steps) { return steps > half || (steps == half && ties_go_up); };
      for (std::int64_t a = near - 2; a <= near + 3; ++a)
        if (is_more(quick_steps(a, origin, addend)) != is_more(steps(a))) return false;
    }
    return true;
  }
};

/// Denominators, up to `most`, of the continued fraction of the multiplier's mantissa, which is in [1, 2). Among all
/// origins up to the next denominator, these and their multiples have the most exact products.
std::vector<std::int64_t> good_origins(float multiplier, std::int64_t most) {
  int exponent = 0;
  auto above = static_cast<std::int64_t>(std::ldexp(static_cast<double>(std::frexp(multiplier, &exponent)), 24));
  std::int64_t below = kIntegers;
  std::vector<std::int64_t> found;
  for (std::int64_t before = 0, now = 1; now <= most;) {
    found.push_back(now);
    above %= below;
    if (above == 0) break;
    std::swap(above, below);
    before = std::exchange(now, above / below * now + before);
  }
  return found;
}

struct Terms {
  std::int32_t origin;
  float addend;
};

std::optional<Terms> find_terms(const Channel& channel) {
  if (channel.multiplier == 0) return Terms{0, 0};
  // Accumulators in [-low, high] must be in the range. Beyond it codes saturate, or no accumulator occurs.
  const auto accumulators_within = [&](int codes) {
    constexpr double kSlack = 4;
    const double accumulators = codes / static_cast<double>(channel.multiplier);
    return static_cast<std::int64_t>(std::min(accumulators, static_cast<double>(channel.magnitude)) + kSlack);
  };
  const std::int64_t low = accumulators_within(channel.zero_point + 1),
                     high = accumulators_within(kLastCode + 1 - channel.zero_point);
  if (channel.zero_point == 0 && high < kIntegers) return Terms{0, static_cast<float>(channel.exact_addend(0))};
  const std::int64_t most = kIntegers - high;
  if (low > most) return std::nullopt;
  std::vector<std::pair<double, std::int64_t>> candidates;  // (error of the addend, origin)
  std::int64_t before = 0;
  for (std::int64_t good : good_origins(channel.multiplier, most)) {
    // Also tries the denominator before: with addends of at least twice the multiplier's mantissa, only every second
    // product is representable.
    for (std::int64_t more : {std::int64_t{0}, good, before, good + before}) {
      const std::int64_t origin = (low + good - 1) / good * good + more;
      if (origin > most) continue;
      const double exact = channel.exact_addend(origin);
      candidates.emplace_back(std::abs(exact - static_cast<double>(static_cast<float>(exact))), origin);
    }
    before = good;
  }
  std::sort(candidates.begin(), candidates.end());
  constexpr std::size_t kMaxTries = 16;
  if (candidates.size() > kMaxTries) candidates.resize(kMaxTries);
  for (const auto& [error, origin] : candidates) {
    const auto addend = static_cast<float>(channel.exact_addend(origin));
    if (channel.agrees(origin, addend)) return Terms{static_cast<std::int32_t>(origin), addend};
  }
  return std::nullopt;
}

}  // namespace

QuickSteps::QuickSteps(std::span<const float> multipliers, std::span<const std::int64_t> magnitudes,
                       const ConvOutput& output) {
  if (output.kind != AccumulatorOutput::code || output.qmin != 0 || output.qmax != kLastCode ||
      output.negative_gain != 1)
    return;
  const std::size_t count = multipliers.size();
  auto origins = zeroed_array<std::int32_t>(static_cast<std::int64_t>(count));
  auto addends = zeroed_array<float>(static_cast<std::int64_t>(count));
  for (std::size_t c = 0; c < count; ++c) {
    const Channel channel{multipliers[c], magnitudes[c], output.zero_point};
    // From 2^26 on, the accumulator's bits as a float exceed int32.
    constexpr std::int64_t kMaxMagnitude = std::int64_t{1} << 26;
    if (!(channel.multiplier >= 0 && channel.multiplier < 1) || channel.magnitude >= kMaxMagnitude - kIntegers) return;
    const auto terms = find_terms(channel);
    if (!terms) return;
    origins[c] = kFloatOrigin + terms->origin;
    addends[c] = terms->addend;
  }
  origins_ = std::move(origins);
  addends_ = std::move(addends);
}

}  // namespace bitfold
