#include "numeric/block_pool.h"

#include <gtest/gtest.h>

#include <thread>

#include "bitfold/tensor.h"

namespace bitfold {
namespace {

constexpr std::int64_t kElements = 1 << 16;

TEST(BlockPool, the_next_tensor_reuses_memory_and_is_cleared) {
  BlockPool pool;
  const BlockPool::Use use(pool);
  const std::byte* first = nullptr;
  {
    Tensor t(DataType::float32, {kElements});
    t.mutable_data<float>()[5] = 3;
    first = t.bytes();
  }
  EXPECT_GT(pool.kept_bytes(), 0U);
  const Tensor smaller(DataType::float32, {kElements / 2});
  EXPECT_EQ(smaller.bytes(), first);
  EXPECT_EQ(smaller.data<float>()[5], 0);
  EXPECT_EQ(pool.kept_bytes(), 0U);
}

TEST(BlockPool, the_smallest_block_that_is_large_enough_is_taken) {
  BlockPool pool;
  const BlockPool::Use use(pool);
  const std::byte *large = nullptr, *small = nullptr;
  {
    const Tensor a(DataType::float32, {4 * kElements}), b(DataType::float32, {kElements});
    large = a.bytes();
    small = b.bytes();
  }
  const Tensor fits(DataType::float32, {kElements - 5}), too_large(DataType::float32, {kElements + 64});
  EXPECT_EQ(fits.bytes(), small);
  EXPECT_EQ(too_large.bytes(), large);
}

TEST(BlockPool, a_small_tensor_takes_no_large_block) {
  BlockPool pool;
  const BlockPool::Use use(pool);
  const std::byte* small = nullptr;
  { const Tensor large(DataType::float32, {kElements}); }
  const std::size_t kept = pool.kept_bytes();
  {
    const Tensor first(DataType::float32, {1000});
    small = first.bytes();
    EXPECT_EQ(pool.kept_bytes(), kept);
  }
  EXPECT_EQ(Tensor(DataType::float32, {900}).bytes(), small);
}

TEST(BlockPool, blocks_of_any_size_can_be_written_to_their_ends) {
  for (const std::int64_t bytes : {1, 1000, 4096, (4 << 20) - 1, (4 << 20) + 1, (9 << 20) + 77}) {
    Tensor t = Tensor::uninitialized(DataType::uint8, {bytes});
    for (auto& x : t.mutable_data<std::uint8_t>()) x = 7;
    EXPECT_EQ(t.data<std::uint8_t>().back(), 7);
  }
}

TEST(BlockPool, tensors_may_outlive_their_pool_and_be_freed_on_another_thread) {
  Tensor t;
  {
    BlockPool pool;
    const BlockPool::Use use(pool);
    t = Tensor(DataType::uint8, {kElements});
  }
  EXPECT_EQ(t.data<std::uint8_t>()[0], 0);
  std::thread([t = std::move(t)]() mutable { t = Tensor(); }).join();
}

TEST(BlockPool, leaving_a_scope_restores_the_outer_pool) {
  BlockPool outer, inner;
  const BlockPool::Use use_outer(outer);
  { const BlockPool::Use use_inner(inner); }
  { const Tensor t(DataType::uint8, {kElements}); }
  EXPECT_GT(outer.kept_bytes(), 0U);
  EXPECT_EQ(inner.kept_bytes(), 0U);
}

}  // namespace
}  // namespace bitfold
