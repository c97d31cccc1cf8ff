// Losses of classification: NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss. Sums are computed in double.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

enum : std::size_t { kScores, kLabels, kWeights };

void expect_size(std::int64_t found, std::int64_t expected, std::string_view what) {
  check(fits(found, expected), "{} is {}, expected {}", what, found, expected);
}

std::optional<Shape> loss_shape(const Inputs& in, LossReduction reduction) {
  const auto &scores = in.shape(kScores), &labels = in.shape(kLabels);
  if (scores) check(scores->size() >= 2, "scores have shape {}, expected [N, C, ...]", to_string(*scores));
  if (scores && labels) {
    check(labels->size() + 1 == scores->size(),
          "labels have shape {} and scores have {}; labels must lack only the axis of classes", to_string(*labels),
          to_string(*scores));
    for (std::size_t i = 0; i < labels->size(); ++i)
      expect_size((*labels)[i], (*scores)[i == 0 ? 0 : i + 1], "a size of the labels");
  }
  if (in.has(kWeights) && in.shape(kWeights)) {
    const Shape& weights = *in.shape(kWeights);
    check(weights.size() == 1, "weights have shape {}, expected one axis", to_string(weights));
    if (scores) expect_size(weights[0], (*scores)[1], "the number of weights");
  }
  if (reduction != LossReduction::none) return Shape{};
  return labels;
}

Outputs infer_nll(const Inputs& in) {
  return {real(loss_shape(in, std::get<NegativeLogLikelihoodLoss>(in.node.op).reduction))};
}

Outputs infer_cross_entropy(const Inputs& in) {
  Outputs outputs{real(loss_shape(in, std::get<SoftmaxCrossEntropyLoss>(in.node.op).reduction))};
  if (in.node.outputs.size() > 1) outputs.push_back(real(in.shape(kScores)));
  return outputs;
}

struct LossSizes {
  std::int64_t batch, classes, inner;
  explicit LossSizes(const TensorView& scores)
      : batch(scores.shape[0]), classes(scores.shape[1]), inner(product(scores.shape.subspan(2))) {}
};

/// `log_probability(sample, position, label)` is the logarithm of the label's probability.
template <class Op, class F>
void reduce_loss(const Node& node, const Op& op, std::span<const TensorView> in, const TensorView& out,
                 const F& log_probability) {
  const LossSizes s(in[kScores]);
  double sum = 0, weights = 0;
  for (std::int64_t n = 0; n < s.batch; ++n)
    for (std::int64_t i = 0; i < s.inner; ++i) {
      const std::int64_t label = integer_at(in[kLabels], n * s.inner + i);
      double loss = 0;
      if (label != op.ignore_index) {
        if (label < 0 || label >= s.classes)
          fail("{} label {} of sample {} is {}, but there are {} classes", where(node), i, n, label, s.classes);
        const double weight = is_given(in, kWeights) ? in[kWeights].template as<float>()[label] : 1.0;
        loss = -weight * log_probability(n, i, label);
        weights += weight;
      }
      if (out.data != nullptr && op.reduction == LossReduction::none)
        out.template as<float>()[n * s.inner + i] = static_cast<float>(loss);
      sum += loss;
    }
  if (out.data == nullptr || op.reduction == LossReduction::none) return;
  *out.template as<float>() = static_cast<float>(op.reduction == LossReduction::mean ? sum / weights : sum);
}

void nll(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const LossSizes s(in[kScores]);
  const float* x = in[kScores].as<float>();
  reduce_loss(node, std::get<NegativeLogLikelihoodLoss>(node.op), in, out[0],
              [&](std::int64_t n, std::int64_t i, std::int64_t label) -> double {
                return x[(n * s.classes + label) * s.inner + i];
              });
}

void cross_entropy(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const LossSizes s(in[kScores]);
  const float* x = in[kScores].as<float>();
  /// log(sum of exp) over the classes; the maximum is subtracted first, so that nothing overflows.
  const auto log_sum = [&](std::int64_t n, std::int64_t i) {
    const float* row = x + n * s.classes * s.inner + i;
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::int64_t c = 0; c < s.classes; ++c) top = std::max<double>(top, row[c * s.inner]);
    for (std::int64_t c = 0; c < s.classes; ++c) sum += std::exp(row[c * s.inner] - top);
    return top + std::log(sum);
  };
  reduce_loss(node, std::get<SoftmaxCrossEntropyLoss>(node.op), in, out[0],
              [&](std::int64_t n, std::int64_t i, std::int64_t label) {
                return x[(n * s.classes + label) * s.inner + i] - log_sum(n, i);
              });
  if (!is_given(out, 1)) return;
  for (std::int64_t n = 0; n < s.batch; ++n)
    for (std::int64_t i = 0; i < s.inner; ++i) {
      const double shift = log_sum(n, i);
      for (std::int64_t c = 0; c < s.classes; ++c) {
        const std::int64_t at = (n * s.classes + c) * s.inner + i;
        out[1].as<float>()[at] = static_cast<float>(x[at] - shift);
      }
    }
}

}  // namespace

std::vector<OperatorInfo> loss_operators() {
  const std::vector<Word<LossReduction>> reductions{
      {"none", LossReduction::none}, {"mean", LossReduction::mean}, {"sum", LossReduction::sum}};
  const auto inputs = [](std::string_view scores, std::string_view labels, std::string_view weights) {
    return std::vector<Slot>{{scores, kReal, 'T'},
                             {labels, kIndex, 0, Presence::required, Use::parameter},
                             {weights, kReal, 'T', Presence::optional, Use::parameter}};
  };
  return {{.name = "NegativeLogLikelihoodLoss",
           .since = 12,
           .prototype = NegativeLogLikelihoodLoss{},
           .inputs = inputs("input", "target", "weight"),
           .outputs = {{"loss", kReal, 'T'}},
           .fields = {field("ignore_index", &NegativeLogLikelihoodLoss::ignore_index),
                      field("reduction", &NegativeLogLikelihoodLoss::reduction, reductions)},
           .infer = infer_nll,
           .evaluate = nll},
          {.name = "SoftmaxCrossEntropyLoss",
           .since = 12,
           .prototype = SoftmaxCrossEntropyLoss{},
           .inputs = inputs("scores", "labels", "weights"),
           .outputs = {{"output", kReal, 'T'}, {"log_prob", kReal, 'T'}},
           .fields = {field("ignore_index", &SoftmaxCrossEntropyLoss::ignore_index),
                      field("reduction", &SoftmaxCrossEntropyLoss::reduction, reductions)},
           .infer = infer_cross_entropy,
           .evaluate = cross_entropy}};
}

}  // namespace bitfold::ops
