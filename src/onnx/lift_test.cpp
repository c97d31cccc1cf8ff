// Nodes of older opsets take the present form of their operators.
#include "onnx/lift.h"

#include <gtest/gtest.h>

#include "onnx/attributes.h"
#include "onnx/model_builder.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;
using Ints = std::vector<std::int64_t>;

const Node& only_node(const Graph& graph) {
  EXPECT_EQ(graph.node_count(), 1u);
  return graph.node(graph.nodes().at(0));
}

Ints integers(const Graph& graph, std::size_t slot) {
  const Node& node = only_node(graph);
  if (slot >= node.inputs.size() || !graph.is_constant(node.inputs[slot])) return {};
  const auto values = graph.value(node.inputs[slot]).constant->data<std::int64_t>();
  return {values.begin(), values.end()};
}

std::string reason(const Graph& graph) {
  const auto* opaque = std::get_if<Opaque>(&only_node(graph).op);
  return opaque == nullptr ? "" : opaque->reason;
}

TEST(OlderOpset, every_older_form_of_an_operator_is_lifted_or_stays_opaque) {
  // Operators that ONNX got after opset 7.
  const std::map<std::string_view, int> kFirst{{"Attention", 23},
                                               {"Bernoulli", 15},
                                               {"BlackmanWindow", 17},
                                               {"CausalConvWithState", 27},
                                               {"Celu", 12},
                                               {"DFT", 17},
                                               {"Det", 11},
                                               {"Einsum", 12},
                                               {"HammingWindow", 17},
                                               {"HannWindow", 17},
                                               {"LinearAttention", 27},
                                               {"MeanVarianceNormalization", 9},
                                               {"MelWeightMatrix", 17},
                                               {"NegativeLogLikelihoodLoss", 12},
                                               {"RMSNormalization", 23},
                                               {"RotaryEmbedding", 23},
                                               {"STFT", 17},
                                               {"SoftmaxCrossEntropyLoss", 12},
                                               {"ConstantOfShape", 9},
                                               {"Erf", 9},
                                               {"Expand", 8},
                                               {"Gelu", 20},
                                               {"Mish", 18},
                                               {"GreaterOrEqual", 12},
                                               {"GroupNormalization", 18},
                                               {"ScatterND", 11},
                                               {"Mod", 10},
                                               {"LayerNormalization", 17},
                                               {"LessOrEqual", 12},
                                               {"Range", 11},
                                               {"QuantizeLinear", 10},
                                               {"DequantizeLinear", 10},
                                               {"DynamicQuantizeLinear", 11},
                                               {"QLinearConv", 10},
                                               {"QLinearMatMul", 10},
                                               {"ConvInteger", 10},
                                               {"MatMulInteger", 10},
                                               {"Sinh", 9},
                                               {"Cosh", 9},
                                               {"Asinh", 9},
                                               {"Acosh", 9},
                                               {"Atanh", 9},
                                               {"IsNaN", 9},
                                               {"IsInf", 10},
                                               {"BitwiseNot", 18},
                                               {"BitwiseAnd", 18},
                                               {"BitwiseOr", 18},
                                               {"BitwiseXor", 18},
                                               {"BitShift", 11},
                                               {"Shrink", 9},
                                               {"Swish", 24},
                                               {"SwiGLU", 28},
                                               {"CastLike", 15},
                                               {"BitCast", 26},
                                               {"HardSwish", 14},
                                               {"Round", 11},
                                               {"Sign", 9},
                                               {"ThresholdedRelu", 10},
                                               {"Where", 9},
                                               {"ConcatFromSequence", 11},
                                               {"Optional", 15},
                                               {"OptionalGetElement", 15},
                                               {"OptionalHasElement", 15},
                                               {"RegexFullMatch", 20},
                                               {"SequenceAt", 11},
                                               {"SequenceConstruct", 11},
                                               {"SequenceEmpty", 11},
                                               {"SequenceErase", 11},
                                               {"SequenceInsert", 11},
                                               {"SequenceLength", 11},
                                               {"SplitToSequence", 11},
                                               {"StringConcat", 20},
                                               {"StringNormalizer", 10},
                                               {"StringSplit", 20},
                                               {"TfIdfVectorizer", 9},
                                               {"Scan", 8},
                                               {"Resize", 10},
                                               {"AffineGrid", 20},
                                               {"CenterCropPad", 18},
                                               {"Col2Im", 18},
                                               {"Compress", 9},
                                               {"CumProd", 26},
                                               {"CumSum", 11},
                                               {"DeformConv", 19},
                                               {"EyeLike", 9},
                                               {"GatherElements", 11},
                                               {"GatherND", 11},
                                               {"GridSample", 16},
                                               {"MaxUnpool", 9},
                                               {"NonMaxSuppression", 10},
                                               {"NonZero", 9},
                                               {"OneHot", 9},
                                               {"ReverseSequence", 10},
                                               {"RoiAlign", 10},
                                               {"ScatterElements", 11},
                                               {"TensorScatter", 24},
                                               {"Trilu", 14},
                                               {"Unique", 11}};
  for (const ops::OperatorInfo& row : ops::all_operators()) {
    if (row.is_internal || !row.domain.empty()) continue;
    const auto first = kFirst.find(row.name);
    for (int opset = first == kFirst.end() ? 7 : first->second; opset < row.since; ++opset)
      EXPECT_TRUE(has_lift(row.name, opset, row.since)) << row.name << " of opset " << opset;
  }
}

TEST(OlderOpset, clip_bounds_become_constant_inputs) {
  ModelBuilder b(9);
  b.input("x", {2}).output("y");
  set_real(b.node("Clip", "clip", {"x"}, {"y"}), "max", 6);
  const Graph graph = b.load();
  const Node& node = only_node(graph);
  EXPECT_TRUE(std::holds_alternative<Clip>(node.op));
  ASSERT_EQ(node.inputs.size(), 3u);
  EXPECT_EQ(node.inputs[1], ValueId::none);
  EXPECT_EQ(*graph.value(node.inputs[2]).constant, floats({}, {6}));
}

TEST(OlderOpset, softmax_over_the_last_axis_is_kept_and_others_are_flattened) {
  for (const auto& [axis, flattened] : {std::pair{2, false}, std::pair{1, true}}) {
    ModelBuilder b(9);
    b.input("x", {1, 3, 4}).output("y");
    set_integer(b.node("Softmax", "softmax", {"x"}, {"y"}), "axis", axis);
    EXPECT_EQ(only_node(b.load()).op, Op(Softmax{axis, false, flattened}));
  }
}

TEST(OlderOpset, softmax_without_an_axis_is_over_axis_1) {
  ModelBuilder b(12);
  b.input("x", {2, 3}).output("y");
  b.node("LogSoftmax", "softmax", {"x"}, {"y"});
  EXPECT_EQ(only_node(b.load()).op, Op(Softmax{1, true, false}));
}

TEST(OlderOpset, axes_of_reductions_become_an_input) {
  for (const auto& [type, opset] : {std::pair{"ReduceSum", 12}, {"ReduceMean", 17}, {"ReduceLogSumExp", 11}}) {
    ModelBuilder b(opset);
    b.input("x", {2, 3, 4}).output("y");
    set_integers(b.node(type, "reduce", {"x"}, {"y"}), "axes", {1, 2});
    EXPECT_EQ(integers(b.load(), 1), (Ints{1, 2})) << type;
  }
}

TEST(OlderOpset, axes_of_squeeze_and_unsqueeze_become_an_input) {
  for (const char* type : {"Squeeze", "Unsqueeze"}) {
    ModelBuilder b(12);
    b.input("x", {1, 3}).output("y");
    set_integers(b.node(type, "n", {"x"}, {"y"}), "axes", {0});
    EXPECT_EQ(integers(b.load(), 1), (Ints{0})) << type;
  }
}

TEST(OlderOpset, axis_of_a_dft_becomes_an_input) {
  ModelBuilder b(17);
  b.input("x", {2, 3, 4, 1}).output("y");
  b.node("DFT", "dft", {"x"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(integers(graph, 2), (Ints{1}));
  EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{2, 3, 4, 2}));
}

TEST(OlderOpset, recurrent_layers_get_the_size_of_their_state) {
  ModelBuilder b(7);
  b.input("x", {5, 2, 3}).input("w", {1, 12, 3}).input("r", {1, 12, 4}).output("y");
  b.node("GRU", "gru", {"x", "w", "r"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(std::get<Recurrent>(only_node(graph).op).hidden_size, 4);
  EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{5, 1, 2, 4}));
}

TEST(OlderOpset, ranges_of_slice_become_inputs) {
  ModelBuilder b(9);
  b.input("x", {4, 5}).output("y");
  onnx::NodeProto& slice = b.node("Slice", "slice", {"x"}, {"y"});
  set_integers(slice, "starts", {1});
  set_integers(slice, "ends", {3});
  set_integers(slice, "axes", {1});
  const Graph graph = b.load();
  EXPECT_EQ(integers(graph, 1), (Ints{1}));
  EXPECT_EQ(integers(graph, 2), (Ints{3}));
  EXPECT_EQ(integers(graph, 3), (Ints{1}));
  EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{4, 2}));
}

TEST(OlderOpset, pads_and_their_value_become_inputs) {
  ModelBuilder b(10);
  b.input("x", {2}).output("y");
  onnx::NodeProto& pad = b.node("Pad", "pad", {"x"}, {"y"});
  set_integers(pad, "pads", {1, 2});
  set_real(pad, "value", 3);
  const Graph graph = b.load();
  EXPECT_EQ(integers(graph, 1), (Ints{1, 2}));
  EXPECT_EQ(*graph.value(only_node(graph).inputs.at(2)).constant, floats({}, {3}));
}

TEST(OlderOpset, sizes_of_split_become_an_input) {
  ModelBuilder b(11);
  b.input("x", {6}).output("a");
  set_integers(b.node("Split", "split", {"x"}, {"a", "b"}), "split", {2, 4});
  EXPECT_EQ(integers(b.load(), 1), (Ints{2, 4}));
}

TEST(OlderOpset, upsample_and_resize_of_opset_10_round_positions_down) {
  const Resize expected{ResizeMode::nearest, ResizeCoordinates::asymmetric, ResizeNearest::floor};
  for (const auto& [type, opset] : {std::pair{"Upsample", 7}, {"Upsample", 9}, {"Resize", 10}}) {
    ModelBuilder b(opset);
    b.input("x", {1, 1, 2, 2}).output("y");
    if (opset == 7) {
      set_reals(b.node(type, "up", {"x"}, {"y"}), "scales", {1, 1, 2, 2});
    } else {
      b.constant("scales", floats({4}, {1, 1, 2, 2}));
      b.node(type, "up", {"x", "scales"}, {"y"});
    }
    const Graph graph = b.load();
    EXPECT_EQ(only_node(graph).op, Op(expected)) << type << opset;
    EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{1, 1, 4, 4})) << type << opset;
  }
}

TEST(OlderOpset, empty_inputs_of_resize_are_absent) {
  ModelBuilder b(11);
  b.input("x", {1, 1, 2, 2}).output("y").constant("none", Tensor(DataType::float32, {0}));
  b.constant("sizes", Tensor::from<std::int64_t>({4}, Ints{1, 1, 4, 4}));
  b.node("Resize", "resize", {"x", "none", "none", "sizes"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(only_node(graph).inputs[1], ValueId::none);
  EXPECT_EQ(only_node(graph).inputs[2], ValueId::none);
  EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{1, 1, 4, 4}));
}

TEST(OlderOpset, dropout_passes_its_input_on) {
  for (int opset : {7, 12, 22}) {
    ModelBuilder b(opset);
    b.input("x", {2}).output("y");
    b.node("Dropout", "drop", {"x"}, {"y", "mask"});
    EXPECT_EQ(only_node(b.load()).op, Op(Unary{UnaryKind::identity})) << opset;
  }
}

TEST(OlderOpset, the_mask_of_dropout_keeps_everything) {
  for (const auto& [opset, type] : {std::pair{7, DataType::float32}, {13, DataType::boolean}}) {
    ModelBuilder b(opset);
    b.input("x", {2, 3}).output("y").output("mask");
    b.node("Dropout", "drop", {"x"}, {"y", "mask"});
    const Graph graph = b.load();
    const Value& mask = graph.value(graph.outputs()[1]);
    EXPECT_EQ(mask.name, "mask") << opset;
    EXPECT_EQ(mask.dtype, type) << opset;
    EXPECT_EQ(mask.shape, (Shape{2, 3})) << opset;
    const auto* fill = std::get_if<ConstantOfShape>(&graph.node(graph.producer(graph.outputs()[1])).op);
    ASSERT_NE(fill, nullptr);
    EXPECT_EQ(fill->value.dtype(), type);
    EXPECT_NE(fill->value.bytes()[type == DataType::boolean ? 0 : 3], std::byte{0});
  }
}

TEST(OlderOpset, k_of_top_k_becomes_an_input) {
  ModelBuilder b(9);
  b.input("x", {2, 5}).output("y");
  set_integer(b.node("TopK", "top", {"x"}, {"y", "i"}), "k", 3);
  const Graph graph = b.load();
  EXPECT_EQ(only_node(graph).op, Op(TopK{}));
  EXPECT_EQ(integers(graph, 1), (Ints{3}));
  EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{2, 3}));
}

TEST(OlderOpset, scatter_is_the_older_name_of_scatter_elements) {
  for (int opset : {9, 10, 11}) {
    ModelBuilder b(opset);
    b.input("x", {3}).input("u", {1}).constant("i", int64_vector({2})).output("y");
    b.node("Scatter", "scatter", {"x", "i", "u"}, {"y"});
    const Graph graph = b.load();
    if (opset < 11)
      EXPECT_EQ(only_node(graph).op, Op(ScatterElements{})) << opset;
    else
      EXPECT_EQ(reason(graph), "opset 11 does not have it");
  }
}

TEST(OlderOpset, modes_of_grid_sample_and_coordinates_of_roi_align_get_their_present_words) {
  ModelBuilder b(16);
  b.input("x", {1, 1, 4, 4}).input("grid", {1, 2, 2, 2}).output("y");
  set_word(b.node("GridSample", "sample", {"x", "grid"}, {"y"}), "mode", "bicubic");
  EXPECT_EQ(only_node(b.load()).op, Op(GridSample{.mode = SampleMode::cubic}));
  ModelBuilder r(15);
  r.input("x", {1, 1, 4, 4}).input("rois", {2, 4}).constant("batch", int64_vector({0, 0})).output("y");
  r.node("RoiAlign", "align", {"x", "rois", "batch"}, {"y"});
  EXPECT_EQ(only_node(r.load()).op, Op(RoiAlign{.half_pixel = false}));
}

TEST(OlderOpset, hardmax_over_the_last_axis_is_kept_and_others_are_flattened) {
  for (const auto& [axis, flattened] : {std::pair{2, false}, std::pair{1, true}}) {
    ModelBuilder b(12);
    b.input("x", {1, 3, 4}).output("y");
    set_integer(b.node("Hardmax", "hardmax", {"x"}, {"y"}), "axis", axis);
    EXPECT_EQ(only_node(b.load()).op, Op(Hardmax{axis, flattened}));
  }
}

TEST(OlderOpset, roi_of_resize_is_read_only_by_tf_crop_and_resize) {
  for (const char* coordinates : {"half_pixel", "tf_crop_and_resize"}) {
    ModelBuilder b(13);
    b.input("x", {1, 1, 2, 2}).output("y").constant("roi", floats({8}, {0, 0, 0, 0, 1, 1, 1, 1}));
    b.constant("sizes", Tensor::from<std::int64_t>({4}, Ints{1, 1, 4, 4}));
    set_word(b.node("Resize", "resize", {"x", "roi", "", "sizes"}, {"y"}), "coordinate_transformation_mode",
             coordinates);
    EXPECT_EQ(only_node(b.load()).inputs[1] == ValueId::none, std::string(coordinates) == "half_pixel");
  }
}

TEST(OlderOpset, batch_norm_with_statistics_per_element_stays_opaque) {
  ModelBuilder b(7);
  b.input("x", {1, 2, 3, 3}).constant("p", floats({2}, {1, 1})).output("y");
  set_integer(b.node("BatchNormalization", "bn", {"x", "p", "p", "p", "p"}, {"y"}), "spatial", 0);
  EXPECT_NE(reason(b.load()).find("spatial=0"), std::string::npos);
}

TEST(OlderOpset, group_norm_repeats_the_parameters_of_a_group_for_its_channels) {
  ModelBuilder b(18);
  b.input("x", {1, 4, 2}).constant("scale", floats({2}, {1, 2})).constant("bias", floats({2}, {3, 4})).output("y");
  set_integer(b.node("GroupNormalization", "norm", {"x", "scale", "bias"}, {"y"}), "num_groups", 2);
  const Graph graph = b.load();
  const Node& node = only_node(graph);
  ASSERT_TRUE(std::holds_alternative<GroupNorm>(node.op));
  EXPECT_EQ(*graph.value(node.inputs[1]).constant, floats({4}, {1, 1, 2, 2}));
  EXPECT_EQ(*graph.value(node.inputs[2]).constant, floats({4}, {3, 3, 4, 4}));
}

TEST(OlderOpset, operator_newer_than_the_opset_stays_opaque) {
  ModelBuilder b(13);
  b.input("x", {2}).output("y");
  b.node("Mish", "mish", {"x"}, {"y"});
  EXPECT_EQ(reason(b.load()), "opset 13 does not have it; 18 is the first that does");
}

TEST(OlderOpset, mod_of_reals_equals_fmod_of_c_before_opset_28) {
  for (const auto& [opset, fmod] : {std::pair{13, 1}, {28, 1}, {13, 0}, {27, 0}, {28, 0}}) {
    ModelBuilder b(opset);
    b.input("x", {2}).input("y", {2}).output("z");
    set_integer(b.node("Mod", "mod", {"x", "y"}, {"z"}), "fmod", fmod);
    const Graph graph = b.load();
    if (fmod == 1 || opset == 28)
      EXPECT_EQ(only_node(graph).op, Op(Binary{.kind = BinaryKind::mod, .fmod = fmod == 1}));
    else
      EXPECT_NE(reason(graph).find("fmod=0"), std::string::npos);
  }
}

TEST(OlderOpset, constants_get_the_names_given_in_the_file) {
  ModelBuilder b(13);
  b.input("x", {2, 3}).output("y").output("z");
  for (const char* name : {"y", "z"}) {
    onnx::NodeProto& reduce = b.node("ReduceMean", name, {"x"}, {name});
    set_integers(reduce, "axes", {1});
    reduce.set_doc_string(std::string(kConstantName) + "axes=shared\n");
  }
  const Graph graph = b.load();
  const ValueId shared = graph.find("shared");
  ASSERT_NE(shared, ValueId::none);
  EXPECT_EQ(graph.consumers(shared).size(), 2u);
}

}  // namespace
}  // namespace bitfold
