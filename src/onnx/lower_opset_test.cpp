// Networks written in older opsets: the changed nodes, the nodes refused by name, and that reading restores the
// network.
#include "onnx/lower_opset.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "bitfold/error.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"
#include "onnx/model_builder.h"
#include "onnx/opset_history.h"
#include "ops/operator.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::floats;
using Ints = std::vector<std::int64_t>;

struct File {
  onnx::ModelProto model;
  Graph loaded;

  std::int64_t opset() const { return model.opset_import(0).version(); }
  const onnx::NodeProto& node(const std::string& type) const {
    for (const auto& node : model.graph().node())
      if (node.op_type() == type) return node;
    throw Error("no " + type);
  }
};

File write(const Graph& graph, std::optional<std::int64_t> opset = {}) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  save_onnx(graph, path, {.opset = opset});
  File file;
  const auto bytes = read_file(path);
  if (!file.model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) throw Error("does not parse");
  file.loaded = load_onnx(path);
  return file;
}

void expect_refused(const Graph& graph, std::optional<std::int64_t> opset, const std::vector<std::string>& words) {
  try {
    write(graph, opset);
    FAIL() << "no Error";
  } catch (const Error& error) {
    for (const std::string& word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

/// One node 'n' that computes 'y' from 'x' and constants 'c1', 'c2', ...; an empty tensor stands for an absent input.
Graph one_node(Op op, const Shape& shape, const std::vector<std::optional<Tensor>>& constants = {},
               std::size_t outputs = 1) {
  Graph g;
  g.name = "one";
  Node node{.name = "n", .op = std::move(op), .inputs = {g.add_input("x", DataType::float32, shape)}};
  for (std::size_t i = 0; i < constants.size(); ++i)
    node.inputs.push_back(constants[i] ? g.add_constant("c" + std::to_string(i + 1), *constants[i]) : ValueId::none);
  for (std::size_t i = 0; i < outputs; ++i)
    node.outputs.push_back(g.add_value({.name = i == 0 ? "y" : "y" + std::to_string(i)}));
  const std::vector<ValueId> made = node.outputs;
  g.add_node(std::move(node));
  for (ValueId id : made) g.mark_output(id);
  infer_shapes(g);
  g.compact();
  return g;
}

Tensor ints(const Ints& values) { return int64_vector(values); }

/// Every opset down to `lowest` restores the graph; below it the node is refused by name.
void expect_opsets(const Graph& graph, std::int64_t lowest) {
  for (std::int64_t opset = kOldestOpset; opset <= kLatestOpset; ++opset) {
    SCOPED_TRACE(opset);
    if (opset < lowest) {
      expect_refused(graph, opset, {"'n'", "opset " + std::to_string(opset)});
      continue;
    }
    const File file = write(graph, opset);
    EXPECT_EQ(file.opset(), opset);
    Graph expected = graph;
    expected.opset = opset;
    EXPECT_EQ(print_graph(file.loaded), print_graph(expected));
    EXPECT_EQ(file.loaded, expected);
  }
}

TEST(Lowering, axes_of_reductions_become_an_attribute) {
  for (ReduceKind kind : {ReduceKind::sum, ReduceKind::mean, ReduceKind::log_sum_exp})
    expect_opsets(one_node(Reduce{kind}, {2, 3}, {ints({1})}), 7);
  expect_opsets(one_node(Reduce{ReduceKind::max}, {2, 3}), 7);
}
TEST(Lowering, mod_of_reals_without_fmod_needs_opset_28) {
  expect_opsets(one_node(Binary{.kind = BinaryKind::mod, .fmod = true}, {2}, {float_scalar(2)}), 10);
  expect_opsets(one_node(Binary{.kind = BinaryKind::mod}, {2}, {float_scalar(2)}), 28);
}
TEST(Lowering, axes_of_squeeze_and_unsqueeze_become_an_attribute) {
  expect_opsets(one_node(Squeeze{}, {1, 3}, {ints({0})}), 7);
  expect_opsets(one_node(Unsqueeze{}, {3}, {ints({0, 2})}), 7);
}
TEST(Lowering, ranges_of_slice_become_attributes) {
  expect_opsets(one_node(Slice{}, {4, 5}, {ints({1}), ints({3}), ints({1})}), 7);
  expect_opsets(one_node(Slice{}, {4, 5}, {ints({0}), ints({4}), ints({1}), ints({2})}), 10);
}
TEST(Lowering, bounds_of_clip_become_attributes) {
  expect_opsets(one_node(Clip{}, {2}, {float_scalar(-1), float_scalar(1)}), 7);
  expect_opsets(one_node(Clip{}, {2}, {std::nullopt, float_scalar(1)}), 7);
}
TEST(Lowering, pads_and_their_value_become_attributes) {
  expect_opsets(one_node(Pad{}, {2, 3}, {ints({0, 1, 0, 2}), float_scalar(5)}), 7);
  expect_opsets(one_node(Pad{PadMode::edge}, {2, 3}, {ints({0, 1, 0, 2})}), 7);
  expect_opsets(one_node(Pad{PadMode::wrap}, {2, 3}, {ints({0, 1, 0, 2})}), 19);
}
TEST(Lowering, sizes_of_split_become_an_attribute) {
  expect_opsets(one_node(Split{}, {6}, {ints({2, 4})}, 2), 7);
  expect_opsets(one_node(Split{}, {6}, {}, 2), 7);
}
TEST(Lowering, softmax_over_one_axis_or_flattened_is_written_in_older_opsets) {
  expect_opsets(one_node(Softmax{.axis = 1}, {2, 3}), 7);
  expect_opsets(one_node(Softmax{.axis = 1, .log = true, .flattened = true}, {2, 3, 4}), 7);
  expect_opsets(one_node(Softmax{.axis = 1}, {2, 3, 4}), 13);
}
TEST(Lowering, nearest_resize_becomes_an_upsample) {
  const Resize upsample{ResizeMode::nearest, ResizeCoordinates::asymmetric, ResizeNearest::floor};
  expect_opsets(one_node(upsample, {1, 1, 2, 2}, {std::nullopt, floats({4}, {1, 1, 2, 2})}), 7);
  expect_opsets(one_node(upsample, {1, 1, 4, 4}, {std::nullopt, floats({4}, {1, 1, 0.5F, 0.5F})}), 10);
  expect_opsets(one_node(Resize{}, {1, 1, 2, 2}, {std::nullopt, floats({4}, {1, 1, 2, 2})}), 11);
  expect_opsets(one_node(Resize{}, {1, 1, 2, 2}, {std::nullopt, std::nullopt, ints({1, 1, 4, 4})}), 11);
}
TEST(Lowering, resize_needs_the_opset_that_introduced_its_attributes) {
  const std::vector<std::optional<Tensor>> scales{std::nullopt, floats({4}, {1, 1, 2, 2})};
  expect_opsets(one_node(Resize{.coordinates = ResizeCoordinates::half_pixel_symmetric}, {1, 1, 2, 2}, scales), 19);
  expect_opsets(one_node(Resize{.mode = ResizeMode::linear, .antialias = true}, {1, 1, 2, 2}, scales), 18);
  expect_opsets(one_node(Resize{.axes = {2}}, {1, 1, 2, 2}, {std::nullopt, floats({1}, {2})}), 18);
  expect_opsets(one_node(Resize{.exclude_outside = true}, {1, 1, 2, 2}, scales), 11);
  expect_opsets(one_node(Resize{.coordinates = ResizeCoordinates::tf_crop_and_resize}, {1, 1, 2, 2},
                         {floats({8}, {0, 0, 0, 0, 1, 1, 1, 1}), std::nullopt, ints({1, 1, 3, 3})}),
                11);
}
TEST(Lowering, k_of_top_k_becomes_an_attribute) {
  expect_opsets(one_node(TopK{}, {2, 3}, {ints({2})}, 2), 7);
  expect_opsets(one_node(TopK{.largest = false}, {2, 3}, {ints({2})}, 2), 11);
}
TEST(Lowering, scatter_elements_with_a_reduction_needs_opset_16_or_18) {
  expect_opsets(one_node(ScatterElements{}, {3}, {ints({1}), floats({1}, {5})}), 9);
  expect_opsets(one_node(ScatterElements{0, ScatterReduction::add}, {3}, {ints({1}), floats({1}, {5})}), 16);
  expect_opsets(one_node(ScatterElements{0, ScatterReduction::max}, {3}, {ints({1}), floats({1}, {5})}), 18);
}
TEST(Lowering, gather_nd_with_batch_dims_needs_opset_12) {
  const Tensor rows = Tensor::from<std::int64_t>({2, 1}, Ints{0, 1});
  expect_opsets(one_node(GatherNd{}, {2, 3}, {rows}), 11);
  expect_opsets(one_node(GatherNd{1}, {2, 3}, {rows}), 12);
}
TEST(Lowering, image_operators_need_the_opset_that_introduced_their_attributes) {
  const Tensor grid(DataType::float32, {1, 2, 2, 2}), batch = ints({0});
  for (SampleMode mode : {SampleMode::linear, SampleMode::nearest, SampleMode::cubic})
    expect_opsets(one_node(GridSample{mode}, {1, 1, 4, 4}, {grid}), 16);
  expect_opsets(one_node(GridSample{}, {1, 1, 4, 4, 4}, {Tensor(DataType::float32, {1, 2, 2, 2, 3})}), 20);
  expect_opsets(one_node(RoiAlign{.half_pixel = false}, {1, 1, 4, 4}, {floats({1, 4}, {0, 0, 1, 1}), batch}), 10);
  expect_opsets(one_node(RoiAlign{}, {1, 1, 4, 4}, {floats({1, 4}, {0, 0, 1, 1}), batch}), 16);
  expect_opsets(one_node(SpaceToDepth{2}, {1, 1, 4, 4}), 7);
  expect_opsets(one_node(SpaceToDepth{2, true}, {1, 1, 4, 4}), 28);
}
TEST(Lowering, hardmax_over_a_middle_axis_needs_opset_13) {
  expect_opsets(one_node(Hardmax{.axis = 1}, {2, 3}), 7);
  expect_opsets(one_node(Hardmax{.axis = 1, .flattened = true}, {2, 3, 4}), 7);
  expect_opsets(one_node(Hardmax{.axis = 1}, {2, 3, 4}), 13);
}
TEST(Lowering, column_major_indices_need_opset_8_and_ceil_mode_of_lp_pool_needs_opset_18) {
  const Window window{.kernel = {2}, .strides = {2}, .dilations = {1}, .pads = {0, 0}};
  expect_opsets(one_node(Pool{.window = window, .column_major_indices = true}, {1, 1, 5}, {}, 2), 8);
  expect_opsets(one_node(LpPool{.window = window}, {1, 1, 5}), 7);
  expect_opsets(one_node(LpPool{.window = window, .ceil_mode = true}, {1, 1, 5}), 18);
}
TEST(Lowering, pools_need_the_opset_that_introduced_their_attributes) {
  const Window window{.kernel = {2}, .strides = {2}, .dilations = {1}, .pads = {0, 0}};
  expect_opsets(one_node(Pool{.kind = PoolKind::max, .window = window}, {1, 1, 5}), 7);
  expect_opsets(one_node(Pool{.kind = PoolKind::max, .window = window, .ceil_mode = true}, {1, 1, 5}), 10);
  Window dilated = window;
  dilated.dilations = {2};
  expect_opsets(one_node(Pool{.kind = PoolKind::average, .window = dilated}, {1, 1, 5}), 19);
}
TEST(Lowering, axis_of_a_dft_becomes_an_attribute) {
  const auto axis = [](std::int64_t value) {
    return Tensor::from<std::int64_t>({}, std::span<const std::int64_t>(&value, 1));
  };
  expect_opsets(one_node(Dft{}, {2, 3, 4, 1}), 17);
  expect_opsets(one_node(Dft{}, {2, 3, 4, 1}, {std::nullopt, axis(1)}), 17);
  expect_opsets(one_node(Dft{}, {2, 3, 4, 1}, {ints({5}), axis(-2)}), 17);
}
TEST(Lowering, recurrent_layers_with_the_batch_first_need_opset_14) {
  Recurrent op{.kind = RecurrentKind::lstm, .hidden_size = 1};
  const std::vector<std::optional<Tensor>> weights{floats({1, 4, 1}, {1, 2, 3, 4}), floats({1, 4, 1}, {1, 2, 3, 4})};
  expect_opsets(one_node(op, {2, 1, 1}, weights, 3), 7);
  op.batch_first = true;
  expect_opsets(one_node(op, {2, 1, 1}, weights, 3), 14);
}
TEST(Lowering, attention_needs_the_opset_that_introduced_its_attributes) {
  std::vector<std::optional<Tensor>> inputs{floats({1, 1, 2, 1}, {1, 2}), floats({1, 1, 2, 1}, {1, 2})};
  expect_opsets(one_node(Attention{.is_causal = true}, {1, 1, 2, 1}, inputs), 23);
  expect_opsets(one_node(Attention{.left_window_size = 1}, {1, 1, 2, 1}, inputs), 25);
  inputs.emplace_back(floats({1}, {0}));
  expect_opsets(one_node(Attention{}, {1, 1, 2, 1}, inputs), 24);
  inputs.back() = floats({2}, {0, 1});
  expect_opsets(one_node(Attention{}, {1, 1, 2, 1}, inputs), 23);
  inputs.resize(5);
  inputs.emplace_back(ints({2}));
  expect_opsets(one_node(Attention{}, {1, 1, 2, 1}, inputs), 24);
}
TEST(Lowering, attributes_that_an_opset_lacks_are_refused_by_name) {
  expect_opsets(one_node(ArgReduce{}, {2, 3}), 7);
  expect_opsets(one_node(ArgReduce{.select_last_index = true}, {2, 3}), 12);
  expect_opsets(one_node(Reshape{}, {2, 3}, {ints({3, 2})}), 7);
  expect_opsets(one_node(Reshape{.allow_zero = true}, {2, 3}, {ints({3, 2})}), 14);
  expect_opsets(one_node(ShapeOf{}, {2, 3}), 7);
  expect_opsets(one_node(ShapeOf{.start = 1}, {2, 3}), 15);
  expect_opsets(one_node(DepthToSpace{.block_size = 2}, {1, 4, 1, 1}), 7);
  expect_opsets(one_node(DepthToSpace{.block_size = 2, .column_row_depth = true}, {1, 4, 1, 1}), 11);
}
TEST(Lowering, operators_that_an_opset_lacks_are_refused_by_name) {
  expect_opsets(one_node(Unary{UnaryKind::erf}, {2}), 9);
  expect_opsets(one_node(Unary{UnaryKind::round}, {2}), 11);
  expect_opsets(one_node(Parametric{ParametricKind::celu, 1}, {2}), 12);
}

// If the caller asks for the opset, they are written as several operators; otherwise the opset is raised.
TEST(Lowering, fused_operators_are_split_only_for_a_requested_opset) {
  struct Case {
    Op op;
    std::int64_t since;
    std::vector<std::optional<Tensor>> constants;
  };
  for (const Case& c : {Case{Unary{UnaryKind::gelu}, 20, {}}, Case{Unary{UnaryKind::hard_swish}, 14, {}},
                        Case{Unary{UnaryKind::mish}, 18, {}},
                        Case{LayerNorm{}, 17, {floats({3}, {1, 2, 3}), floats({3}, {1, 1, 1})}}}) {
    Graph graph = one_node(c.op, {2, 3}, c.constants);
    graph.opset = 13;
    SCOPED_TRACE(op_name(c.op));
    const File raised = write(graph);
    EXPECT_EQ(raised.opset(), c.since);
    EXPECT_EQ(raised.loaded, graph);
    const File split = write(graph, 13);
    EXPECT_EQ(split.opset(), 13);
    EXPECT_GT(split.loaded.node_count(), 1u);
    EXPECT_EQ(split.loaded.value(split.loaded.outputs()[0]).shape, (Shape{2, 3}));
  }
}

TEST(Lowering, every_older_form_is_written_or_refused) {
  for (const ops::OperatorInfo& row : ops::all_operators()) {
    if (row.is_internal || !row.domain.empty()) continue;
    // Writing can lower every form that reading can lift.
    for (int opset = 7; opset < row.since; ++opset)
      EXPECT_TRUE(!has_lift(row.name, opset, row.since) || has_lowering(row.name, row.since)) << row.name;
  }
}

// ONNX Runtime's layout pass fails on a Pad with axes.
TEST(Pads, are_written_for_all_axes) {
  const Graph graph = one_node(Pad{}, {1, 2, 3, 4}, {ints({2, 1, 0, 3}), std::nullopt, ints({3, -2})});
  const File file = write(graph, 18);
  EXPECT_LE(file.node("Pad").input_size(), 2);
  const Graph& loaded = file.loaded;
  EXPECT_EQ(*loaded.value(loaded.node(loaded.nodes()[0]).inputs[1]).constant, ints({0, 0, 1, 2, 0, 0, 3, 0}));
  EXPECT_EQ(loaded.value(loaded.outputs()[0]).shape, (Shape{1, 2, 7, 6}));
}

TEST(Opset, a_files_opset_is_kept_if_it_suffices) {
  for (std::int64_t opset : {7, 9, 13, 17, 21, 28}) {
    Graph graph = one_node(Unary{UnaryKind::relu}, {2});
    graph.opset = opset;
    const File file = write(graph);
    EXPECT_EQ(file.opset(), opset);
    EXPECT_EQ(file.loaded, graph);
  }
}

TEST(Opset, a_graph_made_in_memory_gets_opset_13) {
  const Graph graph = one_node(Unary{UnaryKind::relu}, {2});
  const File file = write(graph);
  EXPECT_EQ(file.opset(), 13);
  EXPECT_EQ(file.model.ir_version(), 7);
  EXPECT_EQ(file.loaded, graph);
}

TEST(Opset, is_the_lowest_that_can_express_the_grids) {
  const auto with_grid = [](int bits, int axis) {
    Graph graph = one_node(Unary{UnaryKind::exp}, {2, 2});
    const ValueId x = graph.inputs()[0];
    graph.value(x).quant = QuantParams{.scale = {0.5F}, .zero_point = {0}, .bits = bits, .is_signed = true};
    if (axis >= 0) {
      graph.value(x).quant->axis = axis;
      graph.value(x).quant->scale = {0.5F, 0.25F};
      graph.value(x).quant->zero_point = {0, 0};
    }
    graph.opset = 7;
    return graph;
  };
  EXPECT_EQ(write(with_grid(8, -1)).opset(), 10);
  EXPECT_EQ(write(with_grid(8, 1)).opset(), 13);
  EXPECT_EQ(write(with_grid(16, -1)).opset(), 21);
  EXPECT_EQ(write(with_grid(16, -1)).model.ir_version(), 10);
  expect_refused(with_grid(16, -1), 13, {"value 'x' needs opset 21", "int16"});
}

TEST(Opset, an_unknown_operator_keeps_its_opset) {
  const auto hardmax = [](std::int64_t opset) { return one_node(Opaque{.type = "Hardmax", .opset = opset}, {2, 2}); };
  EXPECT_EQ(write(hardmax(11)).opset(), 12);  // the last opset before the operator changed, and the nearest to 13
  EXPECT_EQ(write(hardmax(18)).opset(), 13);
  expect_refused(hardmax(11), 13, {"[Hardmax 'n']", "opset 12 or lower"});
  expect_refused(one_node(Opaque{.type = "Frobnicate", .opset = 17}, {2}), 18, {"[Frobnicate 'n']", "opset 17"});
}

TEST(Opset, two_operators_that_exclude_each_other_are_refused_by_name) {
  Graph graph = one_node(Opaque{.type = "Hardmax", .opset = 11}, {2, 2});
  graph.mark_output(
      graph.add(Reshape{.allow_zero = true}, "shaped", {graph.inputs()[0], graph.add_constant("to", ints({4}))}, "z"));
  expect_refused(graph, {}, {"[Hardmax 'n']", "[Reshape 'shaped']"});
}

TEST(Opset, an_opset_outside_the_known_range_is_refused) {
  for (std::int64_t opset : {6, 29}) expect_refused(one_node(Unary{}, {2}), opset, {"opset " + std::to_string(opset)});
}

TEST(OpsetHistory, gives_the_opsets_in_which_a_node_keeps_its_meaning) {
  EXPECT_EQ(opsets_of_same_meaning("Hardmax", 12), (OpsetRange{11, 12}));
  EXPECT_EQ(opsets_of_same_meaning("Hardmax", 13), (OpsetRange{13, 28}));
  EXPECT_EQ(opsets_of_same_meaning("TopK", 9), (OpsetRange{7, 9}));
  EXPECT_EQ(opsets_of_same_meaning("TopK", 10), (OpsetRange{10, 28}));
  EXPECT_EQ(opsets_of_same_meaning("GroupNormalization", 18), (OpsetRange{18, 20}));
  EXPECT_EQ(opsets_of_same_meaning("NoSuch", 17), (OpsetRange{17, 17}));
}

}  // namespace
}  // namespace bitfold
