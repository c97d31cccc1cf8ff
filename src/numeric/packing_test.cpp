#include <gtest/gtest.h>

#include <vector>

#include "bitfold/affine.h"
#include "bitfold/error.h"

namespace bitfold {
namespace {

std::vector<int> bytes_of(const Tensor& t) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(t.bytes());
  return {bytes, bytes + t.size_bytes()};
}

TEST(Pack, puts_the_low_nibble_first) {
  const Tensor u = pack(Tensor::from<std::uint8_t>({3}, std::vector<std::uint8_t>{1, 15, 7}), 4);
  EXPECT_EQ(u.dtype(), DataType::uint4);
  EXPECT_EQ(u.shape(), Shape{3});
  EXPECT_EQ(bytes_of(u), (std::vector<int>{0xF1, 0x07}));
  const Tensor s = pack(Tensor::from<std::int8_t>({4}, std::vector<std::int8_t>{-8, 7, -1, 0}), 4);
  EXPECT_EQ(s.dtype(), DataType::int4);
  EXPECT_EQ(bytes_of(s), (std::vector<int>{0x78, 0x0F}));
}

TEST(Pack, puts_the_lowest_two_bits_first) {
  const Tensor u = pack(Tensor::from<std::uint8_t>({5}, std::vector<std::uint8_t>{1, 2, 3, 0, 2}), 2);
  EXPECT_EQ(u.dtype(), DataType::uint2);
  EXPECT_EQ(bytes_of(u), (std::vector<int>{0b00111001, 0b10}));
  const Tensor s = pack(Tensor::from<std::int8_t>({4}, std::vector<std::int8_t>{-2, -1, 0, 1}), 2);
  EXPECT_EQ(s.dtype(), DataType::int2);
  EXPECT_EQ(bytes_of(s), (std::vector<int>{0b01001110}));
}

TEST(Pack, unpack_restores_every_code) {
  for (int bits : {2, 4})
    for (int count : {0, 1, 2, 3, 4, 5, 7, 8, 33}) {
      std::vector<std::int8_t> s;
      std::vector<std::uint8_t> u;
      for (int i = 0; i < count; ++i) {
        u.push_back(static_cast<std::uint8_t>(i * 7 % (1 << bits)));
        s.push_back(static_cast<std::int8_t>(u.back() - (1 << (bits - 1))));
      }
      const Tensor su = Tensor::from<std::uint8_t>({count}, u), ss = Tensor::from<std::int8_t>({count}, s);
      EXPECT_EQ(unpack(pack(su, bits)), su);
      EXPECT_EQ(unpack(pack(ss, bits)), ss);
    }
}

TEST(Pack, refuses_codes_that_do_not_fit) {
  const auto refuses = [](std::int8_t code, int bits) {
    EXPECT_THROW(pack(Tensor::from<std::int8_t>({1}, std::vector<std::int8_t>{code}), bits), Error) << int{code};
  };
  refuses(8, 4);
  refuses(-9, 4);
  refuses(2, 2);
  refuses(0, 3);
  EXPECT_THROW(pack(Tensor::from<std::uint8_t>({1}, std::vector<std::uint8_t>{16}), 4), Error);
  EXPECT_THROW(pack(Tensor(DataType::float32, {1}), 4), Error);
  EXPECT_THROW(unpack(Tensor(DataType::int8, {1})), Error);
}

}  // namespace
}  // namespace bitfold
