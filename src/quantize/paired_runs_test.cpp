#include "quantize/paired_runs.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "quantize/memory_source.h"

namespace bitfold::quantization {
namespace {

/// Counts how often it is read from the start.
class CountingSource final : public BatchSource {
 public:
  explicit CountingSource(Tensor samples) : samples_(std::move(samples)) {}
  std::optional<Batch> next(std::int64_t most) override { return samples_.next(most); }
  void rewind() override { ++rewinds, samples_.rewind(); }
  std::int64_t sample_count() const override { return samples_.sample_count(); }
  bool has_labels() const override { return false; }
  std::string description() const override { return "counted"; }

  int rewinds = 0;

 private:
  testing::MemorySource samples_;
};

/// y = a + x c with a = relu(x b), where x is read again at the end: three products in a chain around a sum.
struct Net {
  Graph graph;
  std::vector<NodeId> products;

  explicit Net(float factor) {
    const ValueId x = graph.add_input("x", DataType::float32, Shape{kDynamic, 2});
    const ValueId h = product(x, "h", factor);
    const ValueId r = graph.add(Unary{UnaryKind::relu}, "relu", {h}, "r");
    const ValueId sum = graph.add(Binary{BinaryKind::add}, "sum", {product(r, "k", 1), x}, "s");
    graph.mark_output(product(sum, "y", 1));
    infer_shapes(graph);
  }

 private:
  ValueId product(ValueId in, const std::string& name, float factor) {
    const ValueId w = graph.add_constant(
        name + "_w", Tensor::from<float>({2, 2}, std::vector<float>{factor, 0, -factor, 2 * factor}));
    const ValueId out = graph.add(MatMul{}, name, {in, w}, name);
    products.push_back(graph.producer(out));
    return out;
  }
};

struct Seen {
  std::vector<std::vector<float>> y, x;
};

Seen run(PairedRuns& runs, NodeId id) {
  Seen all;
  std::vector<Tensor> y(static_cast<std::size_t>(runs.threads())), x(y.size());
  runs.run(
      id,
      [&](std::int64_t part, const Tensor& in_float, const Tensor& in_quantized) {
        y[static_cast<std::size_t>(part)] = in_float;
        x[static_cast<std::size_t>(part)] = in_quantized;
      },
      [&](std::int64_t parts) {
        for (std::size_t i = 0; i < static_cast<std::size_t>(parts); ++i) {
          all.y.emplace_back(y[i].data<float>().begin(), y[i].data<float>().end());
          all.x.emplace_back(x[i].data<float>().begin(), x[i].data<float>().end());
        }
      });
  return all;
}

const std::vector<float> kSamples{1, 2, -3, 4, 5, -6, 0, 1, 2, 2};

TEST(PairedRuns, give_the_same_inputs_with_or_without_kept_values) {
  for (const std::int64_t budget : {std::int64_t{0}, std::int64_t{1} << 20U}) {
    const Net net(1);
    Net quantized(2);  // represents a network whose first layer was changed
    CountingSource samples(Tensor::from<float>({5, 2}, kSamples));
    PairedRuns runs(net.graph, quantized.graph, samples, {.max_kept_bytes = budget});
    const Seen first = run(runs, net.products[0]);
    EXPECT_EQ(first.y[1], (std::vector<float>{-3, 4}));
    EXPECT_EQ(first.x, first.y);
    // A layer's inputs are computed with the current constants of the layers before it.
    Value& w = quantized.graph.value(quantized.graph.node(net.products[0]).inputs[1]);
    w.constant = Tensor::from<float>({2, 2}, std::vector<float>{3, 0, -3, 6});
    const Seen second = run(runs, net.products[1]);
    EXPECT_EQ(second.y[0], (std::vector<float>{0, 4}));   // relu(1 - 2, 4)
    EXPECT_EQ(second.x[0], (std::vector<float>{0, 12}));  // y's inputs times 3
    const Seen third = run(runs, net.products[2]);
    EXPECT_EQ(third.y[0], (std::vector<float>{-4 + 1, 8 + 2}));
    EXPECT_EQ(third.x[0], (std::vector<float>{-12 + 1, 24 + 2}));
    EXPECT_EQ(samples.rewinds, budget == 0 ? 3 : 1);
  }
}

TEST(PairedRuns, store_values_on_grids_exactly) {
  const Net net(1);
  Net quantized(1);
  for (ValueId id : quantized.graph.values())
    if (!quantized.graph.is_constant(id))
      quantized.graph.value(id).quant = QuantParams{.scale = {0.3F}, .zero_point = {99}};
  Seen seen[2];
  for (const bool keeps : {false, true}) {
    CountingSource samples(Tensor::from<float>({5, 2}, kSamples));
    PairedRuns runs(net.graph, quantized.graph, samples, {.max_kept_bytes = keeps ? 1 << 20 : 0});
    for (NodeId id : net.products) seen[keeps ? 1 : 0] = run(runs, id);
    EXPECT_EQ(samples.rewinds, keeps ? 1 : 3);
  }
  EXPECT_EQ(seen[0].x, seen[1].x);
  EXPECT_NE(seen[0].x, seen[0].y);
}

// Nothing runs before the first product, whose inputs are the samples. UndefinedBehaviorSanitizer checks this.
TEST(PairedRuns, give_the_samples_to_a_network_of_one_product) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, Shape{kDynamic, 2});
  const ValueId w = graph.add_constant("w", Tensor::from<float>({2, 2}, std::vector<float>{1, 2, 3, 4}));
  const ValueId y = graph.add(MatMul{}, "only", {x, w}, "y");
  graph.mark_output(y);
  infer_shapes(graph);
  CountingSource samples(Tensor::from<float>({5, 2}, kSamples));
  PairedRuns runs(graph, graph, samples);
  const Seen seen = run(runs, graph.producer(y));
  EXPECT_EQ(seen.x[1], (std::vector<float>{-3, 4}));
  EXPECT_EQ(seen.x, seen.y);
}

TEST(PairedRuns, run_from_the_start_if_no_file_can_be_written) {
  const char* const before = std::getenv("TMPDIR");
  const std::string folder = before == nullptr ? "" : before;
  setenv("TMPDIR", "/nowhere", 1);
  const Net net(1);
  CountingSource samples(Tensor::from<float>({5, 2}, kSamples));
  PairedRuns runs(net.graph, net.graph, samples);
  for (NodeId id : net.products) EXPECT_EQ(run(runs, id).x.size(), 5U);
  EXPECT_EQ(samples.rewinds, 3);
  if (before == nullptr)
    unsetenv("TMPDIR");
  else
    setenv("TMPDIR", folder.c_str(), 1);
}

TEST(PairedRuns, leave_out_the_copies_that_fill_the_last_batch) {
  for (const std::int64_t budget : {std::int64_t{0}, std::int64_t{1} << 20U}) {
    Net net(1);
    net.graph.value(net.graph.inputs()[0]).shape = Shape{2, 2};
    infer_shapes(net.graph);
    CountingSource samples(Tensor::from<float>({5, 2}, kSamples));
    PairedRuns runs(net.graph, net.graph, samples, {.max_samples = 128, .max_kept_bytes = budget});
    EXPECT_EQ(run(runs, net.products[0]).y.back(), (std::vector<float>{2, 2}));
    const Seen seen = run(runs, net.products[2]);
    ASSERT_EQ(seen.y.size(), 3U);
    EXPECT_EQ(seen.y[0].size(), 4U);
    EXPECT_EQ(seen.y[2].size(), 2U);
    CountingSource more(Tensor::from<float>({5, 2}, kSamples));
    PairedRuns some(net.graph, net.graph, more, {.max_samples = 3, .max_kept_bytes = budget});
    EXPECT_EQ(run(some, net.products[0]).y.size(), 2U);  // whole batches: four samples
  }
}

TEST(PairedRuns, use_the_first_samples_only) {
  const Net net(1);
  CountingSource samples(Tensor::from<float>({5, 2}, kSamples));
  PairedRuns runs(net.graph, net.graph, samples, {.max_samples = 3});
  EXPECT_EQ(run(runs, net.products[0]).y.size(), 3U);
  EXPECT_EQ(run(runs, net.products[1]).y.size(), 3U);
}

}  // namespace
}  // namespace bitfold::quantization
