#include "quantize/choose_grids.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "bitfold/cpu.h"
#include "quantize/partial_run.h"
#include "quantize/roles.h"
#include "quantize/samples.h"

namespace bitfold::quantization {
namespace {

// The first candidate is based on the statistics of all samples, the measured errors on a few, so another candidate
// must be clearly better.
constexpr double kClearly = 0.95;

// The sum of term(i)^2, in independent lanes so that additions overlap.
template <class Term>
double sum_of_squares(std::size_t count, const Term& term) {
  std::array<double, 8> lanes{};
  const std::size_t whole = count / lanes.size() * lanes.size();
  for (std::size_t i = 0; i < whole; i += lanes.size())
    for (std::size_t k = 0; k < lanes.size(); ++k) lanes[k] += term(i + k) * term(i + k);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  for (std::size_t i = whole; i < count; ++i) sum += term(i) * term(i);
  return sum;
}

double squared_norm(const Tensor& x) {
  const auto a = x.data<float>();
  return sum_of_squares(a.size(), [a](std::size_t i) { return static_cast<double>(a[i]); });
}

double squared_distance(const Tensor& x, const Tensor& y) {
  const auto a = x.data<float>(), b = y.data<float>();
  check(a.size() == b.size(), "a grid changed the shape of an output");
  return sum_of_squares(a.size(), [a, b](std::size_t i) { return static_cast<double>(a[i] - b[i]); });
}

/// Computes the network's outputs if only the members of one group are on a grid.
class Consequence {
 public:
  Consequence(const Graph& graph, const std::vector<NodeId>& order, const std::vector<ValueId>& members)
      : is_member_(graph.value_capacity()) {
    std::vector<bool> is_changed(is_member_.size());
    for (ValueId id : members) is_member_[index(id)] = is_changed[index(id)] = true;
    for (NodeId id : order) {
      const auto reads_change = [&](ValueId in) { return in != ValueId::none && is_changed[index(in)]; };
      const Node& node = graph.node(id);
      if (!std::any_of(node.inputs.begin(), node.inputs.end(), reads_change)) continue;
      nodes_.push_back(id);
      for (ValueId out : used_outputs(graph, id)) is_changed[index(out)] = true;
    }
    // Members that are not computed by one of the nodes to run again are snapped at the start.
    for (ValueId id : members) {
      const NodeId producer = graph.producer(id);
      if (std::find(nodes_.begin(), nodes_.end(), producer) == nodes_.end()) roots_.push_back(id);
    }
    for (ValueId id : graph.outputs())
      if (is_changed[index(id)] && graph.value(id).dtype == DataType::float32) outputs_.push_back(id);
  }

  const std::vector<ValueId>& outputs() const { return outputs_; }

  /// The squared error at each of outputs(). Adds the number of computed elements to `work`.
  std::vector<double> noise(const Graph& graph, const Reference& reference, const Values& values,
                            const QuantParams& grid, std::int64_t& work) const {
    Values changed(values.size());
    for (ValueId id : roots_) changed[index(id)] = snap(*values[index(id)], grid);
    for (NodeId id : nodes_) {
      const Node& node = graph.node(id);
      std::vector<Tensor> inputs;
      for (ValueId in : node.inputs) {
        const bool is_given = in == ValueId::none || graph.is_constant(in);
        inputs.push_back(is_given ? Tensor() : changed[index(in)] ? *changed[index(in)] : *values[index(in)]);
      }
      std::vector<Tensor> outputs = reference.run_node(id, inputs);
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        const ValueId out = node.outputs[i];
        if (out == ValueId::none) continue;
        work += outputs[i].size();
        changed[index(out)] = is_member_[index(out)] ? snap(outputs[i], grid) : std::move(outputs[i]);
      }
    }
    std::vector<double> noise;
    for (ValueId id : outputs_) noise.push_back(squared_distance(*changed[index(id)], *values[index(id)]));
    return noise;
  }

 private:
  std::vector<bool> is_member_;
  std::vector<ValueId> roots_, outputs_;
  std::vector<NodeId> nodes_;
};

/// Indexed by choice, then as Consequence::outputs().
using Signals = std::vector<std::vector<double>>;
/// Indexed by choice and candidate, then as Consequence::outputs().
using Noises = std::vector<std::vector<std::vector<double>>>;

void add_to(std::vector<double>& sums, const std::vector<double>& terms) {
  sums.resize(terms.size());
  for (std::size_t i = 0; i < terms.size(); ++i) sums[i] += terms[i];
}

/// Runs groups of samples and accumulates the sums.
class Chooser {
 public:
  Chooser(const Graph& graph, const std::vector<GridChoice>& choices)
      : graph_(graph), choices_(choices), order_(graph.topological_order()), reference_(graph) {
    for (const GridChoice& choice : choices) consequences_.emplace_back(graph, order_, choice.members);
    signals_.resize(choices.size());
    for (const GridChoice& choice : choices) noises_.emplace_back(choice.candidates.size());
  }

  struct Measured {
    Signals signals;
    Noises noises;
    std::int64_t work = 0;  ///< Number of elements computed for the candidates.
  };

  Measured measure(std::span<const Tensor> inputs) const {
    const Values values = float_values(inputs);
    Measured measured;
    for (std::size_t g = 0; g < choices_.size(); ++g) {
      auto& signals = measured.signals.emplace_back();
      auto& noises = measured.noises.emplace_back();
      for (ValueId id : consequences_[g].outputs()) signals.push_back(squared_norm(*values[index(id)]));
      for (const QuantParams& grid : choices_[g].candidates) {
        const bool has_choice = choices_[g].candidates.size() > 1;
        noises.push_back(has_choice ? consequences_[g].noise(graph_, reference_, values, grid, measured.work)
                                    : std::vector<double>(signals.size()));
      }
    }
    return measured;
  }

  void add(const Measured& measured) {
    for (std::size_t g = 0; g < choices_.size(); ++g) {
      add_to(signals_[g], measured.signals[g]);
      for (std::size_t c = 0; c < noises_[g].size(); ++c) add_to(noises_[g][c], measured.noises[g][c]);
    }
  }

  std::size_t best(std::size_t choice) const {
    std::size_t best = 0;
    for (std::size_t c = 1; c < noises_[choice].size(); ++c)
      if (error(choice, c) < error(choice, best) * (best == 0 ? kClearly : 1)) best = c;
    return best;
  }

 private:
  Values float_values(std::span<const Tensor> inputs) const {
    Values values = input_values(graph_, inputs);
    for (NodeId id : order_) run_node(graph_, reference_, id, values);
    return values;
  }

  double error(std::size_t choice, std::size_t candidate) const {
    double sum = 0;
    for (std::size_t e = 0; e < signals_[choice].size(); ++e)
      if (signals_[choice][e] > 0) sum += noises_[choice][candidate][e] / signals_[choice][e];
    return sum;
  }

  const Graph& graph_;
  const std::vector<GridChoice>& choices_;
  std::vector<NodeId> order_;
  Reference reference_;
  std::vector<Consequence> consequences_;  // one per choice
  Signals signals_;
  Noises noises_;
};

}  // namespace

std::vector<std::size_t> choose_grids(const Graph& graph, const std::vector<GridChoice>& choices, BatchSource& samples,
                                      const ChooseOptions& options, const Progress& progress) {
  Chooser chooser(graph, choices);
  const std::int64_t group = samples_per_run(graph, samples);
  const int threads = thread_count(options.threads);
  std::vector<Chooser::Measured> under_way(static_cast<std::size_t>(threads));
  std::int64_t limit = group;  // the number of samples is set after the first group has shown the work per sample
  for_first_samples(
      {.graph = graph, .source = samples, .most = limit, .phase = "choosing grids", .progress = progress}, threads,
      [&](std::int64_t part, std::span<const Tensor> inputs) {
        under_way[static_cast<std::size_t>(part)] = chooser.measure(inputs);
      },
      [&](std::int64_t parts, std::int64_t seen) {
        for (std::int64_t part = 0; part < parts; ++part) chooser.add(under_way[static_cast<std::size_t>(part)]);
        if (seen <= group)
          limit = std::clamp(options.work / std::max<std::int64_t>(1, under_way[0].work / group), options.min_samples,
                             std::max(options.min_samples, options.max_samples));
        return limit;
      });
  std::vector<std::size_t> best;
  for (std::size_t g = 0; g < choices.size(); ++g) best.push_back(chooser.best(g));
  return best;
}

}  // namespace bitfold::quantization
