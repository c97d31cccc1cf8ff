// ConvInteger and MatMulInteger: Session gives the same integers as Reference on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

/// How an optional zero point is given.
enum class Given { none, constant, computed };

struct Case {
  std::int64_t channels, filters, kernel, stride, pad, group;  ///< A kernel of 0 stands for a MatMulInteger.
  DataType weights = DataType::int8;
  Given x_zero = Given::computed;
  int w_zero = 0;            ///< 0: none.
  bool w_zero_each = false;  ///< One for each output channel.
  bool is_cast = false;      ///< Followed by a Cast to float32.
};

class Builder {
 public:
  explicit Builder(const Case& c) : c_(c) {
    const bool is_conv = c.kernel > 0;
    const Shape shape = is_conv ? Shape{2, c.channels, 9, 7} : Shape{2, 5, c.channels};
    std::vector<ValueId> in{add_input("x", shape)};
    in.push_back(
        graph.add_constant("w", bytes(c.weights, is_conv ? Shape{c.filters, c.channels / c.group, c.kernel, c.kernel}
                                                         : Shape{c.channels, c.filters})));
    in.push_back(c.x_zero == Given::none       ? ValueId::none
                 : c.x_zero == Given::computed ? add_input("x_zero", {})
                                               : graph.add_constant("x_zero", bytes(DataType::uint8, {})));
    if (c.w_zero != 0) {
      Tensor zero(c.weights, c.w_zero_each ? Shape{c.filters} : Shape{});
      auto* to = reinterpret_cast<std::uint8_t*>(zero.mutable_bytes());
      for (std::int64_t i = 0; i < zero.size(); ++i) to[i] = static_cast<std::uint8_t>(c.w_zero + i);
      in.push_back(graph.add_constant("w_zero", zero));
    }
    const Window window{.kernel = {c.kernel, c.kernel},
                        .strides = {c.stride, c.stride},
                        .dilations = {1, 1},
                        .pads = {c.pad, c.pad, c.pad, c.pad}};
    ValueId y = graph.add(is_conv ? Op{ConvInteger{window, c.group}} : Op{MatMulInteger{}}, "product", in, "y");
    graph.value(y).dtype = DataType::int32;
    if (c.is_cast) y = graph.add(Cast{DataType::float32}, "cast", {y}, "reals");
    graph.mark_output(y);
    infer_shapes(graph);
  }

  Graph graph;
  std::vector<Tensor> inputs;

 private:
  Tensor bytes(DataType type, Shape shape) {
    Tensor t(type, std::move(shape));
    auto* to = reinterpret_cast<std::uint8_t*>(t.mutable_bytes());
    for (std::int64_t i = 0; i < t.size(); ++i) to[i] = static_cast<std::uint8_t>(random_());
    return t;
  }
  ValueId add_input(const std::string& name, const Shape& shape) {
    inputs.push_back(bytes(DataType::uint8, shape));
    return graph.add_input(name, DataType::uint8, shape);
  }

  Case c_;
  std::mt19937 random_{5};
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> made;
    struct Size {
      std::int64_t channels, filters, kernel, stride, pad, group;
    };
    for (const Size& s : {Size{70, 33, 0, 1, 0, 1}, Size{8, 16, 3, 1, 1, 1}, Size{3, 20, 3, 2, 1, 1},
                          Size{8, 16, 1, 1, 0, 1}, Size{8, 16, 3, 2, 1, 4}, Size{16, 16, 3, 1, 1, 16}})
      for (const DataType type : {DataType::int8, DataType::uint8})
        for (const Given x_zero : {Given::none, Given::constant, Given::computed})
          for (const int w_zero : {0, 3, 128})
            for (const bool each : {false, true}) {
              if (type == DataType::int8 && w_zero == 128) continue;
              made.push_back({s.channels, s.filters, s.kernel, s.stride, s.pad, s.group, type, x_zero, w_zero, each,
                              made.size() % 2 == 0});
            }
    return made;
  }();
  return all;
}

TEST(CodeProducts, equal_the_reference) {
  int fast = 0;
  for (const Case& c : cases()) {
    const Builder b(c);
    const std::vector<Tensor> expected = Reference(b.graph).run(b.inputs);
    for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx}) {
      if (isa > detected_isa()) continue;
      for (const int threads : {1, 2}) {
        Session session(b.graph, {.threads = threads, .isa = isa});
        EXPECT_EQ(session.run(b.inputs), expected)
            << c.channels << " -> " << c.filters << ", kernel " << c.kernel << ", groups " << c.group;
        fast += std::ranges::any_of(session.steps(), [](const StepInfo& s) { return s.is_integer; }) ? 1 : 0;
      }
    }
  }
  EXPECT_GT(fast, 100);
}

TEST(CodeProducts, equal_the_reference_for_each_new_number_of_rows) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::uint8, Shape{kDynamic, 6});
  std::vector<std::uint8_t> weights, codes;
  for (int i = 0; i < 6 * 4; ++i) weights.push_back(static_cast<std::uint8_t>(37 * i));
  for (int i = 0; i < 9 * 6; ++i) codes.push_back(static_cast<std::uint8_t>(101 * i));
  const ValueId w = graph.add_constant("w", Tensor::from<std::uint8_t>({6, 4}, weights));
  const ValueId x_zero = graph.add_constant("x_zero", Tensor::from<std::uint8_t>({}, std::vector<std::uint8_t>{9}));
  const ValueId w_zero = graph.add_constant("w_zero", Tensor::from<std::uint8_t>({}, std::vector<std::uint8_t>{3}));
  const ValueId y = graph.add(MatMulInteger{}, "product", {x, w, x_zero, w_zero}, "y");
  graph.value(y).dtype = DataType::int32;
  graph.mark_output(y);
  infer_shapes(graph);
  Session session(graph);
  for (const std::int64_t rows : {5, 9, 1, 5}) {
    const auto count = static_cast<std::ptrdiff_t>(rows * 6);
    const std::vector<Tensor> inputs{
        Tensor::from<std::uint8_t>({rows, 6}, std::vector<std::uint8_t>(codes.begin(), codes.begin() + count))};
    EXPECT_EQ(session.run(inputs), Reference(graph).run(inputs)) << rows;
  }
}

TEST(CodeProducts, run_in_integers_unless_a_group_would_need_the_sums_of_x) {
  for (const Case& c : cases()) {
    const Builder b(c);
    // Unsigned weights without a zero point, or with a small one, do not fit int8.
    const bool fits = c.weights == DataType::uint8 && c.w_zero == 128 && !c.w_zero_each;
    const bool is_symmetric = c.weights == DataType::int8 && c.w_zero == 0;
    bool is_integer = false;
    const Session session(b.graph);
    for (const StepInfo& step : session.steps()) is_integer |= step.is_integer;
    const bool is_expected = c.group == 1 || fits || is_symmetric;
    EXPECT_TRUE(is_integer || !is_expected) << c.channels << " -> " << c.filters << ", kernel " << c.kernel;
  }
}

}  // namespace
}  // namespace bitfold::engine
