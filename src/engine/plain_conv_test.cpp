// Transposed convolutions, and convolutions of volumes, run in oneDNN and equal the plain loops.
#include <gtest/gtest.h>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/session_testing.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

struct Case {
  Shape x;  ///< Batch, channels, spatial...
  std::int64_t filters, group;
  std::vector<std::int64_t> kernel, strides, dilations, pads, output_padding;
  bool is_transposed;
};

const Case kCases[] = {
    {{2, 8, 7, 9}, 6, 1, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, {}, true},
    {{1, 16, 8, 8}, 32, 1, {4, 4}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {}, true},
    {{1, 16, 8, 6}, 16, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {1, 1}, true},
    {{1, 8, 5, 6}, 8, 4, {3, 2}, {1, 3}, {2, 1}, {2, 0, 0, 1}, {}, true},
    {{2, 12, 20}, 5, 1, {8}, {4}, {1}, {2, 2}, {}, true},
    {{1, 6, 3, 4, 5}, 4, 2, {3, 2, 3}, {1, 2, 1}, {1, 1, 1}, {1, 0, 1, 1, 0, 1}, {}, true},
    {{2, 4, 5, 6, 7}, 8, 1, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, {}, false},
    {{1, 16, 4, 8, 8}, 16, 16, {2, 3, 3}, {2, 2, 1}, {1, 1, 2}, {0, 1, 2, 0, 1, 2}, {}, false},
};

Graph network(const Case& c, bool has_neighbours) {
  GraphBuilder b;
  const std::int64_t channels = c.x[1];
  ValueId x = b.input(c.x, std::nullopt);
  Shape w = c.is_transposed ? Shape{channels, c.filters / c.group} : Shape{c.filters, channels / c.group};
  w.insert(w.end(), c.kernel.begin(), c.kernel.end());
  const Window window{.kernel = c.kernel, .strides = c.strides, .dilations = c.dilations, .pads = c.pads};
  const ValueId weights = b.graph.add_constant("weights", b.uniform_tensor(w, -1, 1));
  const ValueId bias = b.graph.add_constant("bias", b.uniform_tensor({c.filters}, -1, 1));
  const Op op = c.is_transposed
                    ? Op{ConvTranspose{
                          .window = window, .group = c.group, .output_padding = c.output_padding, .output_shape = {}}}
                    : Op{Conv{window, c.group}};
  if (has_neighbours) x = b.node(Unary{UnaryKind::relu}, {x});
  ValueId y = b.node(op, {x, weights, bias});
  if (has_neighbours) y = b.node(Parametric{ParametricKind::leaky_relu, 0.1F}, {y});
  b.output(y);
  infer_shapes(b.graph);
  return b.graph;
}

TEST(PlainConv, equals_the_plain_loops) {
  for (const Case& c : kCases)
    for (const bool has_neighbours : {false, true}) {
      SCOPED_TRACE(to_string(c.x));
      const Graph graph = network(c, has_neighbours);
      GraphBuilder b;
      const std::vector<Tensor> inputs{b.uniform_tensor(c.x, -1, 1)};
      const std::vector<Tensor> expected = Reference(graph, {.plain_loops = true}).run(inputs);
      expect_close(Reference(graph).run(inputs), expected, 1e-5);
      for (const int threads : {1, 2}) {
        Session session(graph, {.threads = threads});
        expect_close(session.run(inputs), expected, 1e-5);
        for (const StepInfo& step : session.steps())
          EXPECT_FALSE(step.kernel.starts_with("reference")) << step.op << " " << step.kernel;
      }
    }
}

}  // namespace
}  // namespace bitfold::engine
