#include "quantize/adaround.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/first_failure.h"
#include "onednn/plain.h"

namespace bitfold::quantization {
namespace {

// Channels per unit of work. A constant, so that results do not depend on the number of threads.
constexpr std::int64_t kBlockChannels = 32;
constexpr float kDecay = 0.9F, kSquareDecay = 0.999F, kTiny = 1e-12F;
// The penalty starts after this fraction of the iterations and ends at this multiple of the error's curvature.
constexpr double kWarmUp = 0.2, kLastPenalty = 2;

/// One Adam step for a parameter; the corrections remove the bias of the first iterations.
struct Adam {
  float rate = 0, first_correction = 0, second_correction = 0;

  Adam(float learning_rate, int iteration)
      : rate(learning_rate),
        first_correction(static_cast<float>(1 / (1 - std::pow(kDecay, iteration + 1)))),
        second_correction(static_cast<float>(1 / (1 - std::pow(kSquareDecay, iteration + 1)))) {}

  float step(float gradient, float& first, float& second) const {
    first = kDecay * first + (1 - kDecay) * gradient;
    second = kSquareDecay * second + (1 - kSquareDecay) * gradient * gradient;
    return rate * first * first_correction / (std::sqrt(second * second_correction) + kTiny);
  }
};

/// Rows in a random order, the same on every machine: a linear congruential generator with Knuth's MMIX constants.
std::vector<float> shuffled(std::span<const float> from, std::int64_t rows, std::int64_t width) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(rows));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::uint64_t state = 42;
  for (std::size_t i = order.size(); i > 1; --i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    std::swap(order[i - 1], order[(state >> 33U) % i]);
  }
  std::vector<float> to;
  to.reserve(from.size());
  for (std::int64_t row : order) to.insert(to.end(), from.begin() + row * width, from.begin() + (row + 1) * width);
  return to;
}

/// The data that all channels read.
struct Shared {
  const AdaRoundProblem& problem;
  AdaRoundOptions options;
  std::int64_t batch;
  std::vector<float> x, targets;       // shuffled
  std::vector<double> input_energy{};  // the mean square of each input

  Shared(const AdaRoundProblem& p, const AdaRoundOptions& o)
      : problem(p),
        options(o),
        batch(std::min(o.batch, p.rows)),
        x(shuffled(p.x, p.rows, p.depth)),
        targets(shuffled(p.targets, p.rows, p.channels)),
        input_energy(static_cast<std::size_t>(p.depth)) {
    for (std::size_t i = 0; i < x.size(); ++i)
      input_energy[i % input_energy.size()] += static_cast<double>(x[i]) * x[i] / static_cast<double>(p.rows);
  }
};

/// A block of channels. Channels are independent of each other.
class Block {
 public:
  Block(const Shared& shared, std::int64_t first, std::span<RoundedChannel> channels)
      : shared_(shared),
        p_(shared.problem),
        first_(first),
        count_(static_cast<std::int64_t>(channels.size())),
        channels_(channels),
        weights_(static_cast<std::size_t>(count_ * p_.depth)),
        bias_(static_cast<std::size_t>(count_)),
        z_(static_cast<std::size_t>(shared.batch * count_)),
        errors_(z_.size()) {}

  void run() {
    const std::vector<double> before = squared_errors(channels_);
    std::vector<RoundedChannel> found(channels_.begin(), channels_.end());
    descend(found);
    const std::vector<double> after = squared_errors(found);
    for (std::size_t c = 0; c < found.size(); ++c)
      if (after[c] < before[c]) channels_[c] = std::move(found[c]);
  }

 private:
  std::size_t at(std::int64_t c, std::int64_t k) const { return static_cast<std::size_t>(c * p_.depth + k); }

  /// z = the channels' outputs over the batch from `row` on, and their errors after the activation.
  void go_forward(std::int64_t row) {
    for (std::int64_t r = 0; r < shared_.batch; ++r) std::copy_n(bias_.data(), count_, z_.data() + r * count_);
    onednn::multiply_add({shared_.batch, count_, p_.depth, false, true}, 1, shared_.x.data() + row * p_.depth,
                         weights_.data(), z_.data());
    for (std::int64_t r = 0; r < shared_.batch; ++r) {
      const float* target = shared_.targets.data() + (row + r) * p_.channels + first_;
      for (std::int64_t c = 0; c < count_; ++c) {
        const auto i = static_cast<std::size_t>(r * count_ + c);
        errors_[i] = p_.activation(z_[i]) - p_.activation(target[c]);
      }
    }
  }

  /// Sums over all whole batches, by channel.
  std::vector<double> squared_errors(std::span<const RoundedChannel> channels) {
    for (std::int64_t c = 0; c < count_; ++c) {
      const RoundedChannel& channel = channels[static_cast<std::size_t>(c)];
      bias_[static_cast<std::size_t>(c)] = static_cast<float>(channel.bias);
      for (std::int64_t k = 0; k < p_.depth; ++k)
        weights_[at(c, k)] = static_cast<float>(channel.grid.real(channel.codes[static_cast<std::size_t>(k)]));
    }
    std::vector<double> sums(static_cast<std::size_t>(count_));
    for (std::int64_t row = 0; row + shared_.batch <= p_.rows; row += shared_.batch) {
      go_forward(row);
      for (std::size_t i = 0; i < errors_.size(); ++i)
        sums[i % sums.size()] += static_cast<double>(errors_[i]) * errors_[i];
    }
    return sums;
  }

  /// The mean square of the activation's slope at the float network's outputs.
  double squared_slope(std::int64_t channel) const {
    double sum = 0;
    for (std::int64_t r = 0; r < p_.rows; ++r) {
      const double s = p_.activation.derivative(shared_.targets[static_cast<std::size_t>(r * p_.channels + channel)]);
      sum += s * s;
    }
    return sum / static_cast<double>(p_.rows);
  }

  void descend(std::vector<RoundedChannel>& found) {
    std::vector<float> base(weights_.size()), u(base.size()), curvature(base.size()), gradient(base.size());
    std::vector<float> first(base.size()), second(base.size()), bias_first(bias_.size()), bias_second(bias_.size());
    for (std::int64_t c = 0; c < count_; ++c) {
      const RoundedChannel& channel = found[static_cast<std::size_t>(c)];
      const ChannelGrid& grid = channel.grid;
      const double sensitivity = grid.scale * grid.scale * squared_slope(first_ + c);
      for (std::int64_t k = 0; k < p_.depth; ++k) {
        const double wanted = channel.real[static_cast<std::size_t>(k)] / grid.scale + grid.zero_point;
        const int code = channel.codes[static_cast<std::size_t>(k)];
        const int low = std::clamp(wanted >= code ? code : code - 1, grid.qmin, grid.qmax - 1);
        base[at(c, k)] = static_cast<float>(low - grid.zero_point);
        u[at(c, k)] = static_cast<float>(std::clamp(wanted - low, 0.0, 1.0));
        curvature[at(c, k)] = static_cast<float>(sensitivity * shared_.input_energy[static_cast<std::size_t>(k)]);
      }
      bias_[static_cast<std::size_t>(c)] = static_cast<float>(channel.bias);
    }
    const int iterations = shared_.options.iterations;
    const std::int64_t last_row = p_.rows - shared_.batch;
    const float mean = 2.0F / static_cast<float>(shared_.batch);
    for (int i = 0; i < iterations; ++i) {
      const double progress = static_cast<double>(i) / iterations;
      const auto penalty = static_cast<float>(kLastPenalty * std::max(0.0, (progress - kWarmUp) / (1 - kWarmUp)));
      const Adam adam(shared_.options.learning_rate * static_cast<float>(1 - 0.9 * progress), i);
      for (std::int64_t c = 0; c < count_; ++c) {
        const auto scale = static_cast<float>(found[static_cast<std::size_t>(c)].grid.scale);
        for (std::size_t j = at(c, 0); j < at(c + 1, 0); ++j) weights_[j] = scale * (base[j] + u[j]);
      }
      const std::int64_t row = last_row == 0 ? 0 : i * shared_.batch % last_row;
      go_forward(row);
      for (std::size_t j = 0; j < errors_.size(); ++j) errors_[j] *= mean * p_.activation.derivative(z_[j]);
      std::fill(gradient.begin(), gradient.end(), 0.0F);
      onednn::multiply_add({count_, p_.depth, shared_.batch, true, false}, 1, errors_.data(),
                           shared_.x.data() + row * p_.depth, gradient.data());
      for (std::int64_t c = 0; c < count_; ++c) {
        const auto scale = static_cast<float>(found[static_cast<std::size_t>(c)].grid.scale);
        for (std::size_t j = at(c, 0); j < at(c + 1, 0); ++j) {
          // The derivative of penalty * curvature * u (1 - u). The error's second derivative is twice the curvature.
          const float push = penalty * curvature[j] * (1 - 2 * u[j]);
          const float moved = u[j] - adam.step(gradient[j] * scale + push, first[j], second[j]);
          u[j] = moved < 0 ? 0.0F : moved > 1 ? 1.0F : moved;
        }
        if (!p_.moves_bias) continue;
        float slope = 0;
        for (std::int64_t r = 0; r < shared_.batch; ++r) slope += errors_[static_cast<std::size_t>(r * count_ + c)];
        // The change of an output when a weight with input 1 changes by one code, in steps of the grid.
        const auto j = static_cast<std::size_t>(c);
        bias_[j] -= scale * adam.step(slope, bias_first[j], bias_second[j]);
      }
    }
    for (std::int64_t c = 0; c < count_; ++c) {
      RoundedChannel& channel = found[static_cast<std::size_t>(c)];
      channel.bias = bias_[static_cast<std::size_t>(c)];
      for (std::int64_t k = 0; k < p_.depth; ++k)
        channel.codes[static_cast<std::size_t>(k)] =
            static_cast<int>(base[at(c, k)]) + channel.grid.zero_point + (u[at(c, k)] >= 0.5F ? 1 : 0);
    }
  }

  const Shared& shared_;
  const AdaRoundProblem& p_;
  std::int64_t first_, count_;
  std::span<RoundedChannel> channels_;
  std::vector<float> weights_, bias_, z_, errors_;
};

}  // namespace

void adaround(const AdaRoundProblem& problem, std::span<RoundedChannel> channels, const AdaRoundOptions& options) {
  if (problem.rows == 0 || problem.depth == 0) return;
  const Shared shared(problem, options);
  const auto count = static_cast<std::int64_t>(channels.size());
  FirstFailure failure;
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t first = 0; first < count; first += kBlockChannels)
    failure.watch(first, [&] {
      const std::int64_t size = std::min(kBlockChannels, count - first);
      Block(shared, first, channels.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size))).run();
    });
  failure.rethrow();
}

}  // namespace bitfold::quantization
