// The integer engine compared with the float simulation on real networks: layer by layer on the same input codes, and
// end to end. Also checks that every instruction set and number of threads gives the same bytes.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "bitfold/bitfold.h"
#include "testing.h"

namespace bitfold {
namespace {

struct Case {
  std::string model, data;
  Preprocess preprocess;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.model; }

std::vector<Case> cases() {
  const Preprocess mnist{.mean = {0.1307F}, .std = {0.3081F}};
  return {
      {"lenet", "mnist/test", mnist},
      {"lenet-bn", "mnist/test", mnist},
      {"resnet20-cifar10", "cifar10/val.npz", {.mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}}},
      {"darknet-tiny", "imagenet/val", {.crop = ImageSize{224, 224}}},
      {"vww-mobilenetv1", "imagenet/val", {.resize_exact = ImageSize{96, 96}}},
      {"ultraface-rfb-320", "faces", {.resize_exact = ImageSize{320, 240}, .scale = 1.0F, .mean = {127}, .std = {128}}},
      {"conv-bn-relu", "cifar10/val.npz", {.mean = {0.5F}, .std = {0.25F}}}};
}

/// A network quantized with the defaults on a few samples, and samples to run it on.
struct Quantized {
  Graph graph;
  std::vector<Tensor> inputs;  ///< Inputs of one run.
};

Quantized quantized(const Case& c, std::int64_t samples) {
  Graph graph = load_onnx((testing::data_folder() / "models" / (c.model + ".onnx")).string());
  optimize(graph);
  const Value& input = graph.value(graph.inputs()[0]);
  DatasetOptions options{.preprocess = c.preprocess};
  options.limit = std::max<std::int64_t>(8, samples);
  const auto path = (testing::data_folder() / "data" / c.data).string();
  Dataset data = open_dataset(path, {{input.name, input.dtype, *input.shape}}, options);
  const Calibration calibration = calibrate(graph, *data.source);
  data.source->rewind();
  const bool is_fixed = input.shape->front() != kDynamic;
  return {quantize(graph, calibration).graph, data.source->next(is_fixed ? input.shape->front() : samples)->inputs};
}

std::int64_t code_at(const Tensor& codes, std::int64_t i) {
  const auto at = static_cast<std::size_t>(i);
  switch (codes.dtype()) {
    case DataType::uint8:
      return codes.data<std::uint8_t>()[at];
    case DataType::int8:
      return codes.data<std::int8_t>()[at];
    case DataType::uint16:
      return codes.data<std::uint16_t>()[at];
    default:
      return codes.data<std::int16_t>()[at];
  }
}

class Engine : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { BITFOLD_NEEDS_DATA(); }
};

TEST_P(Engine, gives_the_simulations_codes_layer_by_layer) {
  const auto [graph, inputs] = quantized(GetParam(), 2);
  Session session(graph, {.keep_values = true});
  const auto outputs = session.run(inputs);
  const Reference reference(graph);
  std::vector<Tensor> reals(graph.values().size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto& grid = graph.value(graph.inputs()[i]).quant;
    reals[static_cast<std::size_t>(graph.inputs()[i])] = grid ? snap(inputs[i], *grid) : inputs[i];
  }
  std::int64_t compared = 0, different = 0, layers = 0;
  for (NodeId id : graph.topological_order()) {
    std::vector<Tensor> in;
    for (ValueId v : graph.node(id).inputs)
      in.push_back(v == ValueId::none || graph.is_constant(v) ? Tensor() : reals[static_cast<std::size_t>(v)]);
    const auto out = reference.run_node(id, in);
    for (std::size_t k = 0; k < out.size(); ++k) {
      const ValueId v = graph.node(id).outputs[k];
      if (v == ValueId::none) continue;
      Tensor& real = reals[static_cast<std::size_t>(v)];
      real = out[k];
      const auto& grid = graph.value(v).quant;
      if (!grid) continue;
      const auto slot = std::find(graph.outputs().begin(), graph.outputs().end(), v) - graph.outputs().begin();
      const Tensor ours = graph.is_output(v) ? quantize(outputs[static_cast<std::size_t>(slot)], *grid)
                                             : session.value(graph.value(v).name);
      const Tensor theirs = quantize(out[k], *grid);
      ASSERT_EQ(ours.size(), theirs.size());
      for (std::int64_t i = 0; i < ours.size(); ++i) {
        const std::int64_t distance = std::abs(code_at(ours, i) - code_at(theirs, i));
        ASSERT_LE(distance, 1) << where(graph, id) << " element " << i;
        different += distance;
      }
      compared += ours.size();
      ++layers;
      real = dequantize(ours, *grid);  // the next layer gets the engine's own codes
    }
  }
  RecordProperty("codes", std::to_string(compared));
  RecordProperty("different", std::to_string(different));
  EXPECT_GT(layers, 0);
  EXPECT_LE(different * 1000, compared) << different << " of " << compared << " codes in " << layers
                                        << " layers differ";
}

TEST_P(Engine, gives_the_same_bytes_on_every_instruction_set_and_thread_count) {
  const auto [graph, inputs] = quantized(GetParam(), 1);
  // Only values on grids: float layers run in oneDNN, which does not guarantee identical bytes.
  const auto codes_at = [&](Isa isa, int threads) {
    Session session(graph, {.threads = threads, .isa = isa, .keep_values = true});
    const auto outputs = session.run(inputs);
    std::vector<std::pair<std::string, Tensor>> codes;
    for (std::size_t i = 0; i < outputs.size(); ++i)
      if (const Value& output = graph.value(graph.outputs()[i]); output.quant)
        codes.emplace_back(output.name, outputs[i]);
    for (ValueId id : graph.values())
      if (graph.value(id).quant && session.keeps(graph.value(id).name))
        codes.emplace_back(graph.value(id).name, session.value(graph.value(id).name));
    return codes;
  };
  const auto expected = codes_at(Isa::portable, 1);
  ASSERT_FALSE(expected.empty());
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx}) {
    if (isa > detected_isa() && isa != Isa::amx) continue;
    for (int threads : {1, 2}) {
      const auto codes = codes_at(std::min(isa, detected_isa()), threads);
      ASSERT_EQ(codes.size(), expected.size());
      for (std::size_t i = 0; i < codes.size(); ++i)
        EXPECT_TRUE(codes[i].second == expected[i].second)
            << codes[i].first << " differs at " << to_string(isa) << " with " << threads << " threads";
    }
  }
}

TEST(EngineEndToEnd, classifies_like_the_simulation) {
  BITFOLD_NEEDS_DATA();
  constexpr int kImages = 2000;  // with 400 images, the standard error of the rate is a third of a point
  for (const Case& c : cases()) {
    if (c.model != "lenet-bn" && c.model != "resnet20-cifar10") continue;
    const auto [graph, inputs] = quantized(c, kImages);
    const Tensor ours = Session(graph).run(inputs)[0], theirs = Reference(graph).run(inputs)[0];
    int equal = 0;
    for (int i = 0; i < kImages; ++i) {
      const auto best = [&](const Tensor& scores) {
        const auto row = scores.data<float>().subspan(static_cast<std::size_t>(i) * 10, 10);
        return std::max_element(row.begin(), row.end()) - row.begin();
      };
      equal += best(ours) == best(theirs);
    }
    std::printf("%s: %d of %d in the same class\n", c.model.c_str(), equal, kImages);
    EXPECT_GE(equal, kImages * 995 / 1000) << c.model;
  }
}

TEST_P(Engine, keeping_values_does_not_change_the_outputs) {
  const auto [graph, inputs] = quantized(GetParam(), 1);
  const auto fused = Session(graph).run(inputs);
  const auto kept = Session(graph, {.keep_values = true}).run(inputs);
  for (std::size_t i = 0; i < fused.size(); ++i) EXPECT_TRUE(fused[i] == kept[i]) << "output " << i;
}

TEST_P(Engine, arena_is_within_a_tenth_of_the_lower_bound) {
  const auto [graph, inputs] = quantized(GetParam(), 1);
  Graph floats = load_onnx((testing::data_folder() / "models" / (GetParam().model + ".onnx")).string());
  optimize(floats);
  for (const Graph& any : {graph, floats}) {
    Session session(any);
    session.run(inputs);
    EXPECT_GE(session.arena_bytes(), session.arena_lower_bound());
    EXPECT_LE(session.arena_bytes() * 10, session.arena_lower_bound() * 11);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Engine, ::testing::ValuesIn(cases()), [](const auto& parameter) {
  std::string name = parameter.param.model;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace bitfold
