// Running a graph: lowered once to a plan of steps, then run any number of times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/cpu.h"
#include "bitfold/graph.h"
#include "bitfold/tensor.h"

namespace bitfold {

struct SessionOptions {
  /// Number of threads, 0 to 1024; 0: one per available core. Small layers run on one thread.
  int threads = 1;
  /// Slower instruction sets than the CPU has, for tests; absent: isa_cap().
  std::optional<Isa> isa;
  /// Most memory for one value, and for all intermediate values of a run together; a network that needs more is refused
  /// before it runs. 0: usable_memory() at that moment.
  std::size_t max_memory_bytes = 0;
  /// Keep intermediate values readable by value(): every one on a grid, and every other that a step computes. Costs
  /// memory, and the fusion of tables and sums into convolutions; results stay the same to the byte.
  bool keep_values = false;
};

/// One step of the plan, for reports.
struct StepInfo {
  std::string name;    ///< Of the node, or of the last node fused into the step.
  std::string op;      ///< "Conv+Relu"
  std::string kernel;  ///< "gemm.avx512vnni 12x32", "onednn jit:avx512_core"
  bool is_integer = false;
  std::int64_t mac_count = 0;                ///< Multiply-accumulates of one run.
  std::vector<std::string> inputs, outputs;  ///< Value names.
};

/// Immutable after construction but for its plans and scratch memory: one Session serves one caller at a time. Its
/// plans share packed weights. Any number of sessions may be made and run at the same time in different threads; the
/// graph they are made of must not change meanwhile. Each starts as many threads of its own as its options say, on top
/// of the others': with a session per core, leave `threads` at 1, which starts none.
class Session {
 public:
  /// Compiles for the graph inputs' shapes. Dynamic dimensions are compiled as `batch` says at the first run, and again
  /// when a later run brings other shapes (the last few plans are kept).
  /// Throws Error listing every operator that cannot be run.
  explicit Session(const Graph& graph, SessionOptions options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// Another session of the same graph and options, for another thread: with plans and scratch memory of its own, and
  /// the packed weights of this one, which it may outlive.
  Session sharing_weights() const;

  /// Inputs in graph input order, outputs in graph output order, all in reals. Throws Error when types or shapes do not
  /// fit the graph.
  std::vector<Tensor> run(std::span<const Tensor> inputs);
  /// The same into tensors of the right shape: allocates nothing when the shapes are those of the last run.
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs);
  /// The same, and how many microseconds each of steps() took; of the size of steps().
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us);

  /// Steps of the plan for the present shapes; those of a fully static graph are known before the first run.
  const std::vector<StepInfo>& steps() const;
  /// The memory of that plan's intermediate values, and the most that any one of its steps needs at the same time.
  std::size_t arena_bytes() const;
  std::size_t arena_lower_bound() const;
  std::size_t packed_weight_bytes() const;

  /// An intermediate value of the last run by name: codes where it has a grid (type QuantParams::storage(), the graph's
  /// own layout), reals elsewhere. Needs keep_values. Throws Error on a name that keeps() denies.
  Tensor value(const std::string& name) const;
  /// Whether value() has it: not for inputs, outputs, constants, and reals that exist only inside a fused step.
  bool keeps(const std::string& name) const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  Impl& impl() const;  ///< Throws Error when this was moved from.
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitfold
