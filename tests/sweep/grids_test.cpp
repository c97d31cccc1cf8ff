// The operators that the planner quantizes, with their values on grids: of 8 bits without and with signs, of 16 bits,
// and with weights per channel and in blocks of 4 bits. Reference and Session on every instruction set with one and two
// threads give the same codes, and a file keeps them.
//
// A code may differ from the simulation's by one where float32 sums round differently; moved elements may not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitfold/cpu.h"
#include "bitfold/onnx.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "ops/operator.h"
#include "quantize/weights.h"
#include "round_trip.h"
#include "sweep/network.h"

namespace bitfold::testing {
namespace {

enum class WeightGrids { per_tensor, per_channel, blocks };

struct Form {
  const char* name;
  GridSpec activations;
  int weight_bits;
  WeightGrids weights;
};

constexpr Form kForms[] = {
    {"unsigned 8 bits", {.bits = 8}, 8, WeightGrids::per_tensor},
    {"signed 8 bits", {.bits = 8, .is_signed = true}, 8, WeightGrids::per_channel},
    {"symmetric 8 bits", {.bits = 8, .is_signed = true, .scheme = Scheme::symmetric}, 8, WeightGrids::per_channel},
    {"unsigned 4 bits", {.bits = 4}, 4, WeightGrids::per_channel},
    {"unsigned 16 bits", {.bits = 16}, 8, WeightGrids::per_channel},
    {"signed 16 bits", {.bits = 16, .is_signed = true}, 8, WeightGrids::per_tensor},
    {"weights in blocks", {.bits = 8}, 4, WeightGrids::blocks},
};
constexpr std::int64_t kBlock = 4;

void set_grid(Value& value, const QuantParams& grid) {
  if (value.constant)
    quantization::set_codes(value, quantize(*value.constant, grid), grid);
  else
    value.quant = grid;
}

QuantParams grid_of_weights(const Op& op, const Tensor& weights, const Form& form) {
  const GridSpec spec{.bits = form.weight_bits, .is_signed = true, .scheme = Scheme::symmetric};
  const auto rank = static_cast<int>(weights.rank());
  const bool is_matmul = std::holds_alternative<MatMul>(op);
  const auto view = ops::weight_matrix(op, weights.shape());
  const int channels = is_matmul ? rank - 1 : view ? view->output_axis : 1;
  const int depth = is_matmul ? rank - 2 : 1 - channels;
  const bool has_axes = rank >= 2 && weights.size() > 0;
  if (form.weights == WeightGrids::blocks && has_axes) return choose_params_per_block(weights, depth, kBlock, spec);
  if (form.weights == WeightGrids::per_channel && has_axes) return choose_params_per_channel(weights, channels, spec);
  float low = 0, high = 0;
  for (float w : weights.data<float>()) low = std::min(low, w), high = std::max(high, w);
  return choose_params(low, high, spec);
}

/// A bias has the grid of the accumulators; other constants of that slot stay in float.
void set_bias_grid(Graph& graph, const Node& node, ValueId id) {
  const auto& x = graph.value(node.inputs[0]).quant;
  const auto& w = graph.value(node.inputs[1]).quant;
  Value& bias = graph.value(id);
  const auto* gemm = std::get_if<Gemm>(&node.op);
  if (!bias.constant || !x || !w || w->has_blocks() || bias.constant->rank() != 1) return;
  if (gemm != nullptr && (gemm->alpha != 1 || gemm->beta != 1)) return;
  const QuantParams grid = quantization::bias_grid(*x, *w);
  if (grid.per_channel() && bias.constant->size() != std::ssize(grid.scale)) return;
  set_grid(bias, grid);
}

/// The network with its values on grids; without grids if the case has no reals.
Network quantized(const Case& c, const Form& form) {
  Network network = make(c, usual_types(c));
  Graph& graph = network.graph;
  infer_shapes(graph);
  const Node& node = graph.node(graph.nodes()[0]);
  const std::vector<Tensor> reals = Reference(graph, {.plain_loops = true}).run(network.inputs);
  const bool moves = ops::info(c.op).role == ops::Role::movement && ops::moves_elements(c.op);
  double low = 0, high = 0;  // the range of all moved values together
  for (const Operand& operand : c.inputs) low = std::min(low, operand.low), high = std::max(high, operand.high);
  const QuantParams shared = choose_params(static_cast<float>(low), static_cast<float>(high), form.activations);

  ValueId bias = ValueId::none;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    if (id == ValueId::none || graph.value(id).dtype != DataType::float32) continue;
    const ops::Use use = slot_of(c, i).use;
    const Operand& operand = c.inputs[i];
    if (use == ops::Use::bias) bias = id;
    if (use == ops::Use::weights && operand.is_constant)
      set_grid(graph.value(id), grid_of_weights(c.op, *graph.value(id).constant, form));
    else if (use == ops::Use::data || use == ops::Use::weights)
      set_grid(graph.value(id), moves ? shared
                                      : choose_params(static_cast<float>(operand.low), static_cast<float>(operand.high),
                                                      form.activations));
  }
  if (bias != ValueId::none) set_bias_grid(graph, node, bias);
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    if (graph.value(node.outputs[i]).dtype != DataType::float32) continue;
    float least = 0, most = 0;
    for (float y : reals[i].data<float>())
      if (std::isfinite(y)) least = std::min(least, y), most = std::max(most, y);
    set_grid(graph.value(node.outputs[i]), moves ? shared : choose_params(least, most, form.activations));
  }
  graph.opset = 21;  // the first opset with 16 bits, 4 bits and blocks
  return network;
}

/// How two outputs differ: by more than `codes` steps of the grid, or in more than one of a thousand elements.
std::string difference_in_codes(const Tensor& actual, const Tensor& expected, const Value& value, int codes) {
  if (!value.quant || codes == 0) return difference(actual, expected, 0);
  const double step = static_cast<double>(value.quant->scale[0]);
  if (actual.shape() != expected.shape()) return "shapes differ";
  std::int64_t unequal = 0;
  for (std::size_t i = 0; i < actual.data<float>().size(); ++i) {
    const double a = static_cast<double>(actual.data<float>()[i]), e = static_cast<double>(expected.data<float>()[i]);
    // The reals of two codes are rounded to float32, which moves each by half a unit in the last place.
    const double rounding = codes * 1.2e-7 * std::abs(e);
    if (!(std::abs(a - e) <= 1.001 * codes * step + rounding))
      return fmt::format("element {} is {}, expected {}", i, a, e);
    unequal += a != e ? 1 : 0;
  }
  // At 16 bits a step is as small as the rounding of a sum in float32.
  const std::int64_t accepted = value.quant->bits > 8 ? actual.size() : 1 + actual.size() / 1000;
  return unequal <= accepted ? "" : fmt::format("{} of {} elements differ by a step", unequal, actual.size());
}

void expect_codes(const Network& network, const std::vector<Tensor>& actual, const std::vector<Tensor>& expected,
                  int codes, const std::string& by) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const Value& value = network.graph.value(network.graph.outputs()[i]);
    EXPECT_EQ(difference_in_codes(actual[i], expected[i], value, codes), "") << "output " << i << " of " << by;
  }
}

bool runs_in_integers(const Session& session) {
  return std::ranges::all_of(session.steps(), [](const StepInfo& s) { return s.is_integer || s.op == "Output"; });
}

/// Returns whether a session runs all of it in integers.
bool expect_same_codes_everywhere(const Network& network, int codes) {
  const std::vector<Tensor> expected = Reference(network.graph, {.plain_loops = true}).run(network.inputs);
  expect_codes(network, Reference(network.graph).run(network.inputs), expected, codes, "Reference");
  std::optional<std::vector<Tensor>> first;  // outputs of the first integer session; those of all others must be equal
  for (int isa = 0; isa <= static_cast<int>(detected_isa()); ++isa)
    for (int threads : {1, 2}) {
      Session session(network.graph, {.threads = threads, .isa = static_cast<Isa>(isa)});
      const std::vector<Tensor> actual = session.run(network.inputs);
      const auto by = fmt::format("Session, {}, {} threads", to_string(static_cast<Isa>(isa)), threads);
      expect_codes(network, actual, expected, codes, by);
      if (!runs_in_integers(session)) continue;
      if (!first) first = actual;
      EXPECT_EQ(actual, *first) << by << " differs from another instruction set";
    }
  return first.has_value();
}

class Grids : public RowTest {
 protected:
  template <class Check>
  void for_each_network(const Check& check) const {
    for (const Case& c : cases())
      for (const Form& form : kForms) {
        SCOPED_TRACE(fmt::format("{}, {}", describe(c, usual_types(c)), form.name));
        if (form.weights == WeightGrids::blocks && GetParam()->role != ops::Role::product) continue;
        try {
          check(c, quantized(c, form));
        } catch (const std::exception& error) {
          ADD_FAILURE() << error.what();
        }
      }
  }
};

TEST_P(Grids, give_the_same_codes_in_every_executor) {
  int in_integers = 0;
  for_each_network([&](const Case& c, const Network& network) {
    in_integers += expect_same_codes_everywhere(network, ops::moves_elements(c.op) ? 0 : 1) ? 1 : 0;
  });
  // A ConvTranspose has weights on grids and runs in float.
  if (GetParam()->name == "ConvTranspose") return;
  EXPECT_GT(in_integers, 0) << "no case of " << GetParam()->name << " ran in integers";
}

TEST_P(Grids, survive_the_text_form_and_a_file) {
  for_each_network([](const Case& c, const Network& network) {
    const Graph loaded = save_and_load(network.graph);
    const auto expected = Reference(network.graph, {.plain_loops = true}).run(network.inputs);
    expect_outputs(Reference(loaded, {.plain_loops = true}).run(network.inputs), expected, 0, "the loaded graph");
    EXPECT_EQ(print_graph(save_and_load(loaded)), print_graph(loaded));
    if (std::holds_alternative<Pad>(c.op)) return;  // a file has the pads of all axes
    EXPECT_EQ(print_graph(loaded), print_graph(network.graph));
  });
}

std::vector<const ops::OperatorInfo*> rows_on_grids() {
  std::vector<const ops::OperatorInfo*> rows = rows_that_can_be_run();
  std::erase_if(rows, [](const auto* row) { return row->role == ops::Role::in_float; });
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Operators, Grids, ::testing::ValuesIn(rows_on_grids()), row_name);

}  // namespace
}  // namespace bitfold::testing
