// Helpers shared by the tests of Session.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "bitfold/error.h"
#include "bitfold/tensor.h"

namespace bitfold::engine {

/// Expects finite numbers within `tolerance` of the largest expected one.
inline void expect_close(const std::vector<Tensor>& got, const std::vector<Tensor>& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].shape(), expected[i].shape());
    double largest = 0, error = 0;
    for (std::size_t j = 0; j < got[i].data<float>().size(); ++j) {
      const double e = expected[i].data<float>()[j], g = got[i].data<float>()[j];
      ASSERT_TRUE(std::isfinite(g));
      largest = std::max(largest, std::abs(e));
      error = std::max(error, std::abs(e - g));
    }
    EXPECT_GT(largest, 0);
    EXPECT_LE(error, tolerance * largest);
  }
}

}  // namespace bitfold::engine
