// Quantizes four numbers and a one-layer network with the installed library.
#include <bitfold/bitfold.h>

#include <cstdio>
#include <vector>

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
  return y[0].data<float>()[0] == 4 && y[0].data<float>()[1] == 6 ? 0 : 1;
}
