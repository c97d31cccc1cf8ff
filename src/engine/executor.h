// Runs one graph on inputs of any shapes. There is one plan for each set of input shapes, or a series of stages
// (stages.h) if some shapes are known only at run time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/session.h"
#include "engine/plan_cache.h"
#include "engine/stages.h"
#include "engine/weight_cache.h"

namespace bitfold::engine {

class Executor {
 public:
  /// All arguments must outlive the executor.
  Executor(const Graph& graph, const SessionOptions& options, WeightCache& weights, Arena& arena);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Compiles for inputs of these shapes; a graph in stages is compiled when it runs.
  void compile(std::vector<Shape> shapes);
  /// Packs weights before any shape is known, by compiling for assumed shapes. If the form of a node's weights depends
  /// on the shapes, another form may be packed later. Bodies of If, Loop and Scan pack theirs when they first run,
  /// because a network may never run some of them.
  void pack_weights();

  /// Throws Error when the types or shapes of the inputs do not fit the graph.
  std::vector<Tensor> run(std::span<const Tensor> inputs);
  /// Runs and writes into `outputs`, which must have the right types and shapes. `step_us` is empty or has one entry
  /// for each of steps().
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us);

  /// Whether steps() has something to describe: the plan compiled or run last, or the stages of the last run.
  bool is_compiled() const;
  const std::vector<StepInfo>& steps() const;
  std::size_t arena_bytes() const;
  std::size_t arena_lower_bound() const;
  Tensor value(const std::string& name) const;
  bool keeps(const std::string& name) const;

 private:
  void check_inputs(std::span<const Tensor> inputs) const;
  /// Null if the graph has stages.
  Plan* plan_for(std::span<const Tensor> inputs);
  Plan* compile_plan(std::vector<Shape> shapes, bool fuses_clamps);
  void run_plan(Plan& plan, std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us);

  const Graph& graph_;
  const SessionOptions& options_;
  WeightCache& weights_;
  Arena& arena_;
  PlanCache plans_;
  std::unique_ptr<Stages> stages_;  ///< Set if some shape is known only at run time.
  bool has_plan_ = false;           ///< Whether there is a plan for shapes that were not assumed.
};

}  // namespace bitfold::engine
