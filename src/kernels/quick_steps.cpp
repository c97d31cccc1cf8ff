#include "kernels/quick_steps.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace bitfold {
namespace {

constexpr std::int64_t kIntegers = std::int64_t{1} << 23;  // that the bits of 2^23 can be added to
constexpr int kLastCode = 255;
constexpr double kMostError = 0.125;  // of an addend, in accumulators: a change then stays near its middle

/// One channel.
struct Channel {
  float multiplier;
  std::int64_t reach;  ///< No accumulator is further from 0.
  int zero_point;

  float steps(std::int64_t accumulator) const { return static_cast<float>(accumulator) * multiplier; }

  /// Of an accumulator within the range. Both factors have 24 bits, and no bit of the addend is below theirs: a double
  /// holds the sum, and is rounded once.
  float quick_steps(std::int64_t accumulator, std::int64_t origin, float addend) const {
    const auto sum = static_cast<double>(kIntegers + origin + accumulator);
    return static_cast<float>(sum * static_cast<double>(multiplier) + static_cast<double>(addend));
  }

  double exact_addend(std::int64_t origin) const {
    return -static_cast<double>(kIntegers + origin) * static_cast<double>(multiplier);
  }

  /// Whether all codes change between the same accumulators.
  bool agrees(std::int64_t origin, float addend) const {
    const double unit = 1 / static_cast<double>(multiplier);
    const double error = std::abs(exact_addend(origin) - static_cast<double>(addend)) * unit;  // in accumulators
    if (error > kMostError) return false;
    for (int step = -zero_point; step < kLastCode - zero_point; ++step) {
      const double middle = (step + 0.5) * unit;
      if (std::abs(middle) > static_cast<double>(reach) + 2) continue;  // no accumulator gets there
      const auto whole = static_cast<std::int64_t>(middle), near = middle < 0 ? whole - 1 : whole;
      const double rest = middle - static_cast<double>(near);
      // By how much the change may be off the middle, one way or the other: steps are rounded by 2^-24 of themselves.
      const double margin = error + 0x1p-23 * std::abs(middle);
      if (rest > margin && 1 - rest > margin) continue;
      // What rounds to more than `step`: halfway there, the even one of both.
      const float half = static_cast<float>(step) + 0.5F;
      const bool ties_go_up = step % 2 != 0;
      const auto is_more = [&](float steps) { return steps > half || (steps == half && ties_go_up); };
      for (std::int64_t a = near - 2; a <= near + 3; ++a)
        if (is_more(quick_steps(a, origin, addend)) != is_more(steps(a))) return false;
    }
    return true;
  }
};

/// Denominators of the continued fraction of the multiplier's mantissa, from 1 to 2, that are at most `most`: of all
/// origins up to the next one, they and their multiples have the most exact products.
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
  // Accumulators from -low to high must be in the range: beyond them codes saturate, or there are none.
  const auto within_reach = [&](int codes) {
    constexpr double kSlack = 4;
    const double accumulators = codes / static_cast<double>(channel.multiplier);
    return static_cast<std::int64_t>(std::min(accumulators, static_cast<double>(channel.reach)) + kSlack);
  };
  const std::int64_t low = within_reach(channel.zero_point + 1),
                     high = within_reach(kLastCode + 1 - channel.zero_point);
  if (channel.zero_point == 0 && high < kIntegers) return Terms{0, static_cast<float>(channel.exact_addend(0))};
  const std::int64_t most = kIntegers - high;
  if (low > most) return std::nullopt;
  std::vector<std::pair<double, std::int64_t>> candidates;  // how far the addend is off, origin
  std::int64_t before = 0;
  for (std::int64_t good : good_origins(channel.multiplier, most)) {
    // The one before, too: addends of twice the multiplier's mantissa and more have only every second product.
    for (std::int64_t more : {std::int64_t{0}, good, before, good + before}) {
      const std::int64_t origin = (low + good - 1) / good * good + more;
      if (origin > most) continue;
      const double exact = channel.exact_addend(origin);
      candidates.emplace_back(std::abs(exact - static_cast<double>(static_cast<float>(exact))), origin);
    }
    before = good;
  }
  std::sort(candidates.begin(), candidates.end());
  constexpr std::size_t kMostTries = 16;
  if (candidates.size() > kMostTries) candidates.resize(kMostTries);
  for (const auto& [error, origin] : candidates) {
    const auto addend = static_cast<float>(channel.exact_addend(origin));
    if (channel.agrees(origin, addend)) return Terms{static_cast<std::int32_t>(origin), addend};
  }
  return std::nullopt;
}

}  // namespace

QuickSteps::QuickSteps(std::span<const float> multipliers, std::span<const std::int64_t> reach,
                       const ConvOutput& output) {
  if (output.kind != AccumulatorOutput::code || output.qmin != 0 || output.qmax != kLastCode ||
      output.negative_gain != 1)
    return;
  const std::size_t count = multipliers.size();
  auto origins = zeroed_array<std::int32_t>(static_cast<std::int64_t>(count));
  auto addends = zeroed_array<float>(static_cast<std::int64_t>(count));
  for (std::size_t c = 0; c < count; ++c) {
    const Channel channel{multipliers[c], reach[c], output.zero_point};
    // From 2^26 on, floats of which accumulators are the bits leave int32.
    constexpr std::int64_t kMostReach = std::int64_t{1} << 26;
    if (!(channel.multiplier >= 0 && channel.multiplier < 1) || channel.reach >= kMostReach - kIntegers) return;
    const auto terms = find_terms(channel);
    if (!terms) return;
    origins[c] = kFloatOrigin + terms->origin;
    addends[c] = terms->addend;
  }
  origins_ = std::move(origins);
  addends_ = std::move(addends);
}

}  // namespace bitfold
