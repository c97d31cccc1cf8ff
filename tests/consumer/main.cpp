// Quantizes four numbers and a one-layer network with the installed library.
#include <bitfold/bitfold.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

// Eight samples in memory.
class Samples : public bitfold::BatchSource {
 public:
  std::optional<bitfold::Batch> next(std::int64_t) override {
    if (next_ == 8) return std::nullopt;
    const float a = static_cast<float>(next_++) / 4 - 1;
    return bitfold::Batch{.inputs = {bitfold::Tensor::from<float>({1, 2}, std::vector<float>{a, -a / 2})},
                          .labels = {},
                          .sample_count = 1};
  }
  void rewind() override { next_ = 0; }
  std::int64_t sample_count() const override { return 8; }
  bool has_labels() const override { return false; }
  std::string description() const override { return "eight samples"; }

 private:
  int next_ = 0;
};

int main() {
  using namespace bitfold;
  const QuantParams grid = choose_params(-2.2066F, 3.2285F, {.bits = 8});
  const Tensor codes = quantize(Tensor::from<float>({4}, std::vector<float>{-2.2066F, 0, 1, 3.2285F}), grid);
  std::printf("codes %d %d %d %d\n", codes.data<std::uint8_t>()[0], codes.data<std::uint8_t>()[1],
              codes.data<std::uint8_t>()[2], codes.data<std::uint8_t>()[3]);

  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {1, 2});
  const ValueId w = graph.add_constant("w", Tensor::from<float>({2, 2}, std::vector<float>{1, 2, 3, 4}));
  graph.mark_output(graph.add(MatMul{}, "matmul", {x, w}, "y"));
  Session session(graph);
  const auto y = session.run(std::vector<Tensor>{Tensor::from<float>({1, 2}, std::vector<float>{1, 1})});
  std::printf("y %g %g\n", y[0].data<float>()[0], y[0].data<float>()[1]);

  Samples samples;
  const QuantizeResult quantized = quantize(graph, samples, {.weight_bits = 4});
  std::printf("quantized %d, weights rounded by %s\n", quantized.decisions.at(0).quantized,
              std::string(to_string(quantized.recipe.rounding)).c_str());
  if (!quantized.decisions.at(0).quantized) return 1;
  return y[0].data<float>()[0] == 4 && y[0].data<float>()[1] == 6 ? 0 : 1;
}
