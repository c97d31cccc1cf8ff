// Runs a graph: lowers it once to a plan of steps, then runs the plan any number of times.
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
  /// A lower instruction set than the CPU's, for tests; absent: isa_cap().
  std::optional<Isa> isa;
  /// Most memory for one value, and for all intermediate values of a run together; a network that needs more is refused
  /// before it runs. 0: usable_memory() at that moment.
  std::size_t max_memory_bytes = 0;
  /// Keep intermediate values readable by value(): all on a grid, and all others that a step computes. Takes more
  /// memory, and tables and sums are no longer fused into convolutions; results are the same to the byte.
  bool keep_values = false;
};

/// One step of a plan, for reports.
struct StepInfo {
  std::string name;    ///< The node's name, or that of the last node fused into the step.
  std::string op;      ///< "Conv+Relu"
  std::string kernel;  ///< "gemm.avx512vnni 12x32", "onednn jit:avx512_core"
  bool is_integer = false;
  std::int64_t mac_count = 0;                ///< Multiply-accumulates per run.
  std::vector<std::string> inputs, outputs;  ///< Value names.
};

/// Only its plans and scratch memory change after construction: one Session serves one caller at a time. Its plans
/// share packed weights. Different threads may construct and run sessions at the same time, if the graph does not
/// change meanwhile. Each session starts its own threads, SessionOptions::threads of them: with one session per core,
/// leave `threads` at 1, which starts none.
class Session {
 public:
  /// Packs the weights and compiles for the shapes of the inputs. If they have dynamic dimensions, each run with new
  /// shapes compiles a plan, and plans are kept while they take at most some 256 MB. Values whose shapes are known only
  /// at run time (NonZero, Loop) divide the graph into stages. Throws Error naming every operator that cannot be run.
  explicit Session(const Graph& graph, SessionOptions options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// Another session of the same graph and options, for another thread. It has its own plans and scratch memory, shares
  /// the packed weights of this one, and may outlive it.
  Session sharing_weights() const;

  /// Inputs in graph input order, outputs in graph output order, all as reals. Throws Error if types or shapes do not
  /// fit the graph, if the data is impossible (an index out of range), or if memory runs out.
  std::vector<Tensor> run(std::span<const Tensor> inputs);
  /// The same into tensors of the right shapes. Allocates nothing if the input shapes have been seen before and all
  /// shapes follow from them.
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs);
  /// The same; `step_us` gets the microseconds of each of steps() and has its size.
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us);

  /// The steps of the plan of the last run; of a graph with static shapes, available before the first run.
  const std::vector<StepInfo>& steps() const;
  /// The memory of that plan's intermediate values, and the most that any one step needs: the lower bound of any arena.
  std::size_t arena_bytes() const;
  std::size_t arena_lower_bound() const;
  std::size_t packed_weight_bytes() const;

  /// An intermediate value of the last run: codes if it has a grid (type QuantParams::storage()), reals otherwise, in
  /// the graph's layout. Needs keep_values. Throws Error if keeps() is false for the name.
  Tensor value(const std::string& name) const;
  /// Whether value() has it: false for inputs, outputs, constants, and reals that exist only inside a fused step.
  bool keeps(const std::string& name) const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  Impl& impl() const;  ///< Throws Error when this was moved from.
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitfold
