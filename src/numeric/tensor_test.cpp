#include "bitfold/tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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

TEST(Tensor, borrowed_memory_is_read_in_place_and_kept_alive_by_its_owner) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  const float* data = owner->data();
  const std::weak_ptr<std::vector<float>> watched = owner;
  std::optional<Tensor> t = Tensor::borrow(data, std::move(owner), DataType::float32, {2, 2});
  EXPECT_TRUE(t->is_borrowed());
  EXPECT_EQ(t->data<float>().data(), data);
  EXPECT_EQ(*t, Tensor::from<float>({2, 2}, std::vector<float>{1, 2, 3, 4}));
  std::optional<Tensor> copy = *t;
  t.reset();
  EXPECT_FALSE(watched.expired());
  EXPECT_EQ(copy->reshaped({4}).data<float>()[3], 4);
  copy.reset();
  EXPECT_TRUE(watched.expired());
}

TEST(Tensor, writing_a_borrowed_tensor_copies_it_first) {
  const std::array<float, 2> memory{1, 2};
  Tensor t = Tensor::borrow(memory.data(), nullptr, DataType::float32, {2});
  t.mutable_data<float>()[0] = 5;
  EXPECT_FALSE(t.is_borrowed());
  EXPECT_EQ(memory[0], 1);
  EXPECT_EQ(t.data<float>()[0], 5);
  EXPECT_EQ(t.data<float>()[1], 2);
}

TEST(Tensor, memory_that_cannot_be_borrowed_is_an_error) {
  const auto message = [](const void* data, DataType dtype, Shape shape) {
    try {
      Tensor::borrow(data, nullptr, dtype, std::move(shape));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  alignas(8) const std::array<std::uint8_t, 16> memory{0, 1, 2};
  EXPECT_EQ(message(nullptr, DataType::float32, {2, 3}), "a borrowed tensor of shape 2x3 has no memory");
  EXPECT_EQ(message(nullptr, DataType::float32, {0}), "no error");
  EXPECT_EQ(message(memory.data() + 2, DataType::float32, {1}),
            "borrowed memory is not aligned to 4 bytes, as elements of float32 need");
  EXPECT_EQ(message(memory.data() + 1, DataType::int4, {3}), "no error");
  EXPECT_EQ(message(memory.data(), DataType::boolean, {3}), "borrowed boolean 2 is 2; it must be 0 or 1");
  EXPECT_EQ(message(memory.data(), DataType::int8, {-1}), "shape ?: a dimension is -1; it must not be negative");
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

TEST(Tensor, owns_strings_as_objects) {
  const std::vector<std::string> texts{"", "a string that is longer than a small one", "b"};
  Tensor a = Tensor::from<std::string>({3}, texts);
  const Tensor b = a;
  EXPECT_TRUE(a == Tensor::from<std::string>({3}, texts));
  a.mutable_data<std::string>()[0] = "changed";
  EXPECT_EQ(b.data<std::string>()[0], "");
  EXPECT_FALSE(a == b);
  EXPECT_THROW((void)a.data<float>(), Error);
  EXPECT_THROW((void)Tensor::from_bytes(DataType::string, {1}, std::vector<std::byte>(sizeof(std::string))), Error);
  EXPECT_THROW((void)Tensor::borrow(texts.data(), nullptr, DataType::string, {3}), Error);
}

TEST(Tensor, containers_hold_tensors) {
  const Tensor x = Tensor::from<float>({2}, std::vector<float>{1, 2});
  const Tensor sequence = Tensor::container(DataType::sequence, {x, Tensor(DataType::int64, {})});
  EXPECT_EQ(sequence.shape(), (Shape{2}));
  EXPECT_EQ(sequence.items()[0].bytes(), x.bytes());
  EXPECT_TRUE(sequence == Tensor::container(DataType::sequence, {x, Tensor(DataType::int64, {})}));
  EXPECT_FALSE(sequence == Tensor::container(DataType::sequence, {x, x}));
  EXPECT_EQ(Tensor::container(DataType::optional_sequence, {sequence}).items()[0], sequence);
  EXPECT_THROW((void)x.items(), Error);
  EXPECT_THROW((void)Tensor::container(DataType::optional, {x, x}), Error);
  EXPECT_THROW((void)Tensor::container(DataType::sequence, {sequence}), Error);
  EXPECT_THROW((void)Tensor::container(DataType::optional_sequence, {x}), Error);
}

}  // namespace
}  // namespace bitfold
