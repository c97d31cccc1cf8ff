// Turns a layer's figures into findings. A rule applies only if its figure is far from what good layers show, so that
// the report of a healthy network is short.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "bitfold/analysis.h"

namespace bitfold {
namespace {

// Under the mse observer, well-shaped layers of real networks clip up to about 0.1 %, which improves accuracy.
constexpr double kClippedNote = 0.002, kClippedWarning = 0.01;
// Below a quarter, two of the grid's bits are unused.
constexpr double kUsedCodes = 0.25;
// A range this many times the one that holds 99.9 % of the values wastes more than 2 bits.
constexpr double kTailRatio = 4;
// Minimum share of all noise; in a network of more than 4 layers it is more than an equal share.
constexpr double kLargestShare = 0.25;
// Decibels below the median layer. In real networks, layers differ from the median by up to 6 dB (ResNet-20,
// UltraFace).
constexpr double kLowBitsExcess_db = 10;

std::string percent(double fraction) {
  return fraction < 0.1 ? fmt::format("{:.1f} %", 100 * fraction) : fmt::format("{:.0f} %", 100 * fraction);
}

std::string channels(std::int64_t count, std::int64_t all) { return fmt::format("{} of {} channels", count, all); }

// The whole range divided by the range without the outermost 0.05 % of the values at either end.
double tail_ratio(const ValueHistogram& values) {
  double total = 0;
  for (std::int64_t n : values.counts) total += static_cast<double>(n);
  if (total == 0) return 1;
  const double most = total * 0.0005;
  std::size_t first = 0, last = values.counts.size();
  for (double left = most; first < last && left >= static_cast<double>(values.counts[first]); ++first)
    left -= static_cast<double>(values.counts[first]);
  for (double left = most; last > first && left >= static_cast<double>(values.counts[last - 1]); --last)
    left -= static_cast<double>(values.counts[last - 1]);
  return static_cast<double>(values.counts.size()) / static_cast<double>(std::max<std::size_t>(1, last - first));
}

class Diagnosis {
 public:
  Diagnosis(const LayerAnalysis& layer, const Analysis& whole) : layer_(layer), whole_(whole) {}

  std::vector<Finding> examine() {
    if (layer_.weights) weights(*layer_.weights);
    if (layer_.grid) values();
    if (layer_.sensitivity) share(*layer_.sensitivity);
    if (layer_.sensitivity) low_bits(*layer_.sensitivity);
    return std::move(findings_);
  }

 private:
  void say(Severity severity, Cause cause, std::string text) {
    findings_.push_back({severity, cause, std::move(text)});
  }

  void weights(const WeightRanges& w) {
    if (w.dead_count > 0)
      say(Severity::note, Cause::dead_channels,
          fmt::format("{} have negligible weights and a constant output. They can be pruned without loss.",
                      channels(w.dead_count, w.channel_count)));
    if (w.wide_count == 0) return;
    const double ratio = w.widest_extent / w.median_extent;
    const bool is_shared = whole_.recipe.granularity == Granularity::per_tensor;
    const std::string what =
        fmt::format("{} {} up to {:.0f} times wider than the median", channels(w.wide_count, w.channel_count),
                    w.wide_count == 1 ? "is" : "are", ratio);
    if (is_shared && layer_.is_quantized)
      say(Severity::warning, Cause::wide_channels,
          fmt::format("{}. All channels share one grid, so few codes are left for the other channels: use granularity "
                      "per_channel, or equalize the layers.",
                      what));
    else
      say(Severity::note, Cause::wide_channels,
          fmt::format(
              "{}. Each channel has its own grid, so the weights lose no accuracy, but the output's single grid "
              "may be too coarse for the others. Equalizing the layers helps.",
              what));
  }

  void values() {
    const double clipped = layer_.clipped_share.value_or(0);
    if (clipped >= kClippedNote)
      say(clipped >= kClippedWarning ? Severity::warning : Severity::note, Cause::clipped,
          fmt::format(
              "{} of the values are outside the grid and are clipped. Observer min_max or percentile covers them, "
              "with coarser steps.",
              percent(clipped)));
    if (layer_.used_codes && *layer_.used_codes < kUsedCodes)
      say(Severity::warning, Cause::unused_grid,
          fmt::format("The values use only {} of the grid's codes: {}.", percent(*layer_.used_codes),
                      whole_.recipe.activation_scheme == Scheme::symmetric
                          ? "all of them have one sign; use activation_scheme asymmetric"
                          : "the grid is shared with a value of wider range"));
    if (!layer_.values) return;
    const double tail = tail_ratio(*layer_.values);
    const bool is_covered = clipped < 1e-4;
    if (tail >= kTailRatio && is_covered)
      say(Severity::note, Cause::long_tail,
          fmt::format("99.9 % of the values lie within {} of the range. Observer mse or percentile gives finer steps.",
                      percent(1 / tail)));
  }

  void share(const LayerSensitivity& s) {
    const auto count = static_cast<double>(whole_.sensitivity.layers.size());
    if (!s.error_share || count < 3 || *s.error_share < std::max(kLargestShare, 2 / count)) return;
    std::string advice = layer_.activation_bits == 16 ? "leave it in float with --skip"
                         : layer_.weight_bits < 8     ? "give its weights 8 bits"
                                                      : "give it 16-bit activations, or leave it in float with --skip";
    const std::string what = fmt::format("{} of the whole error comes from this layer", percent(*s.error_share));
    const double now = whole_.sensitivity.all.sqnr_db();
    if (!s.all_but) {
      say(Severity::warning, Cause::largest_share, fmt::format("{}. If accuracy matters, {}.", what, advice));
    } else if (s.all_but->sqnr_db() > now) {
      say(Severity::warning, Cause::largest_share,
          fmt::format(
              "{}: with this layer in float, the output has {:.1f} dB instead of {:.1f}. If accuracy matters, {}.",
              what, s.all_but->sqnr_db(), now, advice));
    } else {
      // Errors are not independent here: the errors of other layers partly cancel this one's.
      say(Severity::note, Cause::largest_share,
          fmt::format("{}, but leaving only this layer in float does not help: {:.1f} dB instead of {:.1f}.", what,
                      s.all_but->sqnr_db(), now));
    }
  }

  // Bits are worth 6.02 dB each in any layer (equation 10); this layer loses much more than the median.
  void low_bits(const LayerSensitivity& s) {
    const auto& bits = whole_.sensitivity.weight_bits;
    const auto most = std::max_element(bits.begin(), bits.end()), least = std::min_element(bits.begin(), bits.end());
    if (bits.empty() || *most == *least) return;
    const auto from = static_cast<std::size_t>(most - bits.begin()),
               to = static_cast<std::size_t>(least - bits.begin());
    if (!s.alone[to] || whole_.sensitivity.layers.size() < 3) return;
    std::vector<double> others;
    for (const LayerSensitivity& layer : whole_.sensitivity.layers)
      if (layer.alone[to]) others.push_back(layer.alone[to]->sqnr_db());
    std::nth_element(others.begin(), others.begin() + static_cast<std::ptrdiff_t>(others.size() / 2), others.end());
    const double median = others[others.size() / 2], own = s.alone[to]->sqnr_db();
    if (!(median - own > kLowBitsExcess_db)) return;
    say(Severity::note, Cause::low_bits,
        fmt::format(
            "With only this layer at {} weight bits, the output has {:.1f} dB, {:.0f} dB less than for the median "
            "layer: keep it at {}.",
            bits[to], own, median - own, bits[from]));
  }

  const LayerAnalysis& layer_;
  const Analysis& whole_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> diagnose(const LayerAnalysis& layer, const Analysis& whole) {
  return Diagnosis(layer, whole).examine();
}

}  // namespace bitfold
