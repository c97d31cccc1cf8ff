// Reductions, extremes, running sums and normalizations of tensors that are longer than a vector register and a block.
#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "numeric/random_tensor.h"
#include "op_testing.h"

namespace bitfold::testing {
namespace {

/// Calls visit(the reduced elements) for each output of a reduction of a tensor of 3 axes, in order.
template <class T>
void for_each_group(const Tensor& x, std::vector<bool> is_reduced, const std::function<void(std::vector<T>)>& visit) {
  const Shape& s = x.shape();
  const auto range = [&](std::size_t axis, bool wanted) { return is_reduced[axis] == wanted ? s[axis] : 1; };
  const auto data = x.data<T>();
  for (std::int64_t a = 0; a < range(0, false); ++a)
    for (std::int64_t b = 0; b < range(1, false); ++b)
      for (std::int64_t c = 0; c < range(2, false); ++c) {
        std::vector<T> group;
        for (std::int64_t d = 0; d < range(0, true); ++d)
          for (std::int64_t e = 0; e < range(1, true); ++e)
            for (std::int64_t f = 0; f < range(2, true); ++f)
              group.push_back(data[static_cast<std::size_t>(((a + d) * s[1] + b + e) * s[2] + c + f)]);
        visit(std::move(group));
      }
}

const std::vector<Shape> kShapes{{3, 5, 67},   {2, 131, 3}, {5, 1, 300}, {70, 2, 1}, {1, 1, 1},
                                 {2, 3, 1000}, {4, 3, 7},   {3, 2, 32},  {2, 3, 1}};

void for_each_reduction(const std::function<void(const Shape&, std::vector<bool>, const Tensor&)>& check) {
  for (const Shape& shape : kShapes)
    for (int subset = 1; subset < 8; ++subset) {
      std::vector<std::int64_t> axes;
      std::vector<bool> is_reduced;
      for (int axis = 0; axis < 3; ++axis) {
        is_reduced.push_back((subset >> axis & 1) != 0);
        if (is_reduced.back()) axes.push_back(axis);
      }
      SCOPED_TRACE(to_string(shape) + fmt::format(" subset {}", subset));
      check(shape, is_reduced, int64s(axes));
    }
}

TEST(Reduce, any_axes_give_the_values_of_a_plain_loop) {
  for_each_reduction([](const Shape& shape, const std::vector<bool>& is_reduced, const Tensor& axes) {
    const Tensor x = random_tensor(shape, 3);
    std::vector<float> sums, means, highest, lowest, norms, totals;
    for_each_group<float>(x, is_reduced, [&](const std::vector<float>& group) {
      double sum = 0, squares = 0, sizes = 0;
      for (float v : group) {
        sum += v;
        squares += static_cast<double>(v) * v;
        sizes += std::abs(v);
      }
      sums.push_back(static_cast<float>(sum));
      means.push_back(static_cast<float>(sum / static_cast<double>(group.size())));
      norms.push_back(static_cast<float>(std::sqrt(squares)));
      totals.push_back(static_cast<float>(sizes));
      highest.push_back(*std::ranges::max_element(group));
      lowest.push_back(*std::ranges::min_element(group));
    });
    const auto expect = [&](ReduceKind kind, const std::vector<float>& expected) {
      expect_equal(run_op(Reduce{kind, false}, {x, axes})[0].reshaped({static_cast<std::int64_t>(expected.size())}),
                   floats({static_cast<std::int64_t>(expected.size())}, expected));
    };
    expect(ReduceKind::sum, sums);
    expect(ReduceKind::mean, means);
    expect(ReduceKind::max, highest);
    expect(ReduceKind::min, lowest);
    expect(ReduceKind::l2, norms);
    expect(ReduceKind::l1, totals);
  });
}

TEST(Reduce, integers_of_any_axes_are_exact) {
  for_each_reduction([](const Shape& shape, const std::vector<bool>& is_reduced, const Tensor& axes) {
    Tensor x(DataType::int64, shape), bytes(DataType::int8, shape);
    std::int64_t next = 1;
    for (std::size_t i = 0; i < x.data<std::int64_t>().size(); ++i) {
      next = next * 1103515245 % 2147483647;
      x.mutable_data<std::int64_t>()[i] = next - 1000000000;
      bytes.mutable_data<std::int8_t>()[i] = static_cast<std::int8_t>(next % 251 - 125);
    }
    std::vector<std::int64_t> sums;
    for_each_group<std::int64_t>(x, is_reduced, [&](const std::vector<std::int64_t>& group) {
      sums.push_back(std::accumulate(group.begin(), group.end(), std::int64_t{0}));
    });
    const auto sum = run_op(Reduce{ReduceKind::sum, false}, {x, axes})[0];
    EXPECT_TRUE(std::ranges::equal(sum.data<std::int64_t>(), sums));
    std::vector<std::int8_t> lowest;
    for_each_group<std::int8_t>(bytes, is_reduced, [&](const std::vector<std::int8_t>& group) {
      lowest.push_back(*std::ranges::min_element(group));
    });
    EXPECT_TRUE(
        std::ranges::equal(run_op(Reduce{ReduceKind::min, false}, {bytes, axes})[0].data<std::int8_t>(), lowest));
  });
}

TEST(Reduce, nan_reaches_the_result_from_any_place) {
  for (const auto& [length, place] :
       {std::pair{100, 0U}, std::pair{100, 1U}, std::pair{100, 99U}, std::pair{5, 4U}, std::pair{300, 0U},
        std::pair{300, 63U}, std::pair{300, 64U}, std::pair{300, 299U}}) {
    Tensor x = random_tensor({1, length}, 4);
    x.mutable_data<float>()[place] = kNan;
    for (const ReduceKind kind : {ReduceKind::max, ReduceKind::min, ReduceKind::sum})
      for (const Tensor& along : {x, x.reshaped({length, 1})}) {
        const Tensor axes = int64s({along.dim(0) == 1 ? 1 : 0});
        EXPECT_TRUE(std::isnan(run_op(Reduce{kind, false}, {along, axes})[0].data<float>()[0]));
      }
  }
}

TEST(Reduce, nothing_gives_the_neutral_element) {
  const Tensor x = floats({2, 0, 2}, {});
  expect_op(Reduce{ReduceKind::sum, false}, {x, int64s({1})}, floats({2, 2}, {0, 0, 0, 0}));
  expect_op(Reduce{ReduceKind::max, false}, {x, int64s({1})},
            floats({2, 2}, {-kInfinity, -kInfinity, -kInfinity, -kInfinity}));
  expect_op(Reduce{ReduceKind::prod, false}, {floats({2, 0}, {}), int64s({1})}, floats({2}, {1, 1}));
}

TEST(ArgReduce, finds_extremes_in_long_vectors_along_any_axis) {
  for (const Shape& shape : kShapes)
    for (std::size_t axis = 0; axis < 3; ++axis)
      for (const bool is_max : {true, false}) {
        SCOPED_TRACE(to_string(shape) + fmt::format(" axis {}", axis));
        Tensor x = random_tensor(shape, 5, 3);
        for (float& v : x.mutable_data<float>()) v = std::nearbyint(v);  // ties
        std::vector<bool> is_reduced(3);
        is_reduced[axis] = true;
        std::vector<std::int64_t> first, last;
        for_each_group<float>(x, is_reduced, [&](const std::vector<float>& group) {
          const float best = is_max ? *std::ranges::max_element(group) : *std::ranges::min_element(group);
          first.push_back(std::ranges::find(group, best) - group.begin());
          last.push_back(std::find(group.rbegin(), group.rend(), best).base() - 1 - group.begin());
        });
        const auto find = [&](bool finds_last) {
          return run_op(ArgReduce{is_max, static_cast<std::int64_t>(axis), false, finds_last}, {x})[0];
        };
        EXPECT_TRUE(std::ranges::equal(find(false).data<std::int64_t>(), first));
        EXPECT_TRUE(std::ranges::equal(find(true).data<std::int64_t>(), last));
      }
}

TEST(ArgReduce, nan_is_found_in_the_first_place_only) {
  expect_op(ArgReduce{true, 1, false, false}, {floats({3, 3}, {kNan, 1, 2, 1, kNan, 2, kNan, kNan, kNan})},
            int64s({0, 2, 0}));
  expect_op(ArgReduce{true, 0, false, true}, {floats({3, 3}, {kNan, 1, kNan, 1, kNan, kNan, 2, 1, kNan})},
            int64s({0, 2, 0}));
}

TEST(Hardmax, marks_one_element_of_each_long_vector) {
  const Tensor x = random_tensor({2, 70, 3}, 6);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const Tensor y = run_op(Hardmax{static_cast<std::int64_t>(axis)}, {x})[0];
    std::vector<bool> is_reduced(3);
    is_reduced[axis] = true;
    std::vector<std::ptrdiff_t> expected;
    for_each_group<float>(x, is_reduced, [&](const std::vector<float>& group) {
      expected.push_back(std::ranges::max_element(group) - group.begin());
    });
    std::size_t next = 0;
    for_each_group<float>(y, is_reduced, [&](const std::vector<float>& group) {
      EXPECT_EQ(std::ranges::count(group, 1.0F), 1);
      EXPECT_EQ(std::ranges::count(group, 0.0F), std::ssize(group) - 1);
      EXPECT_EQ(std::ranges::find(group, 1.0F) - group.begin(), expected[next++]);
    });
  }
}

TEST(Cumulative, sums_run_along_any_axis_of_a_long_tensor) {
  const Tensor x = iota({2, 3, 300});
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const Tensor y = run_op(Cumulative{.exclusive = true}, {x, int64s({}, {static_cast<std::int64_t>(axis)})})[0];
    std::vector<bool> is_reduced(3);
    is_reduced[axis] = true;
    std::vector<std::vector<float>> expected;
    for_each_group<float>(x, is_reduced, [&](std::vector<float> group) {
      double total = 0;
      for (float& v : group) v = static_cast<float>(std::exchange(total, total + v));
      expected.push_back(group);
    });
    std::size_t next = 0;
    for_each_group<float>(y, is_reduced, [&](const std::vector<float>& group) { EXPECT_EQ(group, expected[next++]); });
  }
}

TEST(Normalizations, long_rows_have_mean_0_and_deviation_1) {
  Tensor x = random_tensor({2, 3, 17, 19}, 7);
  for (float& v : x.mutable_data<float>()) v = 5 + 3 * v;
  const Tensor ones = floats({3}, {1, 1, 1}), zeros = floats({3}, {0, 0, 0});
  const std::vector<Tensor> results{run_op(InstanceNorm{}, {x, ones, zeros})[0],
                                    run_op(GroupNorm{.num_groups = 3}, {x, ones, zeros})[0],
                                    run_op(MeanVarianceNorm{.axes = {2, 3}}, {x})[0]};
  for (const Tensor& y : results)
    for_each_group<float>(y.reshaped({6, 1, 17 * 19}), {false, false, true}, [&](const std::vector<float>& group) {
      double sum = 0, squares = 0;
      for (float v : group) {
        sum += v;
        squares += static_cast<double>(v) * v;
      }
      EXPECT_NEAR(sum / 323, 0, 1e-6);
      EXPECT_NEAR(squares / 323, 1, 1e-4);
    });
  // Over axes before the last one
  const Tensor over_batch = run_op(MeanVarianceNorm{.axes = {0, 1}}, {x})[0];
  for_each_group<float>(
      over_batch.reshaped({6, 1, 17 * 19}), {true, true, false},
      [&](const std::vector<float>& group) { EXPECT_NEAR(std::accumulate(group.begin(), group.end(), 0.0), 0, 1e-5); });
}

TEST(LpNorm, vectors_along_any_axis_have_norm_1) {
  const Tensor x = random_tensor({2, 70, 300}, 9);
  for (std::size_t axis = 0; axis < 3; ++axis)
    for (const std::int64_t p : {1, 2}) {
      std::vector<bool> is_reduced(3);
      is_reduced[axis] = true;
      const Tensor y = run_op(LpNorm{.axis = static_cast<std::int64_t>(axis), .p = p}, {x})[0];
      for_each_group<float>(y, is_reduced, [&](const std::vector<float>& group) {
        double sum = 0;
        for (float v : group) sum += p == 1 ? std::abs(static_cast<double>(v)) : static_cast<double>(v) * v;
        EXPECT_NEAR(sum, 1, 1e-5);
      });
    }
}

TEST(GlobalPool, gives_the_mean_and_the_maximum_of_long_planes) {
  const Tensor x = random_tensor({2, 3, 17, 19}, 8);
  std::vector<float> means, highest;
  for_each_group<float>(x.reshaped({6, 1, 17 * 19}), {false, false, true}, [&](const std::vector<float>& group) {
    means.push_back(static_cast<float>(std::accumulate(group.begin(), group.end(), 0.0) / 323));
    highest.push_back(*std::ranges::max_element(group));
  });
  expect_op(GlobalPool{PoolKind::average}, {x}, floats({2, 3, 1, 1}, means));
  expect_op(GlobalPool{PoolKind::max}, {x}, floats({2, 3, 1, 1}, highest));
}

}  // namespace
}  // namespace bitfold::testing
