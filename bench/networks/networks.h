// Networks of the speed comparison.
#pragma once

#include <array>
#include <cstdint>

#include "bitfold/graph.h"

namespace networks {

/// The same numbers everywhere: sums of 12 uniform ones from a 64-bit linear congruential generator (Knuth's MMIX).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  bitfold::Tensor normal(const bitfold::Shape& shape, float deviation);

 private:
  std::uint64_t state_;
};

bitfold::Graph resnet50();      ///< He et al. 2015, 224x224; stride in the 3x3 convolutions, as is usual now.
bitfold::Graph mobilenet_v2();  ///< Sandler et al. 2018, width 1, 224x224.
bitfold::Graph encoder();       ///< A pre-norm transformer layer of BERT base: 128 tokens of 768, 12 heads.

struct Network {
  const char* name;
  bitfold::Graph (*build)();
};
constexpr std::array<Network, 3> kAll{{{"resnet50", resnet50}, {"mobilenet_v2", mobilenet_v2}, {"encoder", encoder}}};

}  // namespace networks
