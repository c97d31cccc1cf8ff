// The proof: accuracy, agreement, error per layer, and time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "bitfold/progress.h"
#include "bitfold/session.h"

namespace bitfold {

struct EvaluateOptions {
  std::int64_t batch_size = 0;  ///< 0: chosen.
  int threads = 0;              ///< 0: all cores.
  bool use_reference = false;   ///< Run the float simulation instead of the engine.
  Progress progress;
};

struct Evaluation {
  std::int64_t sample_count = 0;
  std::optional<double> top1, top5;  ///< Fractions of 1; absent without labels. top5 absent under 6 classes.
  double latency_us = 0;             ///< Median wall time of one sample at batch 1 on one thread.
};

/// Runs the first output's argmax against the labels. Throws Error when the data has labels and the first output is no
/// vector of scores.
Evaluation evaluate(const Graph& graph, BatchSource& source, const EvaluateOptions& options = {});

/// How far a quantized value is from the float one, over all samples.
struct ValueError {
  std::string value, node, op;
  double sqnr_db = 0;  ///< 10 log10(sum x^2 / sum (x - y)^2); +infinity when equal.
  double max_abs_error = 0;
  int bits = 0;  ///< Of its grid; 0 in float.
};

struct Comparison {
  std::int64_t sample_count = 0;
  std::optional<double> top1_agreement;  ///< Fraction of samples whose first output has the same argmax; absent where
                                         ///< it is no vector of scores.
  std::vector<ValueError> outputs;       ///< One per graph output.
  std::vector<ValueError> layers;        ///< One per value present under the same name in both graphs.
  double sqnr_db = 0;                    ///< Of the first output.
  double max_abs_error = 0;              ///< Of the first output.
};

/// Runs both on the same samples. `float_graph` and `quantized_graph` have the same inputs and outputs.
Comparison compare(const Graph& float_graph, const Graph& quantized_graph, BatchSource& source,
                   const EvaluateOptions& options = {});

/// One node, for people: what it is, what it costs, whether it can be quantized.
struct LayerSummary {
  std::string name, op;
  Shape output_shape;                ///< Empty where unknown; kDynamic for a dynamic batch.
  std::int64_t parameter_count = 0;  ///< Elements of its constant inputs.
  std::int64_t mac_count = 0;        ///< Multiply-accumulates for one sample.
  bool can_quantize = false;
  std::string reason;       ///< Why it cannot be quantized.
  int weight_bits = 0;      ///< Of its weight's grid; 0 in float.
  int activation_bits = 0;  ///< Of its output's grid; 0 in float.
};

/// Every node of a graph in execution order. Throws Error when its shapes contradict each other.
std::vector<LayerSummary> summarize(const Graph& graph);

struct BenchOptions {
  int threads = 1;
  std::int64_t batch = 1;   ///< For dynamic first dimensions.
  double min_time_s = 1.0;  ///< Measures at least that long and at least 20 runs.
  /// By input: where the network leaves a dimension beyond the first open, its size. May be empty where it does not.
  std::vector<Shape> shapes = {};
};

/// The shapes of the source's first sample, for BenchOptions::shapes. Rewinds the source.
std::vector<Shape> sample_shapes(BatchSource& source);

struct BenchResult {
  double median_us = 0, min_us = 0, p99_us = 0, mean_us = 0;
  std::int64_t run_count = 0;
  int threads = 1;
  std::int64_t batch = 1;
  double first_us = 0;                   ///< From the loaded graph to the first outputs: compiling, and one run.
  std::int64_t arena_bytes = 0;          ///< Memory of the intermediate values.
  std::int64_t arena_lower_bound = 0;    ///< What one step needs at most: no arena can be smaller.
  std::int64_t packed_weight_bytes = 0;  ///< Weights as kernels read them.
};

struct StepTime {
  StepInfo step;
  double median_us = 0;
};

/// How long each step of the plan takes, over as many runs as bench() would time; reading the clock between them adds
/// some 30 ns to each.
std::vector<StepTime> profile(const Graph& graph, const BenchOptions& options = {});

/// Times Session::run into given outputs on fixed pseudo-random input, after warming up. Throws Error naming the
/// input whose size BenchOptions leave open.
BenchResult bench(const Graph& graph, const BenchOptions& options = {});

/// The same for several graphs, interleaved run by run, so that they meet the same machine: for ratios.
std::vector<BenchResult> bench_interleaved(const std::vector<const Graph*>& graphs, const BenchOptions& options = {});

}  // namespace bitfold
