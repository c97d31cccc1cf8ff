#include "bitfold/tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "bitfold/error.h"

namespace bitfold {
namespace {

TEST(Tensor, copies_share_bytes_until_one_is_written) {
  Tensor a = Tensor::from<float>({2}, std::vector<float>{1, 2});
  const Tensor b = a;
  EXPECT_EQ(a.bytes(), b.bytes());
  a.mutable_data<float>()[0] = 5;
  EXPECT_EQ(b.data<float>()[0], 1);
  EXPECT_EQ(a.data<float>()[0], 5);
}

TEST(Tensor, booleans_from_bytes_are_0_or_1) {
  const std::array<std::byte, 3> bytes{std::byte{0}, std::byte{126}, std::byte{1}};
  const Tensor t = Tensor::from_bytes(DataType::boolean, {3}, bytes);
  EXPECT_EQ(t.bytes()[1], std::byte{1});
  EXPECT_FALSE(t.data<bool>()[0]);
  EXPECT_TRUE(t.data<bool>()[1]);
}

TEST(Tensor, sizes_that_do_not_fit_are_errors) {
  EXPECT_THROW(Tensor(DataType::float32, {-2}), Error);
  EXPECT_THROW(Tensor(DataType::float32, {std::numeric_limits<std::int64_t>::max(), 4}), Error);
  EXPECT_THROW(Tensor::from<float>({3}, std::vector<float>{1, 2}), Error);
  EXPECT_THROW((void)Tensor(DataType::int8, {1}).data<float>(), Error);
}

TEST(Tensor, packed_types_round_up_to_whole_bytes) {
  EXPECT_EQ(Tensor(DataType::int4, {3}).size_bytes(), 2U);
  EXPECT_EQ(Tensor(DataType::uint2, {5}).size_bytes(), 2U);
}

}  // namespace
}  // namespace bitfold
