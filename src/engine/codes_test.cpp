// Codes and halves that nodes compute: the same bytes as in the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

void expect_equal_bytes(const Graph& graph, const Tensor& x) {
  const auto expected = Reference(graph).run({{x}});
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni}) {
    if (isa > detected_isa()) continue;
    Session session(graph, {.threads = 2, .isa = isa});
    const auto got = session.run({{x}});
    for (std::size_t o = 0; o < expected.size(); ++o)
      EXPECT_TRUE(std::equal(expected[o].bytes(), expected[o].bytes() + expected[o].size_bytes(), got[o].bytes())) << o;
    for (const StepInfo& step : session.steps()) EXPECT_FALSE(step.kernel.starts_with("reference")) << step.op;
  }
}

TEST(Codes, codes_and_halves_of_nodes_have_the_bytes_of_the_reference) {
  GraphBuilder b;
  Tensor image = b.uniform_tensor({2, 5, 7, 9}, -20, 20);
  image.mutable_data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  image.mutable_data<float>()[4] = INFINITY;
  image.mutable_data<float>()[5] = 2.5F * 0.1F;
  for (const bool is_signed : {false, true})
    for (const bool has_zero_point : {false, true}) {
      Graph graph;
      const ValueId x = graph.add_input("x", DataType::float32, image.shape());
      const ValueId scale = graph.add_constant("scale", Tensor::from<float>({}, std::vector<float>{0.1F}));
      const Tensor zero = is_signed ? Tensor::from<std::int8_t>({}, std::vector<std::int8_t>{-7})
                                    : Tensor::from<std::uint8_t>({}, std::vector<std::uint8_t>{7});
      QuantizeLinear quantize;
      quantize.output_dtype = zero.dtype();
      const ValueId codes = graph.add_value({.name = "codes"}), half = graph.add_value({.name = "half"}),
                    wide = graph.add_value({.name = "wide"});
      graph.add_node({.name = "q",
                      .op = quantize,
                      .inputs = {x, scale, has_zero_point ? graph.add_constant("zero", zero) : ValueId::none},
                      .outputs = {codes}});
      graph.add_node({.name = "h", .op = Cast{DataType::float16}, .inputs = {x}, .outputs = {half}});
      graph.add_node({.name = "w", .op = Cast{DataType::float32}, .inputs = {half}, .outputs = {wide}});
      for (ValueId id : {codes, half, wide}) graph.mark_output(id);
      infer_shapes(graph);
      expect_equal_bytes(graph, image);
    }
}

TEST(Codes, of_grids_per_channel_have_the_bytes_of_the_reference) {
  for (const std::optional<std::int64_t> axis : {std::optional<std::int64_t>(), std::optional<std::int64_t>(-1)})
    for (const bool is_signed : {false, true}) {
      GraphBuilder b;
      const Tensor image = b.uniform_tensor({2, 5, 7, 5}, -20, 20);
      Graph graph;
      const ValueId x = graph.add_input("x", DataType::float32, image.shape());
      const ValueId scale = graph.add_constant("scale", b.uniform_tensor({5}, 0.05F, 0.3F));
      const ValueId zero = graph.add_constant(
          "zero", is_signed ? Tensor::from<std::int8_t>({5}, std::vector<std::int8_t>{-7, 0, 100, -128, 127})
                            : Tensor::from<std::uint8_t>({5}, std::vector<std::uint8_t>{7, 0, 100, 128, 255}));
      QuantizeLinear quantize;
      quantize.axis = axis;
      const ValueId codes = graph.add_value({.name = "codes"});
      graph.add_node({.name = "q", .op = quantize, .inputs = {x, scale, zero}, .outputs = {codes}});
      graph.mark_output(codes);
      infer_shapes(graph);
      expect_equal_bytes(graph, image);
    }
}

TEST(Codes, of_computed_ranges_have_the_bytes_of_the_reference) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kLargest = std::numeric_limits<float>::max();
  GraphBuilder b;
  Tensor zeros(DataType::float32, {2, 3, 5}), with_nan = b.uniform_tensor({2, 3, 5}, -2, 3), wide = with_nan;
  with_nan.mutable_data<float>()[7] = kNan;
  wide.mutable_data<float>()[0] = kLargest;
  wide.mutable_data<float>()[1] = -kLargest;
  for (const Tensor& x : {b.uniform_tensor({2, 3, 5}, -2, 3), b.uniform_tensor({2, 3, 5}, 1, 3),
                          b.uniform_tensor({2, 3, 5}, -3, -1), zeros, with_nan, wide})
    for (const bool has_all : {false, true}) {
      Graph graph;
      const ValueId input = graph.add_input("x", DataType::float32, x.shape());
      std::vector<ValueId> outputs{graph.add_value({.name = "codes"}), ValueId::none, ValueId::none};
      if (has_all) outputs[1] = graph.add_value({.name = "scale"});
      outputs[2] = graph.add_value({.name = "zero"});
      graph.add_node({.name = "q", .op = DynamicQuantizeLinear{}, .inputs = {input}, .outputs = outputs});
      for (ValueId id : outputs)
        if (id != ValueId::none) graph.mark_output(id);
      infer_shapes(graph);
      expect_equal_bytes(graph, x);
    }
}

}  // namespace
}  // namespace bitfold::engine
