// The networks of the speed benchmarks, with random weights.
#pragma once

#include <cstdint>
#include <span>

#include "bitfold/graph.h"

namespace bitfold::networks {

struct Network {
  const char* name;
  Graph (*make)();
};

std::span<const Network> all_networks();

Graph resnet50();      ///< He et al. 2015, stride in the 3x3 layers; 224x224, 1000 classes
Graph mobilenet_v2();  ///< Sandler et al. 2018, width 1.0
Graph efficientnet_lite0();
Graph vit_tiny();  ///< Dosovitskiy et al. 2020, patches of 16, width 192, 12 layers; mean of the tokens, no class token
Graph bert_layer();  ///< one encoder layer of BERT base (Devlin et al. 2018) over 128 tokens

}  // namespace bitfold::networks
