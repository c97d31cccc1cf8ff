// Channels-last and channels-first images give the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "bitfold/reference.h"
#include "numeric/random_tensor.h"

namespace bitfold {
namespace {

using testing::random_tensor;

Window window(std::int64_t kernel, std::int64_t stride, std::int64_t pad) {
  return {.kernel = {kernel, kernel}, .strides = {stride, stride}, .dilations = {1, 1}, .pads = {pad, pad, pad, pad}};
}

/// Convolutions, operators that run in either order, and operators that need one order.
Graph network(std::int64_t size) {
  Graph g;
  const auto conv = [&](const std::string& name, ValueId x, std::int64_t in, std::int64_t out, std::int64_t kernel) {
    const ValueId w = g.add_constant(name + "_w", random_tensor({out, in, kernel, kernel}, static_cast<unsigned>(out)));
    return g.add(Conv{.window = window(kernel, 1, kernel / 2)}, name + "_node", {x, w}, name);
  };
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 3, size, size});
  const ValueId a = conv("a", x, 3, 16, 3);
  const ValueId l = g.add(Parametric{ParametricKind::leaky_relu, 0.1F}, "l_node", {a}, "l");
  const ValueId p = g.add(Pool{.window = window(2, 2, 0)}, "p_node", {l}, "p");
  const ValueId b = conv("b", p, 16, 16, 1);
  const ValueId s = g.add(Binary{BinaryKind::add}, "s_node", {b, p}, "s");
  const ValueId twice =
      g.add(Binary{BinaryKind::mul}, "twice_node", {s, g.add_constant("two", random_tensor({1}, 5))}, "twice");
  const ValueId lowest = g.add_constant("lowest", Tensor::from<float>({}, std::vector<float>{-0.5F}));
  const ValueId c = g.add(Clip{}, "c_node", {conv("d", twice, 16, 20, 3), lowest}, "c");
  const ValueId q = g.add(Pool{.window = window(3, 2, 1)}, "q_node", {c}, "q");
  const ValueId r = g.add(Unary{UnaryKind::relu}, "r_node", {conv("e", q, 20, 20, 3)}, "r");
  const ValueId both = g.add(Concat{1}, "both_node", {q, r, r}, "both");
  g.mark_output(g.add(GlobalPool{}, "y_node", {both}, "y"));
  g.mark_output(r);
  g.mark_output(g.add(Binary{BinaryKind::add}, "z_node", {r, r}, "z"));
  infer_shapes(g);
  return g;
}

using Seen = std::map<ValueId, Tensor>;

std::vector<Tensor> run(const Graph& graph, const Tensor& x, bool any_order, Seen& seen) {
  const auto note = [&](ValueId id, const Tensor& t) { seen[id] = t; };
  return Reference(graph, {.on_value = note, .any_order = any_order}).run(std::vector<Tensor>{x});
}

TEST(ImageLayouts, both_layouts_give_the_same_bits) {
  for (const std::int64_t size : {2, 7, 16})
    for (const std::int64_t batch : {1, 3}) {
      const Graph graph = network(size);
      const Tensor x = random_tensor({batch, 3, size, size}, 9);
      Seen first, any;
      const auto expected = run(graph, x, false, first), by_any = run(graph, x, true, any);
      EXPECT_EQ(by_any, expected);
      EXPECT_EQ(Reference(graph).run(std::vector<Tensor>{x}), expected);
      ASSERT_EQ(any.size(), first.size());
      for (auto& [id, tensor] : first) {
        ASSERT_EQ(any[id].shape(), tensor.shape());
        // Each sample has the same elements.
        const auto a = tensor.mutable_data<float>(), b = any[id].mutable_data<float>();
        const auto elements = a.size() / static_cast<std::size_t>(batch);
        for (std::size_t n = 0; n < a.size(); n += elements) {
          std::sort(a.begin() + static_cast<std::ptrdiff_t>(n), a.begin() + static_cast<std::ptrdiff_t>(n + elements));
          std::sort(b.begin() + static_cast<std::ptrdiff_t>(n), b.begin() + static_cast<std::ptrdiff_t>(n + elements));
        }
        EXPECT_EQ(any[id], tensor) << graph.value(id).name;
      }
    }
}

TEST(ImageLayouts, run_node_gives_channels_first_images) {
  const Graph graph = network(8);
  const Tensor x = random_tensor({2, 3, 8, 8}, 9);
  Seen first;
  run(graph, x, false, first);
  const Reference reference(graph);
  for (NodeId id : graph.nodes()) {
    std::vector<Tensor> inputs;
    for (ValueId in : graph.node(id).inputs) inputs.push_back(graph.is_constant(in) ? Tensor() : first.at(in));
    EXPECT_EQ(reference.run_node(id, inputs)[0], first.at(graph.node(id).outputs[0])) << graph.node(id).name;
  }
}

}  // namespace
}  // namespace bitfold
