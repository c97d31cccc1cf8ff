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
  /// Number of threads, 0 to 1024; 0 means usable_threads(). Small layers run on one thread.
  int threads = 1;
  /// The highest instruction set to use, for tests; if absent, isa_cap().
  std::optional<Isa> isa;
  /// Maximum bytes of any value, and of all intermediate values together; a network that needs more is an Error before
  /// it runs. 0 means usable_memory() at that moment.
  std::size_t max_memory_bytes = 0;
  /// Keeps intermediate values for value(): all values with a grid, and all others that a step computes. Takes more
  /// memory and time, because tables and sums are not fused into convolutions. Results are the same bytes.
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

/// Runs one graph. A Session serves one caller at a time. Different threads may construct and run different sessions at
/// the same time, as long as the graph does not change. Each session starts SessionOptions::threads - 1 threads of its
/// own, so leave `threads` at 1 when running one session per core.
class Session {
 public:
  /// Packs the weights and compiles a plan for the shapes of the graph's inputs. If these have dynamic dimensions, each
  /// run with new shapes compiles a plan; plans are kept up to some 256 MB. Values whose shapes are known only
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
  /// Writes into given tensors, which must have the right types and shapes. Allocates nothing if these input shapes
  /// have been run before and determine all other shapes.
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs);
  /// The same. `step_us` has one entry for each of steps() and receives its time in microseconds.
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us);

  /// The steps of the plan that ran last. If all shapes are static, they are available before the first run.
  const std::vector<StepInfo>& steps() const;
  /// Bytes of that plan's intermediate values, and the most bytes that any one step needs, which no arena can go below.
  std::size_t arena_bytes() const;
  std::size_t arena_lower_bound() const;
  std::size_t packed_weight_bytes() const;

  /// An intermediate value of the last run: codes if it has a grid (type QuantParams::storage()), reals otherwise, in
  /// the graph's layout. Needs keep_values. Throws Error if keeps() is false for the name.
  Tensor value(const std::string& name) const;
  /// Whether value() can return this value. False for inputs, outputs, constants, and reals that exist only inside a
  /// fused step.
  bool keeps(const std::string& name) const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  Impl& impl() const;  ///< Throws Error if this session was moved from.
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitfold
