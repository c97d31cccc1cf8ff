// Accuracy, agreement, error per layer, and time.
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
  std::int64_t batch_size = 0;  ///< Samples per run; 0 chooses a size.
  int threads = 0;              ///< 0 means all cores.
  bool use_reference = false;   ///< Runs the float simulation instead of the engine.
  Progress progress;
  std::vector<std::string> names = {};  ///< compare(): the float and the quantized file, for messages; may be empty.
};

struct Evaluation {
  std::int64_t sample_count = 0;
  std::optional<double> top1, top5;  ///< Fractions; absent without labels. top5 is absent with fewer than 6 classes.
  double latency_us = 0;             ///< Median wall time of one sample at batch 1 on one thread.
};

/// Compares the first output's argmax with the labels. Throws Error if the data has labels but the first output is not
/// a vector of scores.
Evaluation evaluate(const Graph& graph, BatchSource& source, const EvaluateOptions& options = {});

/// The error of a quantized value compared with the float one, over all samples.
struct ValueError {
  std::string value, node, op;
  double sqnr_db = 0;  ///< 10 log10(sum x^2 / sum (x - y)^2); +infinity when equal.
  double max_abs_error = 0;
  int bits = 0;  ///< Bits of its grid; 0 for float.
};

struct Comparison {
  std::int64_t sample_count = 0;
  /// Fraction of samples whose first output has the same argmax; absent if it is not a vector of scores.
  std::optional<double> top1_agreement;
  std::vector<ValueError> outputs;  ///< One entry per graph output.
  std::vector<ValueError> layers;   ///< One entry per value with the same name in both graphs.
  double sqnr_db = 0;               ///< SQNR of the first output.
  double max_abs_error = 0;         ///< Largest absolute error of the first output.
};

/// Runs both graphs on the same samples. They must have the same inputs and outputs.
Comparison compare(const Graph& float_graph, const Graph& quantized_graph, BatchSource& source,
                   const EvaluateOptions& options = {});

/// A description of one node: operator, size, and whether it can be quantized.
struct LayerSummary {
  std::string name, op;
  std::string value;                 ///< The name of its first output.
  Shape output_shape;                ///< Empty if unknown; kDynamic for a dynamic batch.
  std::int64_t parameter_count = 0;  ///< Number of elements in its constant inputs.
  std::int64_t mac_count = 0;        ///< Multiply-accumulates per sample.
  bool can_quantize = false;
  std::string reason;       ///< Why it cannot be quantized.
  int weight_bits = 0;      ///< Bits of its weight's grid; 0 for float.
  int activation_bits = 0;  ///< Bits of its output's grid; 0 for float.
};

/// Every node of a graph in execution order. `inputs`, if given, replace the declared shapes of the graph's inputs.
/// Throws Error if shapes are contradictory.
std::vector<LayerSummary> summarize(const Graph& graph, std::span<const Shape> inputs = {});

/// Whether Bitfold can run a network, and how much of it can be quantized. Includes the bodies of If, Loop and Scan.
struct Support {
  std::string why_not;  ///< Why it cannot be run: "cannot run: 4 x ScatterND (first: ...)"; empty if it can.
  std::int64_t layers = 0, quantized_layers = 0;  ///< Layers with constant weights, and those that get or have a grid.
  std::int64_t macs = 0, quantized_macs = 0;      ///< Multiply-accumulates of all layers, and of the quantized ones.
  bool counts_all_macs = true;                    ///< False if a layer with an open size is not counted.
  bool is_quantized = false;                      ///< The network has grids already.
  /// Layers that stay in float, counted by operator and reason, with the first: "8 x Conv (first: 'v436'): its weights
  /// have 3 dimensions".
  std::vector<std::string> in_float;
};

/// `graph` as it will run or be quantized: a float network is optimized. `inputs` are those of summarize().
Support check_support(const Graph& graph, std::span<const Shape> inputs = {});

struct BenchOptions {
  int threads = 1;
  std::int64_t batch = 1;   ///< Size of dynamic first dimensions.
  double min_time_s = 1.0;  ///< Measures at least this long and at least 20 runs.
  /// Sizes of the inputs, for networks with dynamic dimensions besides the first; otherwise may be empty.
  std::vector<Shape> shapes = {};
  std::vector<Tensor> inputs = {};      ///< The inputs to run with; empty: pseudo-random ones of these sizes.
  std::vector<std::string> names = {};  ///< The graphs' files, in their order, for messages; may be empty.
};

/// The options with the inputs of the source's first sample, if it has whole samples, otherwise with their shapes.
/// Rewinds the source.
BenchOptions with_first_sample(BenchOptions options, BatchSource& source);

struct BenchResult {
  double median_us = 0, min_us = 0, p99_us = 0, mean_us = 0;
  std::int64_t run_count = 0;
  int threads = 1;
  std::int64_t batch = 1;
  double first_us = 0;                   ///< Time from the loaded graph to the first outputs: compilation and one run.
  std::int64_t arena_bytes = 0;          ///< Memory of the intermediate values.
  std::int64_t arena_lower_bound = 0;    ///< The most memory that one step needs; no arena can be smaller.
  std::int64_t packed_weight_bytes = 0;  ///< Memory of the weights in the layout that kernels read.
};

struct StepTime {
  StepInfo step;
  double median_us = 0;
};

/// The time of each step of the plan over as many runs as in bench(). Reading the clock between steps adds some 30 ns
/// to each.
std::vector<StepTime> profile(const Graph& graph, const BenchOptions& options = {});

/// Times Session::run into given outputs on fixed inputs, after a warm-up. Throws Error naming the input
/// whose size BenchOptions does not determine.
BenchResult bench(const Graph& graph, const BenchOptions& options = {});

/// The same for several graphs, interleaved run by run so that conditions are equal; for ratios.
std::vector<BenchResult> bench_interleaved(const std::vector<const Graph*>& graphs, const BenchOptions& options = {});

}  // namespace bitfold
