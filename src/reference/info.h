// What shape inference is told of a tensor.
#pragma once

#include <cstdint>

#include "bitfold/graph.h"

namespace bitfold::reference {

// As ValueInfo has them.
inline constexpr std::int64_t kMostKnownElements = 4096;
inline constexpr std::int64_t kMostKnownReals = 16;

inline ValueInfo info_of(const Tensor& t) {
  ValueInfo info{.dtype = t.dtype(), .shape = t.shape()};
  if (t.dtype() == DataType::float32 && t.size() <= kMostKnownReals)
    info.scales.assign(t.data<float>().begin(), t.data<float>().end());
  if (t.size() > kMostKnownElements) return info;
  const auto take = [&](const auto* elements) {
    info.elements.emplace();
    for (std::int64_t i = 0; i < t.size(); ++i) info.elements->push_back(static_cast<std::int64_t>(elements[i]));
  };
  if (t.dtype() == DataType::int64) take(t.data<std::int64_t>().data());
  if (t.dtype() == DataType::int32) take(t.data<std::int32_t>().data());
  if (t.dtype() == DataType::boolean) take(reinterpret_cast<const std::uint8_t*>(t.bytes()));
  return info;
}

}  // namespace bitfold::reference
