#include "ops/strided_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "op_testing.h"

namespace bitfold::testing {
namespace {

using ops::SourceIndices;
using ops::StridedCopy;

struct Level {
  std::int64_t size, to, from;
};

/// The offsets in `to` and `from` that a nest of loops visits, in order.
std::vector<std::pair<std::int64_t, std::int64_t>> visited(const std::vector<Level>& levels) {
  std::vector<std::pair<std::int64_t, std::int64_t>> offsets{{0, 0}};
  for (const Level& level : levels) {
    std::vector<std::pair<std::int64_t, std::int64_t>> all;
    for (const auto& [to, from] : offsets)
      for (std::int64_t i = 0; i < level.size; ++i) all.emplace_back(to + i * level.to, from + i * level.from);
    offsets = std::move(all);
  }
  return offsets;
}

template <class T>
void expect_copies(DataType dtype, const std::vector<Level>& levels, std::int64_t from_size, std::int64_t to_size) {
  std::vector<T> from(static_cast<std::size_t>(from_size)), to(static_cast<std::size_t>(to_size)), expected;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if constexpr (std::is_same_v<T, std::string>)
      from[i] = std::to_string(i);
    else
      from[i] = static_cast<T>(i + 1);
  }
  expected = to;
  StridedCopy copy;
  for (const Level& level : levels) copy.add(level.size, {level.to, level.from});
  for (const auto& [t, f] : visited(levels)) expected[static_cast<std::size_t>(t)] = from[static_cast<std::size_t>(f)];
  copy.run(dtype, reinterpret_cast<const std::byte*>(from.data()), reinterpret_cast<std::byte*>(to.data()));
  EXPECT_EQ(to, expected);
}

void expect_copies_every_type(const std::vector<Level>& levels, std::int64_t from_size, std::int64_t to_size) {
  std::string name;
  for (const Level& l : levels) name += fmt::format("{} (to {}, from {}) ", l.size, l.to, l.from);
  SCOPED_TRACE(name);
  expect_copies<std::uint8_t>(DataType::uint8, levels, from_size, to_size);
  expect_copies<std::uint16_t>(DataType::bfloat16, levels, from_size, to_size);
  expect_copies<float>(DataType::float32, levels, from_size, to_size);
  expect_copies<std::int64_t>(DataType::int64, levels, from_size, to_size);
  expect_copies<std::string>(DataType::string, levels, from_size, to_size);
}

TEST(StridedCopy, permutes_three_axes_of_every_size) {
  for (std::int64_t a : {1, 2, 3, 17})
    for (std::int64_t b : {1, 2, 4, 16, 35})
      for (std::int64_t c : {1, 3, 5, 33}) {
        const std::array<std::int64_t, 3> shape{a, b, c}, from{b * c, c, 1};
        std::array<std::size_t, 3> perm{0, 1, 2};
        do {
          std::vector<Level> levels;
          std::int64_t to = a * b * c;
          for (std::size_t axis : perm) levels.push_back({shape[axis], to /= shape[axis], from[axis]});
          expect_copies_every_type(levels, a * b * c, a * b * c);
        } while (std::next_permutation(perm.begin(), perm.end()));
      }
}

TEST(StridedCopy, steps_backward_skips_and_repeats) {
  expect_copies_every_type({{5, 1, 2}}, 9, 5);                          // every second element
  expect_copies_every_type({{5, 2, 1}}, 5, 9);                          // gaps
  expect_copies_every_type({{3, 7, 14}, {7, 1, 2}}, 42, 21);            // every second element of every second row
  expect_copies_every_type({{3, 20, 0}, {20, 1, 1}}, 20, 60);           // a repeated row
  expect_copies_every_type({{20, 3, 1}, {3, 1, 0}}, 20, 60);            // elements repeated three times
  expect_copies_every_type({{20, 30, 1}, {30, 1, 0}}, 20, 600);         // repeated more often
  expect_copies_every_type({{2, 1, 0}, {4, 8, 3}, {3, 2, 1}}, 12, 32);  // in any order
  expect_copies_every_type({}, 1, 1);
  expect_copies_every_type({{3, 1, 1}, {0, 1, 1}}, 3, 3);
  std::vector<int> from{1, 2, 3}, to(3);
  StridedCopy reverse;
  reverse.add(3, {1, -1});
  reverse.run(sizeof(int), reinterpret_cast<const std::byte*>(&from[2]), reinterpret_cast<std::byte*>(to.data()));
  EXPECT_EQ(to, (std::vector<int>{3, 2, 1}));
}

TEST(copy_indexed, reads_each_axis_through_its_list) {
  const Shape shape{3, 4, 5};
  std::vector<SourceIndices> lists{
      {}, {0}, {2, 1, 0}, {0, 0, 1, 1, 2, 2}, {2, 0, 0, 1}, {0, 1, 2, 0, 1, 2, 1, 2, 1, 1}};
  std::vector<float> from(60);
  std::iota(from.begin(), from.end(), 0.0F);
  for (const auto& a : lists)
    for (const auto& b : lists)
      for (const auto& c : lists) {
        const std::vector<SourceIndices> sources{a, b, c};
        const auto source = [&](std::size_t axis) {
          SourceIndices all = sources[axis];
          for (std::int64_t i = 0; sources[axis].empty() && i < shape[axis]; ++i) all.push_back(i);
          return all;
        };
        std::vector<float> expected;
        for (std::int64_t i : source(0))
          for (std::int64_t j : source(1))
            for (std::int64_t k : source(2)) expected.push_back(from[static_cast<std::size_t>((i * 4 + j) * 5 + k)]);
        std::vector<float> to(expected.size());
        ops::copy_indexed(DataType::float32, shape, sources, reinterpret_cast<const std::byte*>(from.data()),
                          reinterpret_cast<std::byte*>(to.data()));
        EXPECT_EQ(to, expected);
      }
}

}  // namespace
}  // namespace bitfold::testing
