// The engine and the reference read nothing past the end of inputs and constants: their memory ends at an unmapped
// page.
#include <gtest/gtest.h>

#include <cstring>
#include <list>
#include <memory>

#include "bitfold/cpu.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/test_graphs.h"
#include "kernels/guarded_buffer.h"

namespace bitfold::engine {
namespace {

using Guarded = testing::GuardedBuffer<std::byte>;

/// The same tensor in guarded memory.
Tensor guarded(const Tensor& t) {
  const auto memory = std::make_shared<Guarded>(static_cast<std::int64_t>(t.size_bytes()));
  if (t.size_bytes() > 0) std::memcpy(memory->data(), t.bytes(), t.size_bytes());
  return Tensor::borrow(memory->data(), memory, t.dtype(), t.shape());
}

Graph with_guarded_constants(Graph graph) {
  for (ValueId id : graph.values())
    if (auto& constant = graph.value(id).constant) constant = guarded(*constant);
  return graph;
}

std::vector<Isa> all_isas() {
  std::vector<Isa> isas;
  for (int i = 0; i <= static_cast<int>(detected_isa()); ++i) isas.push_back(static_cast<Isa>(i));
  return isas;
}

void expect_no_overread(GraphBuilder& b, const std::vector<Shape>& shapes) {
  std::vector<Tensor> inputs, borrowed;
  for (const Shape& shape : shapes) {
    inputs.push_back(b.uniform_tensor(shape, -3, 3));
    borrowed.push_back(guarded(inputs.back()));
  }
  const Graph graph = with_guarded_constants(b.graph);
  EXPECT_EQ(Reference(graph).run(borrowed), Reference(b.graph).run(inputs));
  EXPECT_EQ(Reference(graph, {.plain_loops = true}).run(borrowed),
            Reference(b.graph, {.plain_loops = true}).run(inputs));
  for (Isa isa : all_isas())
    for (int threads : {1, 2}) {
      SCOPED_TRACE(::testing::Message() << to_string(isa) << ", " << threads << " threads");
      const SessionOptions options{.threads = threads, .isa = isa};
      EXPECT_EQ(Session(graph, options).run(borrowed), Session(b.graph, options).run(inputs));
    }
}

TEST(BorrowedMemory, is_not_read_past_its_end_by_an_integer_network) {
  GraphBuilder b = integer_network();
  expect_no_overread(b, {{1, 3, 8, 8}});
  expect_no_overread(b, {{3, 3, 8, 8}});
}

TEST(BorrowedMemory, is_not_read_past_its_end_by_integer_convolutions) {
  for (std::int64_t width : {1, 5, 7, 17})
    for (std::int64_t channels : {1, 3, 5}) {
      GraphBuilder b;
      const ValueId x = b.input({1, channels, 3, width}, unsigned_grid(0.02F, 100));
      const ValueId w = b.weights({7, channels, 1, 1}, 0);
      b.output(b.node(Conv{window(1, 1, 0), 1}, {x, w, b.bias(x, w)}, unsigned_grid(0.05F, 120)));
      expect_no_overread(b, {{1, channels, 3, width}});
    }
}

TEST(BorrowedMemory, is_not_read_past_its_end_by_float_layers) {
  for (std::int64_t size : {1, 3, 7, 9, 17, 33}) {
    GraphBuilder b;
    const ValueId x = b.input({2, 3, 5, size}, std::nullopt), flat = b.input({3, size}, std::nullopt);
    const auto constant = [&](const char* name, Shape shape) {
      return b.graph.add_constant(name, b.uniform_tensor(std::move(shape), -1, 1));
    };
    b.output(b.node(Conv{window(1, 1, 0), 1}, {x, constant("w", {5, 3, 1, 1}), constant("b", {5})}));
    b.output(b.node(Conv{window(3, 1, 1), 1}, {x, constant("w3", {5, 3, 3, 3})}));
    b.output(b.node(Gemm{}, {flat, constant("m", {size, 5}), constant("c", {5})}));
    b.output(b.node(MatMul{}, {flat, constant("n", {size, size})}));
    b.output(b.node(Unary{UnaryKind::relu}, {flat}));
    b.output(b.node(Binary{BinaryKind::add}, {flat, constant("a", {size})}));
    b.output(b.node(Transpose{{1, 0}}, {flat}));
    b.output(b.node(Softmax{-1, false, false}, {flat}));
    expect_no_overread(b, {{2, 3, 5, size}, {3, size}});
  }
}

TEST(BorrowedMemory, is_not_read_past_its_end_by_products_of_codes) {
  for (const bool is_conv : {false, true})
    for (const std::int64_t depth : {1, 3, 7, 17}) {
      Graph graph;
      const Shape shape = is_conv ? Shape{1, depth, 3, 1} : Shape{3, depth};
      Tensor codes(DataType::uint8, shape), weights(DataType::int8, is_conv ? Shape{5, depth, 1, 1} : Shape{depth, 5});
      const ValueId x = graph.add_input("x", DataType::uint8, shape), w = graph.add_constant("w", weights);
      const ValueId y =
          graph.add(is_conv ? Op{ConvInteger{window(1, 1, 0), 1}} : Op{MatMulInteger{}}, "y", {x, w}, "y");
      graph.value(y).dtype = DataType::int32;
      graph.mark_output(y);
      infer_shapes(graph);
      for (const Isa isa : all_isas())
        EXPECT_EQ(Session(graph, {.isa = isa}).run(std::vector{guarded(codes)}),
                  Reference(graph).run(std::vector{codes}));
    }
}

// A convolution of one plane reads the caller's memory as it is.
TEST(BorrowedMemory, is_not_read_past_its_end_by_a_planar_convolution) {
  for (std::int64_t width : {16, 17, 31, 33, 47}) {
    GraphBuilder b;
    const ValueId x = b.input({2, 1, 6, width}, std::nullopt);
    const ValueId w = b.graph.add_constant("w", b.uniform_tensor({3, 1, 3, 3}, -1, 1));
    const ValueId bias = b.graph.add_constant("b", b.uniform_tensor({3}, -1, 1));
    b.output(b.node(Conv{window(3, 1, 0), 1}, {x, w, bias}));
    expect_no_overread(b, {{2, 1, 6, width}});
  }
}

TEST(BorrowedMemory, is_not_read_past_the_end_of_a_constant_image) {
  GraphBuilder b;
  const ValueId x = b.input({1, 3, 4, 5}, unsigned_grid(0.02F, 100));
  const ValueId image = b.constant(Tensor(DataType::uint8, {1, 3, 4, 5}), unsigned_grid(0.02F, 100));
  const ValueId w = b.weights({8, 3, 1, 1}, 0);
  b.output(b.node(Conv{window(1, 1, 0), 1}, {image, w}, unsigned_grid(0.05F, 120)));
  b.output(b.node(Binary{BinaryKind::add}, {x, image}, unsigned_grid(0.05F, 120)));
  expect_no_overread(b, {{1, 3, 4, 5}});
}

}  // namespace
}  // namespace bitfold::engine
