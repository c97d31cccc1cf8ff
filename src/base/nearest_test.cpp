#include "bitfold/nearest.h"

#include <gtest/gtest.h>

#include <array>

namespace bitfold {
namespace {

constexpr std::array<std::string_view, 4> kWords{"resize", "crop", "scale", "channels"};

TEST(Nearest, finds_a_word_with_one_typing_mistake) {
  EXPECT_EQ(nearest("resise", kWords), "resize");
  EXPECT_EQ(nearest("cropp", kWords), "crop");
  EXPECT_EQ(nearest("channel", kWords), "channels");
}

TEST(Nearest, suggests_nothing_for_an_unrelated_word) {
  EXPECT_EQ(nearest("preposterous", kWords), "");
  EXPECT_EQ(nearest("scale", {}), "");
  EXPECT_EQ(did_you_mean("preposterous", kWords), "");
}

TEST(Nearest, did_you_mean_asks_for_the_nearest_word) {
  EXPECT_EQ(did_you_mean("scal", kWords), "; did you mean 'scale'?");
}

}  // namespace
}  // namespace bitfold
