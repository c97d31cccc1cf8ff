// The notebook's networks, built with the Graph API. Weights are pseudo-random and distributed as PyTorch initializes
// layers, so that every run prints the same figures.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "bitfold/bitfold.h"

namespace notebook {

/// The same numbers on every machine: std::mt19937 is fully specified, the standard's distributions are not.
class Random {
 public:
  explicit Random(std::uint32_t seed) : engine_(seed) {}
  bitfold::Tensor uniform(const bitfold::Shape& shape, float low, float high);
  /// Sums of twelve uniform numbers, close enough to a standard normal distribution.
  bitfold::Tensor normal(const bitfold::Shape& shape);

 private:
  float unit() { return static_cast<float>(engine_() >> 8) * 0x1p-24F; }
  std::mt19937 engine_;
};

/// Cell 12: conv 3-20 (5x5), relu, max pool, conv 20-50 (5x5), relu, max pool, linear 800-500, relu, linear 500-10.
/// Takes Nx3x28x28. Weight and bias of layer L are the constants "L.weight" and "L.bias".
bitfold::Graph lenet();

/// The four parameters per channel of a BatchNorm.
struct Statistics {
  bitfold::Tensor gamma, beta, mean, variance;
};
Statistics fresh_statistics();    ///< As in an untrained layer and in the notebook: 1, 0, 0, 1.
Statistics trained_statistics();  ///< As after training: arbitrary values.

/// Cell 195: conv 3-20 (5x5) and BatchNorm; with `relu`, cell 284. Takes 1x3x32x32.
bitfold::Graph block(const Statistics& statistics, bool relu);
/// Cell 202: the same convolution alone, with its weights before folding.
bitfold::Graph convolution_alone(bool relu);

/// `count` images of 3x28x28, standard normal, as in the notebook.
class Images : public bitfold::BatchSource {
 public:
  Images(std::int64_t count, std::uint32_t seed);
  std::optional<bitfold::Batch> next(std::int64_t max_samples) override;
  void rewind() override { position_ = 0; }
  std::int64_t sample_count() const override { return count_; }
  bool has_labels() const override { return false; }
  std::string description() const override { return std::to_string(count_) + " random images"; }

 private:
  std::int64_t count_, position_ = 0;
  std::uint32_t seed_;
};

}  // namespace notebook
