// DynamicQuantizeLSTM, an LSTM that quantizes its input once and its state at each step, to the ranges that they have.
// It becomes products over the whole sequence and a Scan over the steps, whose body quantizes the state.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/expansion.h"
#include "onnx/wire.h"
#include "ops/operator.h"
#include "ops/recurrent.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;
using Names = Expansion::Names;
using Attributes = Expansion::Attributes;
using Reason = std::optional<std::string>;

/// Inputs of the node.
enum Slots { kX, kW, kR, kBias, kLengths, kH, kC, kPeepholes, kWScale, kWZero, kRScale, kRZero };

/// Entry `index` of the first axis.
Tensor entry(const Tensor& t, std::int64_t index) {
  Tensor part(t.dtype(), Shape(t.shape().begin() + 1, t.shape().end()));
  const std::size_t bytes = part.size_bytes();
  std::memcpy(part.mutable_bytes(), t.bytes() + static_cast<std::size_t>(index) * bytes, bytes);
  return part;
}

/// The body of a Scan. Its names begin with a prefix, so that they hide no name of the outer graph.
class Body {
 public:
  explicit Body(std::string prefix) : prefix_(std::move(prefix)) { graph_.set_name("step"); }

  std::string input(const char* name) {
    graph_.add_input()->set_name(prefix_ + name);
    return prefix_ + name;
  }
  void output(const std::string& value) {
    const std::string name = fmt::format("{}output_{}", prefix_, graph_.output_size());
    graph_.add_output()->set_name(name);
    onnx::NodeProto& node = *graph_.add_node();
    Expansion::fill(node, "Identity", {value}, {});
    node.add_output(name);
  }
  Names add(const char* type, const Names& inputs, int count, const Attributes& attributes) {
    onnx::NodeProto& node = *graph_.add_node();
    Expansion::fill(node, type, inputs, attributes);
    Names outputs;
    for (int i = 0; i < count; ++i)
      outputs.push_back(*node.add_output() = fmt::format("{}{}_{}", prefix_, type, values_++));
    node.set_name(outputs.front());
    return outputs;
  }
  std::string add(const char* type, const Names& inputs, const Attributes& attributes = {}) {
    return add(type, inputs, 1, attributes).front();
  }
  std::string add_constant(Tensor value) { return add("Constant", {}, {{"value", std::move(value)}}); }
  std::string number(float value) { return add_constant(Tensor::from<float>({}, {value})); }

  std::string activated(const ops::Activation& a, const std::string& x) {
    using ops::GateFunction;
    switch (a.function) {
      case GateFunction::affine:
        return add("Add", {add("Mul", {x, number(a.alpha)}), number(a.beta)});
      case GateFunction::relu:
        return add("Relu", {x});
      case GateFunction::leaky_relu:
        return add("LeakyRelu", {x}, {{"alpha", a.alpha}});
      case GateFunction::thresholded_relu:
        return add("ThresholdedRelu", {x}, {{"alpha", a.alpha}});
      case GateFunction::tanh:
        return add("Tanh", {x});
      case GateFunction::scaled_tanh:
        return add("Mul", {add("Tanh", {add("Mul", {x, number(a.beta)})}), number(a.alpha)});
      case GateFunction::sigmoid:
        return add("Sigmoid", {x});
      case GateFunction::hard_sigmoid:
        return add("HardSigmoid", {x}, {{"alpha", a.alpha}, {"beta", a.beta}});
      case GateFunction::elu:
        return add("Elu", {x}, {{"alpha", a.alpha}});
      case GateFunction::softsign:
        return add("Softsign", {x});
      case GateFunction::softplus:
        return add("Softplus", {x});
    }
    return x;
  }

  const onnx::GraphProto& graph() const { return graph_; }

 private:
  std::string prefix_;
  onnx::GraphProto graph_;
  int values_ = 0;
};

class DynamicLstm {
 public:
  explicit DynamicLstm(Expansion& e) : e_(e) {}

  Reason run() {
    for (const int slot : {kW, kR, kWScale, kWZero, kRScale, kRZero})
      if (e_.has(slot) && e_.constant(slot) == nullptr) return "its weights are computed";
    read_attributes();
    check_weights(kW, kWScale, kWZero);
    check_weights(kR, kRScale, kRZero);
    hidden_ = e_.constant(kR)->shape()[1];
    check(e_.constant(kR)->shape()[2] == 4 * hidden_ && e_.constant(kW)->shape()[2] == 4 * hidden_,
          "W and R have shapes {} and {}; their last axis is 4 times the hidden size",
          to_string(e_.constant(kW)->shape()), to_string(e_.constant(kR)->shape()));
    prepare();
    std::array<Names, 3> results;  // of each direction: y, last h, last c
    for (std::int64_t d = 0; d < directions_; ++d) {
      const Names made = scan(d);
      for (std::size_t i = 0; i < results.size(); ++i)
        results[i].push_back(e_.add("Unsqueeze", {made[i], e_.list({i == 0 ? 1 : 0})}));
    }
    for (int slot = 0; slot < 3; ++slot)
      if (e_.gives(slot))
        e_.give(slot, "Concat", results[static_cast<std::size_t>(slot)], {{"axis", std::int64_t{slot == 0 ? 1 : 0}}});
    return std::nullopt;
  }

 private:
  /// The attributes are those of LSTM; hidden_size repeats what the weights say.
  void read_attributes() {
    const ops::OperatorInfo& lstm = *ops::find_operator("", "LSTM");
    Op op = lstm.prototype;
    for (auto& [name, value] :
         e_.attributes({"direction", "activations", "activation_alpha", "activation_beta", "input_forget", "clip"})) {
      const ops::Field& field = *std::ranges::find(lstm.fields, name, &ops::Field::name);
      if (const Reason reason = field.set(op, *value_for(field, std::move(value)))) fail("{}", *reason);
    }
    op_ = std::get<Recurrent>(std::move(op));
    directions_ = op_.direction == Direction::bidirectional ? 2 : 1;
  }

  void check_weights(int slot, int scale, int zero) const {
    const char* name = slot == kW ? "W" : "R";
    const Tensor& codes = *e_.constant(slot);
    check(codes.dtype() == DataType::int8 || codes.dtype() == DataType::uint8, "{} has type {}", name,
          to_string(codes.dtype()));
    check(codes.rank() == 3 && codes.shape()[0] == directions_,
          "{} has shape {}, expected 3 axes, the first of size {}", name, to_string(codes.shape()), directions_);
    for (const int parameter : {scale, zero}) {
      if (!e_.has(parameter)) continue;
      const Shape& shape = e_.constant(parameter)->shape();
      check(shape == Shape{directions_} || shape == Shape{directions_, codes.shape()[2]},
            "the scales or zero points of {} have shape {}, expected {} or {}", name, to_string(shape),
            to_string(Shape{directions_}), to_string(Shape{directions_, codes.shape()[2]}));
    }
    check(e_.has(scale) && e_.constant(scale)->dtype() == DataType::float32, "{} has no scale in float32", name);
  }

  /// The product of quantized numbers (codes, scale, zero point) with the weights of one direction, [inputs, 4 *
  /// hidden], as reals. `builder` adds the nodes to the outer graph or to the body.
  template <class Builder>
  std::string product(Builder& builder, const Names& a, int slot, int scale, int zero, std::int64_t direction) {
    const auto part = [&](int input) {
      return e_.has(input) ? builder.add_constant(entry(*e_.constant(input), direction)) : "";
    };
    const std::string sums = builder.add("MatMulInteger", {a[0], part(slot), a[2], part(zero)});
    return builder.add(
        "Mul", {builder.add("Cast", {sums}, {{"to", DataType::float32}}), builder.add("Mul", {a[1], part(scale)})});
  }

  /// Values that both directions share.
  void prepare() {
    const std::string shape = e_.add("Shape", {e_.input(kX)});
    std::string x = e_.input(kX);
    if (e_.has(kLengths)) {
      // Steps past the end of the longest sequence are not part of the range of x.
      lengths_ = e_.add("Cast", {e_.input(kLengths)}, {{"to", DataType::int64}});
      const std::string steps = e_.add("Gather", {shape, e_.number(std::int64_t{0})});
      const std::string times =
          e_.add("Unsqueeze",
                 {e_.add("Range", {e_.number(std::int64_t{0}), steps, e_.number(std::int64_t{1})}), e_.list({1, 2})});
      is_valid_ = e_.add("Less", {times, e_.add("Unsqueeze", {lengths_, e_.list({0, 2})})});
      const std::string longest = e_.add("ReduceMax", {lengths_}, {{"keepdims", std::int64_t{0}}});
      x = e_.add("Where", {e_.add("Less", {times, longest}), x, e_.number(0.0F)});
    }
    x_ = e_.add("DynamicQuantizeLinear", {x}, 3, {});
    if (e_.has(kBias)) {
      const std::string pairs = e_.add("Reshape", {e_.input(kBias), e_.list({directions_, 2, 4 * hidden_})});
      bias_ = e_.add("ReduceSum", {pairs, e_.list({1})}, {{"keepdims", std::int64_t{0}}});
    }
    if (!e_.has(kH) || !e_.has(kC)) {
      const std::string batch = e_.add("Gather", {shape, e_.list({1})});
      const std::string size = e_.add("Concat", {batch, e_.list({hidden_})}, {{"axis", std::int64_t{0}}});
      zeros_ = e_.add("Expand", {e_.number(0.0F), size});
    }
  }

  std::string part_of(const std::string& value, std::int64_t direction) {
    return e_.add("Gather", {value, e_.number(direction)});
  }
  std::string first_state(int slot, std::int64_t direction) {
    return e_.has(slot) ? part_of(e_.input(slot), direction) : zeros_;
  }
  /// Each sequence in reverse, up to its own length.
  std::string reversed(const std::string& x) {
    return e_.add("ReverseSequence", {x, lengths_}, {{"batch_axis", std::int64_t{1}}, {"time_axis", std::int64_t{0}}});
  }

  /// y, last h and last c of one direction.
  Names scan(std::int64_t direction) {
    const bool is_reverse = op_.direction == Direction::reverse || direction == 1, has_lengths = e_.has(kLengths);
    Names x = x_;
    if (is_reverse && has_lengths) x[0] = reversed(x[0]);
    std::string sums = product(e_, x, kW, kWScale, kWZero, direction);
    if (e_.has(kBias)) sums = e_.add("Add", {sums, part_of(bias_, direction)});
    const std::string h = first_state(kH, direction), c = first_state(kC, direction);
    const onnx::GraphProto body = step(direction, sums + "/step/");
    const Names inputs = has_lengths ? Names{h, c, h, sums, is_valid_} : Names{h, c, sums};
    Attributes attributes{{"num_scan_inputs", std::int64_t{has_lengths ? 2 : 1}}};
    if (is_reverse && !has_lengths) {
      attributes.emplace_back("scan_input_directions", Ints{1});
      attributes.emplace_back("scan_output_directions", Ints{1});
    }
    const Names outputs = e_.add("Scan", inputs, body.output_size(), attributes);
    set_graph(e_.nodes().back(), "body", body);
    const std::string& y = outputs.back();
    if (!has_lengths) return {y, outputs[0], outputs[1]};
    // The last state of an empty sequence is 0.
    const std::string is_empty =
        e_.add("Unsqueeze", {e_.add("Equal", {lengths_, e_.number(std::int64_t{0})}), e_.list({1})});
    const auto last = [&](const std::string& state) { return e_.add("Where", {is_empty, e_.number(0.0F), state}); };
    return {is_reverse ? reversed(y) : y, last(outputs[2]), last(outputs[1])};
  }

  /// h, c, [last h], sums over the input, [whether the step is part of the sequence] -> h, c, [last h], y. With lengths
  /// h becomes 0 past the end of a sequence, so that it does not enlarge the range.
  onnx::GraphProto step(std::int64_t direction, std::string prefix) {
    const bool has_lengths = e_.has(kLengths);
    Body body(std::move(prefix));
    const std::string h = body.input("h"), c = body.input("c"), last = has_lengths ? body.input("last") : "";
    const std::string sums = body.input("sums"), is_valid = has_lengths ? body.input("is_valid") : "";
    const Names codes = body.add("DynamicQuantizeLinear", {h}, 3, {});
    const std::string gates = body.add("Add", {sums, product(body, codes, kR, kRScale, kRZero, direction)});
    const auto [new_h, new_c] = apply_gates(body, direction, gates, c);
    if (!has_lengths) {
      for (const std::string& value : {new_h, new_c, new_h}) body.output(value);
      return body.graph();
    }
    const std::string y = body.add("Where", {is_valid, new_h, body.number(0)});
    body.output(y);
    body.output(body.add("Where", {is_valid, new_c, c}));
    body.output(body.add("Where", {is_valid, new_h, last}));
    body.output(y);
    return body.graph();
  }

  /// The new h and c. The gates are in the order input, output, forget, cell; so are the peepholes.
  std::pair<std::string, std::string> apply_gates(Body& body, std::int64_t direction, const std::string& gates,
                                                  const std::string& c) {
    const std::vector<ops::Activation> functions = ops::activations_of(op_, direction);
    const Names gate = body.add("Split", {gates}, 4, {{"axis", std::int64_t{-1}}, {"num_outputs", std::int64_t{4}}});
    Names peepholes;
    if (e_.has(kPeepholes))
      peepholes = e_.add("Split", {part_of(e_.input(kPeepholes), direction)}, 3, {{"num_outputs", std::int64_t{3}}});
    const auto opened = [&](std::size_t i, const std::string& cell) {
      std::string x = gate[i];
      if (i < peepholes.size()) x = body.add("Add", {x, body.add("Mul", {peepholes[i], cell})});
      if (op_.clip) x = body.add("Clip", {x, body.number(-*op_.clip), body.number(*op_.clip)});
      return body.activated(functions[i < 3 ? 0 : 1], x);
    };
    const std::string in = opened(0, c);
    const std::string forget = op_.input_forget ? body.add("Sub", {body.number(1), in}) : opened(2, c);
    const std::string new_c = body.add("Add", {body.add("Mul", {forget, c}), body.add("Mul", {in, opened(3, c)})});
    return {body.add("Mul", {opened(1, new_c), body.activated(functions[2], new_c)}), new_c};
  }

  Expansion& e_;
  Recurrent op_;
  std::int64_t directions_ = 1, hidden_ = 0;
  Names x_;  // codes, scale and zero point of the input
  std::string bias_, zeros_, lengths_, is_valid_;
};

Reason dynamic_quantize_lstm(Expansion& e) { return DynamicLstm(e).run(); }

}  // namespace

std::vector<ExpansionRow> recurrent_expansions() {
  return {{kMicrosoft, "DynamicQuantizeLSTM", dynamic_quantize_lstm}};
}

}  // namespace bitfold
