#include "bitfold/custom_ops.h"

#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bitfold/onnx.h"
#include "bitfold/quantize.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "numeric/random_tensor.h"
#include "onnx/wire.h"
#include "quantize/memory_source.h"
#include "testing.h"

namespace bitfold {
namespace {

std::string attribute(const char* name, float value) {
  onnx::AttributeProto proto;
  proto.set_name(name);
  proto.set_type(onnx::AttributeProto::FLOAT);
  proto.set_f(value);
  return proto.SerializeAsString();
}
std::string attribute(const char* name, const Tensor& value) {
  onnx::AttributeProto proto;
  proto.set_name(name);
  proto.set_type(onnx::AttributeProto::TENSOR);
  *proto.mutable_t() = write_tensor("", value);
  return proto.SerializeAsString();
}

/// test.Blend: a * first + (1 - a) * second, without broadcasting; the second output is the sum of all elements of each
/// row plus `shift`, a tensor attribute of one element.
CustomOperator blend() {
  return {.domain = "test",
          .name = "Blend",
          .min_inputs = 1,
          .max_inputs = 2,
          .output_count = 2,
          .infer = [](const CustomNode&, std::span<const ValueInfo> inputs) -> std::vector<ValueInfo> {
            if (inputs[0].shape && inputs[0].shape->empty()) throw Error("needs at least one axis");
            ValueInfo sums{.dtype = DataType::float32, .shape = inputs[0].shape};
            if (sums.shape) sums.shape->resize(1);
            return {{.dtype = DataType::float32, .shape = inputs[0].shape}, sums};
          },
          .evaluate =
              [](const CustomNode& node, std::span<const TensorView> inputs, std::span<const TensorView> outputs) {
                const auto share = node.attribute<float>("share", 0.5F);
                if (share > 1) throw Error("attribute 'share' is above 1");
                const auto shift = node.attribute<TensorAttribute>("shift", {});
                const float added = shift.bytes.empty() ? 0 : *reinterpret_cast<const float*>(shift.bytes.data());
                const bool has_second = inputs.size() > 1 && inputs[1].data != nullptr;
                const auto rows = static_cast<std::size_t>(inputs[0].shape[0]);
                const std::size_t size = static_cast<std::size_t>(inputs[0].size()) / std::max<std::size_t>(rows, 1);
                for (std::size_t i = 0; i < rows * size; ++i)
                  outputs[0].as<float>()[i] =
                      share * inputs[0].as<float>()[i] + (has_second ? (1 - share) * inputs[1].as<float>()[i] : 0);
                if (outputs.size() < 2 || outputs[1].data == nullptr) return;
                for (std::size_t row = 0; row < rows; ++row) {
                  const float* first = inputs[0].as<float>() + row * size;
                  outputs[1].as<float>()[row] = std::accumulate(first, first + size, added);
                }
              }};
}

class CustomOps : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { custom_operators().add(blend()); }
};

/// x -> Blend(x, relu(x)) -> y, sums.
Graph network(std::vector<std::string> attributes = {}) {
  Graph g;
  g.opset = 17;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 3});
  const ValueId r = g.add(Unary{UnaryKind::relu}, "r", {x}, "h");
  const ValueId y = g.add_value({.name = "y"}), sums = g.add_value({.name = "sums"});
  g.add_node({.name = "blend",
              .op = Opaque{.domain = "test", .type = "Blend", .attributes = std::move(attributes), .opset = 2},
              .inputs = {x, r},
              .outputs = {y, sums}});
  g.mark_output(y);
  g.mark_output(sums);
  return g;
}

template <class Function>
std::string refusal(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

const Tensor kX = Tensor::from<float>({2, 3}, std::vector<float>{1, -2, 3, -4, 5, -6});

TEST_F(CustomOps, run_in_reference_and_session_with_their_attributes) {
  const Tensor shift = Tensor::from<float>({1}, std::vector{10.0F});
  const Graph g = network({attribute("share", 0.25F), attribute("shift", shift)});
  const std::vector<Tensor> expected{Tensor::from<float>({2, 3}, std::vector<float>{1, -0.5F, 3, -1, 5, -1.5F}),
                                     Tensor::from<float>({2}, std::vector<float>{12, 5})};
  EXPECT_EQ(Reference(g).run(std::vector{kX}), expected);
  EXPECT_EQ(Session(g).run(std::vector{kX}), expected);
}

TEST_F(CustomOps, survive_a_file_and_give_later_nodes_a_type) {
  Graph g = network({attribute("share", 0.25F)});
  g.mark_output(g.add(Unary{UnaryKind::relu}, "after", {g.find("sums")}, "z"));
  const testing::TemporaryFolder folder;
  save_onnx(g, (folder / "custom.onnx").string());
  const Graph again = load_onnx((folder / "custom.onnx").string());
  const Node& node = again.node(again.producer(again.find("y")));
  EXPECT_EQ(std::get<Opaque>(node.op), std::get<Opaque>(g.node(g.producer(g.find("y"))).op));
  EXPECT_EQ(again.value(again.find("z")).dtype, DataType::float32);
  EXPECT_EQ(again.value(again.find("z")).shape, Shape{kDynamic});
  EXPECT_EQ(Session(again).run(std::vector{kX}), Reference(g).run(std::vector{kX}));
}

TEST_F(CustomOps, stay_in_float_between_quantized_layers) {
  Graph g;
  const Window window{.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4, 6, 6});
  const auto conv = [&](const std::string& name, ValueId in) {
    const ValueId w = g.add_constant(name + ".w", testing::random_tensor({4, 4, 1, 1}, 3));
    return g.add(Conv{.window = window}, name, {in, w}, name + "_y");
  };
  const ValueId h = conv("c1", x);
  const ValueId y = g.add_value({.name = "blended"});
  g.add_node({.name = "blend", .op = Opaque{.domain = "test", .type = "Blend"}, .inputs = {h}, .outputs = {y}});
  g.mark_output(conv("c2", y));
  testing::MemorySource source(testing::random_tensor({16, 4, 6, 6}, 7));
  const QuantizeResult result = quantize(g, source);
  EXPECT_TRUE(result.left.empty());
  EXPECT_FALSE(result.part);
  const Graph& q = result.graph;
  for (const char* weights : {"c1.w", "c2.w"}) EXPECT_TRUE(q.value(q.find(weights)).quant) << weights;
  const std::vector<Tensor> inputs{testing::random_tensor({2, 4, 6, 6}, 9)};
  const Tensor simulated = Reference(q).run(inputs)[0], run = Session(q).run(inputs)[0];
  const Tensor real = Reference(g).run(inputs)[0];
  double noise = 0, power = 0;
  for (std::size_t i = 0; i < run.data<float>().size(); ++i) {
    EXPECT_NEAR(run.data<float>()[i], simulated.data<float>()[i], 1e-4F);
    noise += std::pow(run.data<float>()[i] - real.data<float>()[i], 2);
    power += std::pow(real.data<float>()[i], 2);
  }
  EXPECT_LT(noise, power / 316);  // 25 dB
}

TEST_F(CustomOps, errors_of_their_functions_name_the_node) {
  const Graph bad = network({attribute("share", 2)});
  const std::string expected = "[test.Blend 'blend'] attribute 'share' is above 1";
  EXPECT_EQ(refusal([&] { Reference(bad).run(std::vector{kX}); }), expected);
  EXPECT_EQ(refusal([&] { Session(bad).run(std::vector{kX}); }), expected);
  const Graph wrong = network({attribute("share", kX)});
  EXPECT_NE(refusal([&] { Session(wrong).run(std::vector{kX}); }).find("attribute 'share' has a type"),
            std::string::npos);
  Graph many = network();
  const NodeId node = many.producer(many.find("y"));
  many.add_input_slot(node, many.find("h"));
  EXPECT_EQ(refusal([&] { infer_values(many); }), "[test.Blend 'blend'] has 3 inputs, but accepts 1 to 2");
  Graph scalar;
  const ValueId s = scalar.add_input("s", DataType::float32, {});
  scalar.mark_output(scalar.add(Opaque{.domain = "test", .type = "Blend"}, "blend", {s}, "y"));
  EXPECT_EQ(refusal([&] { infer_values(scalar); }), "[test.Blend 'blend'] needs at least one axis");
}

TEST_F(CustomOps, types_that_functions_do_not_receive_are_refused) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float16, {2, 3});
  g.mark_output(g.add(Opaque{.domain = "test", .type = "Blend"}, "blend", {x}, "y"));
  EXPECT_NE(
      refusal([&] { Reference{g}; }).find("1 x test.Blend (first: [test.Blend 'blend']: input 'inputs' is float16"),
      std::string::npos);
}

TEST_F(CustomOps, names_that_are_taken_are_refused) {
  EXPECT_EQ(refusal([] { custom_operators().add(blend()); }), "operator test.Blend is registered twice");
  CustomOperator conv = blend();
  conv.domain = "";
  conv.name = "Conv";
  EXPECT_EQ(refusal([&] { custom_operators().add(conv); }), "operator Conv: Bitfold has an operator of that name");
  conv.name = "Convolve";
  conv.evaluate = nullptr;
  EXPECT_NE(refusal([&] { custom_operators().add(conv); }).find("lacks its function"), std::string::npos);
}

TEST_F(CustomOps, a_shape_rule_with_the_wrong_number_of_outputs_is_refused) {
  CustomOperator wrong = blend();
  wrong.name = "Wrong";
  wrong.output_count = 3;
  custom_operators().add(wrong);
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2, 3});
  g.mark_output(g.add(Opaque{.domain = "test", .type = "Wrong"}, "w", {x}, "y"));
  EXPECT_EQ(refusal([&] { infer_values(g); }),
            "[test.Wrong 'w'] its shape rule returned 2 outputs; it was registered with 3");
}

TEST_F(CustomOps, libraries_that_cannot_be_used_are_named) {
  const std::string text = refusal([] { load_custom_operators("/nowhere/lib.so"); });
  EXPECT_NE(text.find("/nowhere/lib.so: cannot be loaded"), std::string::npos) << text;
}

}  // namespace
}  // namespace bitfold
