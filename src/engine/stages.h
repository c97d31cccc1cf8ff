// Runs a graph in which some shapes are known only at run time: those after NonZero, a Loop, or a Slice with computed
// bounds.
//
//     inputs -> [plan of stage 1] -> run-time nodes -> [plan of stage 2] -> run-time nodes -> ... -> outputs
//
// A stage contains all nodes whose output shapes can be inferred from what has been computed before. Between stages are
// run-time nodes, among them all that read or write strings, sequences and optionals, which plans do not have. Each
// allocates its outputs when it runs: through its operator's evaluation or, for If, Loop and Scan, through an executor
// of each body. Later shapes depend on the shapes of these outputs, so stages form a tree: a stage has one successor
// for each combination of output shapes of its run-time nodes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/session.h"
#include "engine/plan_cache.h"
#include "engine/weight_cache.h"

namespace bitfold::engine {

class Executor;

/// A part of the graph for known shapes, and the run-time nodes after it.
struct Stage {
  Graph graph;                  ///< The stage's nodes. Nodes, constants and computed values keep their ids.
  std::vector<ValueId> inputs;  ///< The ids in the whole graph of `graph`'s inputs, in the same order.
  /// Null if no result of the stage is read later.
  std::unique_ptr<Plan> plan, exact_plan;  ///< exact_plan is created on demand, see Magnitudes.
  std::vector<NodeId> run_time_nodes;
  std::vector<ValueId> arriving;      ///< Outputs of the run-time nodes that are read later.
  std::map<ValueId, Tensor> known;    ///< Results of shape arithmetic so far, treated as constants.
  std::vector<std::uint8_t> is_done;  ///< Indexed by NodeId: computed in this stage or before.
  std::vector<ValueId> dying;         ///< Values that are freed after this stage, because nothing reads them later.
  std::map<std::vector<Shape>, std::unique_ptr<Stage>> next;  ///< The following stages, by the shapes of `arriving`.
  bool is_last = false;
};

/// The facts about a computed value from which later stages are inferred.
ValueInfo info_of_arrived(const Value& value, const Tensor& t);

class Stages {
 public:
  /// All arguments must outlive this object.
  Stages(const Graph& graph, const SessionOptions& options, WeightCache& weights, Arena& arena);
  ~Stages();

  /// Types and shapes of the inputs have been checked. Fills `step_us` with the times of the first steps.
  std::vector<Tensor> run(std::span<const Tensor> inputs, std::span<double> step_us);

  /// Packs weights by compiling stages for these input shapes, and for assumed sizes where a run determines them.
  void pack_weights(std::span<const Shape> input_shapes);

  // Results of the last run.
  bool has_run() const { return !visited_.empty(); }
  const std::vector<StepInfo>& steps() const;
  std::size_t arena_bytes() const;
  std::size_t arena_lower_bound() const;
  Tensor value(const std::string& name) const;
  bool keeps(const std::string& name) const { return kept_.contains(name); }

 private:
  using Values = std::vector<std::optional<Tensor>>;  ///< Indexed by ValueId.

  /// The stage after `before`, or the first stage if it is null.
  Stage& next_stage(Stage* before, const Values& values);
  std::unique_ptr<Stage> make_stage(const Stage* before, const Values& values);
  std::vector<NodeId> find_nodes(Stage& stage, const Values& values) const;
  void make_plan(Stage& stage, const std::vector<NodeId>& nodes, const Values& values);
  void add_arrived(Stage& stage, ValueId id, const Tensor& value) const;
  void find_dying(Stage& stage) const;
  /// Stand-ins for what the stage computes, with assumed sizes. False if a rank is unknown.
  bool assume_results(const Stage& stage, Values& values) const;
  void run_stage(Stage& stage, Values& values, std::vector<double>& times);
  void run_plan(Stage& stage, Values& values, std::vector<double>& times);
  void run_node(NodeId id, const Stage& stage, Values& values);
  std::vector<Tensor> evaluate(NodeId id, std::span<const std::optional<Tensor>> inputs);
  std::vector<Tensor> evaluate_inferred(const Node& node, std::span<const ValueInfo> infos,
                                        std::span<const TensorView> inputs) const;
  /// The executor of a node's body, made for the types of the arguments.
  Executor& body(NodeId id, std::size_t index, std::span<const Tensor> arguments);
  /// The reals of a value that has been computed, is known or is constant.
  Tensor tensor(ValueId id, const Stage& stage, const Values& values);

  const Graph& graph_;
  const SessionOptions& options_;
  WeightCache& weights_;
  Arena& arena_;
  std::vector<std::uint8_t> needed_;  ///< Indexed by NodeId.
  std::vector<NodeId> order_;
  std::map<std::vector<Shape>, std::unique_ptr<Stage>> first_;  ///< The key: shapes of the graph's inputs.
  std::size_t bytes_ = 0;                                       ///< Memory of all stages, in bytes.
  std::vector<const Stage*> visited_;                           ///< Stages visited in the last run.
  mutable std::vector<StepInfo> steps_;
  std::map<std::string, Tensor> kept_;
  struct Body {
    std::unique_ptr<Graph> graph;  ///< A copy of the body whose inputs all have types.
    std::unique_ptr<Executor> executor;
  };
  std::map<std::pair<NodeId, std::size_t>, Body> bodies_;
};

}  // namespace bitfold::engine
