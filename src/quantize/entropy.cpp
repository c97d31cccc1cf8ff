// Let p_i and n_i be the counts of bin i with and without the clipped values, N_P and N_Q their totals, and n_k and m_k
// the count and the number of bins of code k, so that Q_i = n_k / (m_k N_Q). Then
//
//   KL = ( sum_i p_i ln p_i  -  sum_k p_k ln(n_k / m_k) ) / N_P  -  ln N_P  +  ln N_Q
//
// which takes one logarithm for each code instead of one for each bin.
#include "quantize/entropy.h"

#include <cmath>
#include <limits>

#include "quantize/bins.h"

namespace bitfold::quantization {
namespace {

// An upper bound of the logarithms' rounding error.
constexpr double kRoundOff = 1e-12;
constexpr double kNever = std::numeric_limits<double>::infinity();

double times_log(double count) { return count > 0 ? count * std::log(count) : 0; }

// Counts of the bins that belong to one code.
struct Level {
  float code = 0;
  double p = 0, n = 0, bins = 0;
  double log_term() const { return bins > 0 ? p * std::log(n / bins) : 0; }
};

}  // namespace

Divergence::Divergence(const ValueStatistics& statistics, const GridSpec& spec)
    : spec_(spec), bin_width_(statistics.bin_width) {
  for (const Bin& bin : used_bins(statistics)) {
    if (bin.low >= 0 && bin.low < bin_width_) continue;
    bins_.push_back({static_cast<float>((bin.low + bin.high) / 2), bin.count, times_log(bin.count)});
    total_ += bin.count;
  }
}

double Divergence::operator()(float lo, float hi) const {
  const QuantParams params = choose_params(lo, hi, spec_);
  const float scale = params.scale[0];
  if (scale < bin_width_ || bins_.empty()) return kNever;
  const auto lowest = static_cast<float>(params.qmin() - params.zero_point[0]);
  const auto highest = static_cast<float>(params.qmax() - params.zero_point[0]);
  const auto code_of = [&](const Occupied& bin) { return std::nearbyint(bin.middle / scale); };

  std::size_t first = 0, last = bins_.size();
  double below = 0, above = 0;
  while (first < last && code_of(bins_[first]) < lowest) below += bins_[first++].count;
  while (last > first && code_of(bins_[last - 1]) > highest) above += bins_[--last].count;
  if (first == last) return kNever;

  double of_bins = 0, of_levels = 0;
  Level level;
  for (std::size_t i = first; i < last; ++i) {
    const Occupied& bin = bins_[i];
    const double clipped = (i == first ? below : 0) + (i + 1 == last ? above : 0);
    const float code = code_of(bin);
    if (code != level.code) {
      of_levels += level.log_term();
      level = {.code = code};
    }
    level.p += bin.count + clipped;
    level.n += bin.count;
    level.bins += 1;
    of_bins += clipped > 0 ? times_log(bin.count + clipped) : bin.log_term;
  }
  of_levels += level.log_term();
  const double divergence = (of_bins - of_levels) / total_ - std::log(total_) + std::log(total_ - below - above);
  return divergence > kRoundOff ? divergence : 0;
}

}  // namespace bitfold::quantization
