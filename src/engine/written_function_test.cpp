// Functions that are written as several nodes run as one step and equal the plain loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/session_testing.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

class Writer : public GraphBuilder {
 public:
  ValueId add(ValueId a, ValueId b) { return node(Binary{BinaryKind::add}, {a, b}); }
  ValueId mul(ValueId a, ValueId b) { return node(Binary{BinaryKind::mul}, {a, b}); }
  ValueId div(ValueId a, ValueId b) { return node(Binary{BinaryKind::div}, {a, b}); }
  ValueId unary(UnaryKind kind, ValueId x) { return node(Unary{kind}, {x}); }
  ValueId clip(ValueId x, float low, float high) { return node(Clip{}, {x, scalar(low), scalar(high)}); }
};

using Form = std::function<ValueId(Writer&, ValueId)>;
const std::vector<std::pair<const char*, Form>>& forms() {
  static const std::vector<std::pair<const char*, Form>> all{
      {"swish", [](Writer& w, ValueId x) { return w.mul(x, w.unary(UnaryKind::sigmoid, x)); }},
      {"swish 1.702",
       [](Writer& w, ValueId x) { return w.mul(w.unary(UnaryKind::sigmoid, w.mul(w.scalar(1.702F), x)), x); }},
      {"hard swish by Div",
       [](Writer& w, ValueId x) { return w.div(w.mul(x, w.clip(w.add(x, w.scalar(3)), 0, 6)), w.scalar(6)); }},
      {"hard swish by HardSigmoid",
       [](Writer& w, ValueId x) {
         return w.mul(x, w.node(Parametric{ParametricKind::hard_sigmoid, 1.0F / 6, 0.5F}, {x}));
       }},
      {"mish",
       [](Writer& w, ValueId x) { return w.mul(x, w.unary(UnaryKind::tanh, w.unary(UnaryKind::softplus, x))); }},
      {"gelu",
       [](Writer& w, ValueId x) {
         const ValueId e = w.unary(UnaryKind::erf, w.div(x, w.scalar(1.41421356F)));
         return w.mul(w.mul(x, w.add(e, w.scalar(1))), w.scalar(0.5F));
       }},
      {"gelu tanh",
       [](Writer& w, ValueId x) {
         const ValueId cube = w.node(Binary{BinaryKind::pow}, {x, w.scalar(3)});
         const ValueId inner = w.mul(w.add(x, w.mul(cube, w.scalar(0.044715F))), w.scalar(0.79788456F));
         return w.mul(w.mul(w.scalar(0.5F), x), w.add(w.scalar(1), w.unary(UnaryKind::tanh, inner)));
       }},
  };
  return all;
}

void expect_equals_reference(Writer& w, const Shape& shape, std::size_t steps) {
  infer_shapes(w.graph);
  const std::vector<Tensor> inputs{w.uniform_tensor(shape, -6, 6)};
  const std::vector<Tensor> expected = Reference(w.graph, {.plain_loops = true}).run(inputs);
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni}) {
    if (isa > detected_isa()) continue;
    Session session(w.graph, {.isa = isa});
    expect_close(session.run(inputs), expected, 1e-5);
    const auto count =
        std::ranges::count_if(session.steps(), [](const StepInfo& s) { return s.op != "Layout" && s.op != "Output"; });
    EXPECT_EQ(static_cast<std::size_t>(count), steps);
  }
}

TEST(WrittenFunctions, run_as_one_step) {
  for (const auto& [name, form] : forms()) {
    SCOPED_TRACE(name);
    Writer w;
    w.output(form(w, w.input({2, 5, 7}, std::nullopt)));
    expect_equals_reference(w, {2, 5, 7}, 1);
  }
}

TEST(WrittenFunctions, run_in_the_step_of_the_layer_before) {
  for (const auto& [name, form] : forms()) {
    SCOPED_TRACE(name);
    Writer conv;
    const Shape image{1, 8, 9, 9};
    const Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, AutoPad::none};
    const ValueId w = conv.graph.add_constant("w", conv.uniform_tensor({16, 8, 3, 3}, -0.2F, 0.2F));
    conv.output(form(conv, conv.node(Conv{window, 1}, {conv.input(image, std::nullopt), w})));
    expect_equals_reference(conv, image, 1);
    Writer product;
    const ValueId b = product.graph.add_constant("b", product.uniform_tensor({12, 20}, -0.2F, 0.2F));
    product.output(form(product, product.node(MatMul{}, {product.input({3, 12}, std::nullopt), b})));
    expect_equals_reference(product, {3, 12}, 1);
  }
}

TEST(WrittenFunctions, stay_separate_if_a_value_between_has_another_reader_or_is_an_output) {
  for (const bool is_output : {false, true}) {
    Writer w;
    const ValueId x = w.input({2, 5, 7}, std::nullopt), s = w.unary(UnaryKind::sigmoid, x);
    w.output(w.mul(x, s));
    w.output(is_output ? s : w.unary(UnaryKind::exp, s));
    expect_equals_reference(w, {2, 5, 7}, is_output ? 2 : 3);
  }
}

TEST(WrittenFunctions, leave_other_readers_of_x_alone) {
  Writer w;
  const ValueId x = w.input({2, 5, 7}, std::nullopt), y = w.mul(x, w.unary(UnaryKind::sigmoid, x));
  w.output(w.add(y, w.unary(UnaryKind::neg, x)));
  expect_equals_reference(w, {2, 5, 7}, 3);
  // Other functions stay as they are written.
  Writer other;
  const ValueId z = other.input({2, 5, 7}, std::nullopt);
  other.output(other.mul(z, other.unary(UnaryKind::tanh, z)));
  expect_equals_reference(other, {2, 5, 7}, 2);
}

TEST(WrittenFunctions, leave_a_bound_in_its_place) {
  for (const auto& [name, form] : forms())
    for (const float bound : {20.0F, 1e6F}) {
      SCOPED_TRACE(name);
      Writer w;
      w.output(w.clip(form(w, w.input({2, 6}, std::nullopt)), -bound, bound));
      infer_shapes(w.graph);
      const std::vector<Tensor> inputs{
          Tensor::from<float>({2, 6}, std::vector<float>{-1e9F, -100, -3, -1, -0.5F, 0, 0.5F, 1, 3, 100, 1e5F, 1e9F})};
      Session session(w.graph);
      expect_close(session.run(inputs), Reference(w.graph, {.plain_loops = true}).run(inputs), 1e-5);
    }
}

TEST(WrittenFunctions, do_not_include_halves_and_functions_with_steps) {
  Writer halved;
  const ValueId x = halved.input({1, 3}, std::nullopt);
  halved.output(halved.mul(halved.mul(x, halved.scalar(2)), halved.scalar(0.25F)));
  infer_shapes(halved.graph);
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<Tensor> inputs{Tensor::from<float>({1, 3}, std::vector<float>{infinity, -infinity, 3})};
  EXPECT_EQ(Session(halved.graph).run(inputs)[0],
            Tensor::from<float>({1, 3}, std::vector<float>{infinity, -infinity, 1.5F}));
  Writer stepped;
  const ValueId z = stepped.input({2, 5}, std::nullopt);
  const ValueId step = stepped.node(Parametric{ParametricKind::thresholded_relu, 1e18F}, {z});
  stepped.output(stepped.add(stepped.mul(z, stepped.unary(UnaryKind::sigmoid, z)), step));
  expect_equals_reference(stepped, {2, 5}, 3);
}

TEST(WrittenFunctions, keep_nan_and_infinity) {
  for (const auto& [name, form] : forms()) {
    SCOPED_TRACE(name);
    Writer w;
    const ValueId b = w.graph.add_constant("b", Tensor::from<float>({1, 2}, std::vector<float>{1, 2}));
    w.output(form(w, w.node(MatMul{}, {w.input({3, 1}, std::nullopt), b})));
    infer_shapes(w.graph);
    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<Tensor> inputs{
        Tensor::from<float>({3, 1}, std::vector<float>{infinity, std::numeric_limits<float>::quiet_NaN(), 30})};
    Session session(w.graph);
    const Tensor y = session.run(inputs)[0];
    EXPECT_EQ(y.data<float>()[0], infinity);
    EXPECT_TRUE(std::isnan(y.data<float>()[2]));
    EXPECT_NEAR(y.data<float>()[4], 30, 1e-4);
  }
}

}  // namespace
}  // namespace bitfold::engine
