// Activations, normalizations, products and poolings of com.microsoft, most of them several operators fused into one.
#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "onnx/expansion.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;
using Reason = std::optional<std::string>;

constexpr const char* kNoRank = "the rank of its input is unknown";

// Activations ---------------------------------------------------------------------------------------------------------

/// Input 0 plus input `slot`, if that is given.
std::string with_bias(Expansion& e, int slot) {
  return e.has(slot) ? e.add("Add", {e.input(0), e.input(slot)}) : e.input(0);
}

Reason gelu(Expansion& e) {
  e.give(0, "Gelu", {e.input(0)});
  return std::nullopt;
}
Reason bias_gelu(Expansion& e) {
  e.give(0, "Gelu", {with_bias(e, 1)});
  return std::nullopt;
}
Reason fast_gelu(Expansion& e) {
  e.give(0, "Gelu", {with_bias(e, 1)}, {{"approximate", std::string("tanh")}});
  return std::nullopt;
}
/// x sigmoid(alpha x)
Reason quick_gelu(Expansion& e) {
  const std::string x = e.input(0);
  e.give(0, "Mul", {x, e.add("Sigmoid", {e.add("Mul", {x, e.number(e.real("alpha", 1.702F))})})});
  return std::nullopt;
}
/// The first half of the channels times the Gelu of the second half.
Reason bias_split_gelu(Expansion& e) {
  const auto halves =
      e.add("Split", {with_bias(e, 1)}, 2, {{"axis", std::int64_t{-1}}, {"num_outputs", std::int64_t{2}}});
  e.give(0, "Mul", {halves[0], e.add("Gelu", {halves[1]})});
  return std::nullopt;
}

/// Gives output 0 as `activation` of x. The parameters are those of the operator that the activation names.
Reason give_activated(Expansion& e, const std::string& x, const std::string& activation,
                      std::vector<float> parameters) {
  const auto parameter = [&](std::size_t i, float otherwise) {
    return i < parameters.size() ? parameters[i] : otherwise;
  };
  if (activation.empty())
    e.give(0, "Identity", {x});
  else if (activation == "Relu" || activation == "Sigmoid" || activation == "Tanh" || activation == "Softplus" ||
           activation == "Softsign" || activation == "HardSwish" || activation == "Gelu")
    e.give(0, activation.c_str(), {x});
  else if (activation == "LeakyRelu")
    e.give(0, "LeakyRelu", {x}, {{"alpha", parameter(0, 0.01F)}});
  else if (activation == "Elu")
    e.give(0, "Elu", {x}, {{"alpha", parameter(0, 1)}});
  else if (activation == "HardSigmoid")
    e.give(0, "HardSigmoid", {x}, {{"alpha", parameter(0, 0.2F)}, {"beta", parameter(1, 0.5F)}});
  else if (activation == "Clip" && parameters.size() == 2)
    e.give(0, "Clip", {x, e.number(parameters[0]), e.number(parameters[1])});
  else
    return fmt::format("its activation is '{}'", activation);
  return std::nullopt;
}

// Normalizations ------------------------------------------------------------------------------------------------------

const Expansion::Attributes last_axis(float epsilon) { return {{"axis", std::int64_t{-1}}, {"epsilon", epsilon}}; }

Reason layer_norm(Expansion& e) {
  if (e.gives(1) || e.gives(2)) return "its statistics are used";
  e.give(0, "LayerNormalization", {e.input(0), e.input(1), e.input(2)}, e.attributes({"axis", "epsilon"}));
  return std::nullopt;
}
Reason simplified_layer_norm(Expansion& e) {
  if (e.gives(1)) return "its statistics are used";
  e.give(0, "RMSNormalization", {e.input(0), e.input(1)}, e.attributes({"axis", "epsilon"}));
  return std::nullopt;
}

/// The sum of input, skip and bias, which is also output 3.
std::string skip_sum(Expansion& e, int bias_slot) {
  std::string sum = e.has(bias_slot) ? e.add("Add", {e.input(0), e.input(bias_slot)}) : e.input(0);
  if (!e.gives(3)) return e.add("Add", {sum, e.input(1)});
  e.give(3, "Add", {sum, e.input(1)});
  return e.node().output(3);
}
Reason skip_layer_norm(Expansion& e) {
  if (e.gives(1) || e.gives(2)) return "its statistics are used";
  const std::string sum = skip_sum(e, 4);
  e.give(0, "LayerNormalization", {sum, e.input(2), e.input(3)}, last_axis(e.real("epsilon", 1e-12F)));
  return std::nullopt;
}
Reason skip_simplified_layer_norm(Expansion& e) {
  if (e.gives(1) || e.gives(2)) return "its statistics are used";
  const std::string sum = skip_sum(e, 3);
  e.give(0, "RMSNormalization", {sum, e.input(2)}, last_axis(e.real("epsilon", 1e-12F)));
  return std::nullopt;
}

/// ids, [segment ids], words, positions, [segments], gamma, beta, [mask], [position ids]
Reason embed_layer_norm(Expansion& e) {
  const std::string ids = e.input(0);
  const auto dimension = [&](std::int64_t axis) { return e.add("Shape", {ids}, {{"start", axis}, {"end", axis + 1}}); };
  const std::string words = e.add("Gather", {e.input(2), ids});
  const std::string positions = e.has(8) ? e.add("Gather", {e.input(3), e.input(8)})
                                         : e.add("Slice", {e.input(3), e.list({0}), dimension(1), e.list({0})});
  std::string sum = e.add("Add", {words, positions});
  if (e.has(1) && e.has(4)) sum = e.add("Add", {sum, e.add("Gather", {e.input(4), e.input(1)})});
  if (e.gives(2)) e.give(2, "Identity", {sum});
  e.give(0, "LayerNormalization", {sum, e.input(5), e.input(6)}, last_axis(e.real("epsilon", 1e-12F)));
  if (!e.gives(1)) return std::nullopt;
  // The number of valid tokens of each sequence.
  if (e.has(7))
    e.give(1, "ReduceSum", {e.input(7), e.list({1})}, {{"keepdims", std::int64_t{0}}});
  else
    e.give(1, "ConstantOfShape", {dimension(0)}, {{"value", Tensor(DataType::int32, {1})}});
  return std::nullopt;
}

// Images with the channels last ---------------------------------------------------------------------------------------

/// The axes of an image with `rank` axes, with the channels moved to axis 1 or to the end.
Ints channels_first(std::int64_t rank) {
  Ints perm(static_cast<std::size_t>(rank));
  std::iota(perm.begin(), perm.end(), -1);
  perm[0] = 0;
  perm[1] = rank - 1;
  return perm;
}
Ints channels_last(std::int64_t rank) {
  Ints perm(static_cast<std::size_t>(rank));
  std::iota(perm.begin(), perm.end(), 1);
  perm[0] = 0;
  perm.back() = 1;
  return perm;
}

Reason nhwc(Expansion& e, const char* type, std::initializer_list<std::string_view> names) {
  const auto rank = e.rank(0);
  if (!rank || *rank < 3) return kNoRank;
  Expansion::Names inputs{e.add("Transpose", {e.input(0)}, {{"perm", channels_first(*rank)}})};
  for (int i = 1; i < e.node().input_size(); ++i) inputs.push_back(e.input(i));
  e.give(0, "Transpose", {e.add(type, inputs, e.attributes(names))}, {{"perm", channels_last(*rank)}});
  return std::nullopt;
}
Reason nhwc_conv(Expansion& e) {
  return nhwc(e, "Conv", {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"});
}
Reason nhwc_max_pool(Expansion& e) {
  return nhwc(e, "MaxPool", {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"});
}

Reason group_norm_of(Expansion& e, std::string x) {
  const auto rank = e.rank(0);
  if (!rank || *rank < 3) return kNoRank;
  const std::int64_t activation = e.integer("activation", 0);
  if (activation != 0 && activation != 1) return fmt::format("its activation is {}", activation);
  const bool is_last = e.integer("channels_last", 1) != 0;
  if (is_last) x = e.add("Transpose", {x}, {{"perm", channels_first(*rank)}});
  std::string y = e.add("GroupNormalization", {x, e.input(1), e.input(2)},
                        {{"num_groups", e.integer("groups", 1)}, {"epsilon", e.real("epsilon", 1e-5F)}});
  if (activation == 1) y = e.add("Mul", {y, e.add("Sigmoid", {y})});
  if (is_last)
    e.give(0, "Transpose", {y}, {{"perm", channels_last(*rank)}});
  else
    e.give(0, "Identity", {y});
  return std::nullopt;
}
Reason group_norm(Expansion& e) { return group_norm_of(e, e.input(0)); }

// Products ------------------------------------------------------------------------------------------------------------

/// A factor of FusedMatMul with its axes in the order of MatMul. `batch`: the rows are its first axis.
Reason transposed(Expansion& e, int slot, bool batch, bool last_two, std::string& factor) {
  factor = e.input(slot);
  if (!batch && !last_two) return std::nullopt;
  const auto rank = e.rank(slot);
  if (!rank) return kNoRank;
  if (*rank < 2) return std::nullopt;
  Ints perm(static_cast<std::size_t>(*rank));
  std::iota(perm.begin(), perm.end(), 0);
  if (batch && *rank > 2) std::rotate(perm.begin(), perm.begin() + 1, perm.end() - 1);
  if (last_two) std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  factor = e.add("Transpose", {factor}, {{"perm", perm}});
  return std::nullopt;
}

Reason fused_product(Expansion& e, std::string& product) {
  std::string a, b;
  if (auto reason = transposed(e, 0, e.integer("transBatchA", 0) != 0, e.integer("transA", 0) != 0, a)) return reason;
  if (auto reason = transposed(e, 1, e.integer("transBatchB", 0) != 0, e.integer("transB", 0) != 0, b)) return reason;
  product = e.add("MatMul", {a, b});
  if (const float alpha = e.real("alpha", 1); alpha != 1) product = e.add("Mul", {product, e.number(alpha)});
  return std::nullopt;
}
Reason fused_matmul(Expansion& e) {
  std::string product;
  if (auto reason = fused_product(e, product)) return reason;
  e.nodes().back().set_output(0, e.node().output(0));
  return std::nullopt;
}

Reason fused_conv(Expansion& e) {
  std::string y = e.add("Conv", {e.input(0), e.input(1), e.input(2)},
                        e.attributes({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}));
  if (e.has(3)) y = e.add("Add", {y, e.input(3)});
  return give_activated(e, y, e.word("activation", ""), e.reals("activation_params"));
}

std::vector<float> activation_parameters(const Expansion& e) {
  std::vector<float> parameters;
  for (const char* name : {"activation_alpha", "activation_beta"})
    if (!e.attributes({name}).empty()) parameters.push_back(e.real(name, 0));
  return parameters;
}
Reason fused_gemm(Expansion& e) {
  const std::string y =
      e.add("Gemm", {e.input(0), e.input(1), e.input(2)}, e.attributes({"alpha", "beta", "transA", "transB"}));
  return give_activated(e, y, e.word("activation", ""), activation_parameters(e));
}
Reason fused_matmul_activation(Expansion& e) {
  std::string product;
  if (auto reason = fused_product(e, product)) return reason;
  return give_activated(e, product, e.word("activation", ""), activation_parameters(e));
}
Reason gemm_fast_gelu(Expansion& e) {
  std::string y = e.add("MatMul", {e.input(0), e.input(1)});
  if (e.has(2)) y = e.add("Add", {y, e.input(2)});
  e.give(0, "Gelu", {y}, {{"approximate", std::string("tanh")}});
  return std::nullopt;
}

Reason trilu(Expansion& e) {
  e.give(0, "Trilu", {e.input(0), e.input(1)}, e.attributes({"upper"}));
  return std::nullopt;
}

}  // namespace

std::vector<ExpansionRow> fused_expansions() {
  return {{kMicrosoft, "Gelu", gelu},
          {kMicrosoft, "BiasGelu", bias_gelu},
          {kMicrosoft, "FastGelu", fast_gelu},
          {kMicrosoft, "QuickGelu", quick_gelu},
          {kMicrosoft, "BiasSplitGelu", bias_split_gelu},
          {kMicrosoft, "LayerNormalization", layer_norm},
          {kMicrosoft, "SimplifiedLayerNormalization", simplified_layer_norm},
          {"", "SimplifiedLayerNormalization", simplified_layer_norm},
          {kMicrosoft, "SkipLayerNormalization", skip_layer_norm},
          {kMicrosoft, "SkipSimplifiedLayerNormalization", skip_simplified_layer_norm},
          {kMicrosoft, "EmbedLayerNormalization", embed_layer_norm},
          {kMicrosoft, "NhwcConv", nhwc_conv},
          {kMicrosoft, "NhwcMaxPool", nhwc_max_pool},
          {kMicrosoft, "GroupNorm", group_norm},
          {kMicrosoft, "FusedMatMul", fused_matmul},
          {kMicrosoft, "TransposeMatMul", fused_matmul},
          {kMicrosoft, "FusedMatMulActivation", fused_matmul_activation},
          {kMicrosoft, "FusedConv", fused_conv},
          {kMicrosoft, "FusedGemm", fused_gemm},
          {kMicrosoft, "GemmFastGelu", gemm_fast_gelu},
          {kMicrosoft, "Trilu", trilu}};
}

}  // namespace bitfold
