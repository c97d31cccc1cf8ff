// Weights that many nodes share are quantized, stored and packed once.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "bitfold/calibrate.h"
#include "bitfold/onnx.h"
#include "bitfold/quantize.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "error_testing.h"
#include "numeric/random_tensor.h"
#include "quantize/memory_source.h"
#include "testing.h"

namespace bitfold::testing {
namespace {

constexpr std::int64_t kInputs = 128, kHidden = 256, kGates = 4 * kHidden;

/// An LSTM unrolled over its steps, as frameworks export a loop. The cells share their weights, or each has a copy.
class UnrolledLstm {
 public:
  explicit UnrolledLstm(int cells, bool shares = true) : shares_(shares) {
    const ValueId x = graph.add_input("x", DataType::float32, {1, cells * kInputs});
    axis_ = integers("axis", {1});
    ValueId h = slice(x, "h0_part", 0, kInputs);
    h = graph.add(MatMul{}, "start", {h, graph.add_constant("S", random_tensor({kInputs, kHidden}, 9, 0.05F))}, "h0");
    ValueId c = h;
    for (int t = 0; t < cells; ++t) add_cell(t, slice(x, fmt::format("x{}", t), t * kInputs, kInputs), h, c);
    graph.mark_output(h);
  }

  Graph graph;

 private:
  ValueId integers(const std::string& name, std::vector<std::int64_t> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    return graph.add_constant(graph.unique_name(name), Tensor::from<std::int64_t>({count}, values));
  }
  ValueId slice(ValueId from, const std::string& name, std::int64_t start, std::int64_t size) {
    return graph.add(Slice{}, name, {from, integers("start", {start}), integers("end", {start + size}), axis_}, name);
  }
  ValueId weights(const std::string& name, const Tensor& tensor) {
    const ValueId known = graph.find(name);
    return shares_ && known != ValueId::none ? known : graph.add_constant(graph.unique_name(name), tensor);
  }
  void add_cell(int t, ValueId x, ValueId& h, ValueId& c) {
    const auto name = [&](const char* stem) { return fmt::format("{}_{}", stem, t); };
    const ValueId w = weights("W", random_tensor({kInputs, kGates}, 1, 0.05F));
    const ValueId r = weights("R", random_tensor({kHidden, kGates}, 2, 0.05F));
    const ValueId b = weights("B", random_tensor({kGates}, 3, 0.1F));
    const ValueId from_x = graph.add(Gemm{}, name("from_x"), {x, w, b}, name("from_x"));
    const ValueId from_h = graph.add(MatMul{}, name("from_h"), {h, r}, name("from_h"));
    const ValueId all = graph.add(Binary{BinaryKind::add}, name("gates"), {from_x, from_h}, name("gates"));
    const auto gate = [&](const char* stem, int index, UnaryKind kind) {
      return graph.add(Unary{kind}, name(stem), {slice(all, name(stem) + "_part", index * kHidden, kHidden)},
                       name(stem));
    };
    const ValueId i = gate("i", 0, UnaryKind::sigmoid), o = gate("o", 1, UnaryKind::sigmoid);
    const ValueId f = gate("f", 2, UnaryKind::sigmoid), g = gate("g", 3, UnaryKind::tanh);
    const Binary mul{BinaryKind::mul};
    const ValueId kept = graph.add(mul, name("kept"), {f, c}, name("kept"));
    const ValueId added = graph.add(mul, name("added"), {i, g}, name("added"));
    c = graph.add(Binary{BinaryKind::add}, name("c"), {kept, added}, name("c"));
    h = graph.add(mul, name("h"), {o, graph.add(Unary{UnaryKind::tanh}, name("tanh"), {c}, name("tanh"))}, name("h"));
  }

  bool shares_;
  ValueId axis_ = ValueId::none;
};

Tensor samples(int cells) { return random_tensor({16, cells * kInputs}, 7); }

QuantizeResult quantized(const Graph& graph, int cells, const Recipe& recipe = {}) {
  MemorySource source(samples(cells));
  return quantize(graph, &source, recipe);
}

/// The constants with a grid of `bits` bits.
std::set<ValueId> codes(const Graph& graph, int bits) {
  std::set<ValueId> found;
  for (ValueId id : graph.values())
    if (graph.is_constant(id) && graph.value(id).quant && graph.value(id).quant->bits == bits) found.insert(id);
  return found;
}

TEST(SharedWeights, the_quantized_file_of_an_unrolled_lstm_has_a_third_of_the_size) {
  const TemporaryFolder folder;
  const UnrolledLstm lstm(8);
  const auto file_size = [&](const Graph& graph, const char* name) {
    save_onnx(graph, (folder / name).string());
    return static_cast<double>(std::filesystem::file_size(folder / name));
  };
  const double before = file_size(lstm.graph, "float.onnx");
  const Graph graph = quantized(lstm.graph, 8).graph;
  EXPECT_EQ(codes(graph, 8).size(), 3U);  // W, R and S
  const double after = file_size(graph, "int8.onnx");
  EXPECT_LE(after / before, 0.35) << before << " -> " << after;
  Graph loaded = load_onnx((folder / "int8.onnx").string());
  EXPECT_EQ(codes(loaded, 8).size(), 3U);
  const std::vector<Tensor> inputs{random_tensor({1, 8 * kInputs}, 8)};
  EXPECT_EQ(Session(loaded).run(inputs), Session(graph).run(inputs));
}

TEST(SharedWeights, packed_weights_do_not_grow_with_the_number_of_cells) {
  for (const bool is_integer : {true, false}) {
    const auto packed = [&](int cells) {
      const UnrolledLstm lstm(cells);
      return Session(is_integer ? quantized(lstm.graph, cells).graph : lstm.graph).packed_weight_bytes();
    };
    const std::size_t one = packed(1);
    EXPECT_GE(one, static_cast<std::size_t>((kInputs + kHidden) * kGates) * (is_integer ? 1 : sizeof(float)));
    EXPECT_EQ(packed(8), one) << (is_integer ? "integers" : "floats");
  }
}

TEST(SharedWeights, give_the_results_of_weights_that_each_node_has_for_itself) {
  const UnrolledLstm shared(8), separate(8, false);
  MemorySource source(samples(8));
  const Calibration calibration = calibrate(shared.graph, source, {.values = values_to_calibrate(shared.graph, {})});
  const Graph a = quantize(shared.graph, calibration).graph, b = quantize(separate.graph, calibration).graph;
  const std::vector<Tensor> inputs{random_tensor({1, 8 * kInputs}, 8)};
  EXPECT_EQ(Session(a).run(inputs), Session(b).run(inputs));
  const Tensor run = Session(a).run(inputs)[0], simulated = Reference(a).run(inputs)[0];
  for (std::size_t i = 0; i < kHidden; ++i) ASSERT_NEAR(run.data<float>()[i], simulated.data<float>()[i], 0.02) << i;
}

TEST(SharedWeights, constants_that_are_copies_become_one) {
  EXPECT_EQ(codes(quantized(UnrolledLstm(8, false).graph, 8).graph, 8).size(), 3U);
}

/// Rows of a table, and a product with the same table, as in a language model.
Graph tied_embeddings(bool is_transposed_in_file) {
  constexpr std::int64_t kWords = 512, kFeatures = 128;
  Graph g;
  const ValueId words = g.add_input("words", DataType::int64, {1, 8});
  const ValueId x = g.add_input("x", DataType::float32, {8, kFeatures});
  const ValueId table = g.add_constant("table", random_tensor({kWords, kFeatures}, 1));
  g.mark_output(g.add(Gather{0}, "embed", {table, words}, "rows"));
  if (is_transposed_in_file)
    g.mark_output(g.add(MatMul{}, "head", {x, g.add(Transpose{{1, 0}}, "turn", {table}, "turned")}, "scores"));
  else
    g.mark_output(g.add(Gemm{.trans_b = true}, "head", {x, table}, "scores"));
  return g;
}

TEST(SharedWeights, a_table_of_embeddings_is_stored_with_the_codes_of_the_product_that_shares_it) {
  const TemporaryFolder folder;
  for (const bool is_transposed : {false, true}) {
    const Graph network = tied_embeddings(is_transposed);
    save_onnx(network, (folder / "float.onnx").string());
    Calibration calibration;
    calibration.values["x"].add(std::vector<float>{-3, 3});
    const QuantizeResult result = quantize(calibrate_network(network, calibration, {}), nullptr);
    const Graph& graph = result.graph;
    EXPECT_EQ(codes(graph, 8).size(), is_transposed ? 2U : 1U);
    save_onnx(graph, (folder / "int8.onnx").string());
    const auto size = [&](const char* name) { return static_cast<double>(std::filesystem::file_size(folder / name)); };
    EXPECT_LE(size("int8.onnx") / size("float.onnx"), is_transposed ? 0.55 : 0.3);
    const Tensor words = Tensor::from<std::int64_t>({1, 8}, std::vector<std::int64_t>{0, 5, 511, 7, 7, 1, 300, 2});
    const std::vector<Tensor> inputs{words, random_tensor({8, 128}, 2)};
    const auto exact = Reference(network).run(inputs), run = Session(graph).run(inputs);
    const Graph loaded = load_onnx((folder / "int8.onnx").string());
    EXPECT_EQ(Session(loaded).run(inputs), run);
    for (std::size_t i = 0; i < run[0].data<float>().size(); ++i)
      ASSERT_NEAR(run[0].data<float>()[i], exact[0].data<float>()[i], 0.02) << i;
    for (const LayerDecision& decision : result.decisions)
      if (decision.node == "embed") {
        EXPECT_EQ(decision.reason, "its table has 8 bits: it is the weights of 'head'");
      }
    // Left as they are: a skipped Gather, fewer bits, another runtime.
    for (const Recipe& recipe : {Recipe{.skip = {"embed"}}, Recipe{.weight_bits = 4}, Recipe{.target = Target::any}}) {
      const Graph other = quantize(calibrate_network(network, calibration, recipe), nullptr).graph;
      EXPECT_EQ(Session(other).run(inputs)[0], exact[0]);
    }
  }
}

TEST(SharedWeights, are_not_rounded_with_the_samples_of_one_layer) {
  const QuantizeResult result = quantized(UnrolledLstm(2).graph, 2, {.weight_bits = 4, .rounding = Rounding::gptq});
  EXPECT_EQ(codes(result.graph, 4).size(), 3U);
  std::map<std::string, std::string> reasons;
  for (const LayerDecision& decision : result.decisions) reasons[decision.node] = decision.reason;
  EXPECT_EQ(reasons.at("from_h_1"), "its weights are not rounded with samples: 2 nodes share them");
  EXPECT_EQ(reasons.at("start"), "");
}

}  // namespace
}  // namespace bitfold::testing
