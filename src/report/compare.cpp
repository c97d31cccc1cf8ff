// Signal to quantization noise ratio (error_sums.h) of every value that both graphs contain, over all samples.
#include <map>

#include "base/check.h"
#include "base/first_failure.h"
#include "bitfold/reference.h"
#include "bitfold/report.h"
#include "numeric/reals.h"
#include "report/batches.h"
#include "report/error_sums.h"
#include "report/naming.h"
#include "report/scores.h"

namespace bitfold {
namespace {

ValueError describe(const Graph& graph, ValueId id, const report::ErrorSums& sums) {
  ValueError e{.value = graph.value(id).name, .sqnr_db = sums.sqnr_db(), .max_abs_error = sums.max_abs};
  if (const NodeId node = graph.producer(id); node != NodeId::none) {
    e.node = graph.node(node).name;
    e.op = op_name(graph.node(node).op);
  }
  if (const auto& grid = graph.value(id).quant) e.bits = grid->bits;
  return e;
}

void check_same_interface(const Graph& a, const Graph& b) {
  check(a.inputs().size() == b.inputs().size() && a.outputs().size() == b.outputs().size(),
        "the two networks differ: one has {} inputs and {} outputs, the other {} and {}", a.inputs().size(),
        a.outputs().size(), b.inputs().size(), b.outputs().size());
  for (std::size_t i = 0; i < a.outputs().size(); ++i)
    check(a.value(a.outputs()[i]).name == b.value(b.outputs()[i]).name,
          "the two networks differ: output {} is '{}' in one and '{}' in the other", i, a.value(a.outputs()[i]).name,
          b.value(b.outputs()[i]).name);
}

/// The reals of a value after the last run, independent of how it is stored.
Tensor reals(const Graph& graph, ValueId id, const Session& session) {
  const Tensor stored = session.value(graph.value(id).name);
  const auto& grid = graph.value(id).quant;
  return grid && stored.dtype() != DataType::float32 ? dequantize(stored, *grid) : stored;
}

}  // namespace

Comparison compare(const Graph& float_graph, const Graph& quantized_graph, BatchSource& source,
                   const EvaluateOptions& options) {
  check_same_interface(float_graph, quantized_graph);
  // Values computed by both graphs under the same name, in the quantized graph's order.
  std::vector<ValueId> shared;
  for (NodeId node : quantized_graph.topological_order())
    for (ValueId out : quantized_graph.node(node).outputs) {
      if (out == ValueId::none || quantized_graph.value(out).dtype != DataType::float32) continue;
      const ValueId twin = float_graph.find(quantized_graph.value(out).name);
      if (twin != ValueId::none && float_graph.producer(twin) != NodeId::none) shared.push_back(out);
    }
  std::map<std::string, Tensor> float_values;
  const auto keep = [&](ValueId id, const Tensor& x) { float_values.insert_or_assign(float_graph.value(id).name, x); };
  const auto of_float = [&](const auto& f) { return report::naming(options.names, 0, f); };
  const auto of_quantized = [&](const auto& f) { return report::naming(options.names, 1, f); };
  const Reference reference = of_float([&] { return Reference(float_graph, {.on_value = keep}); });
  Session session =
      of_quantized([&] { return Session(quantized_graph, {.threads = options.threads, .keep_values = true}); });

  const std::int64_t samples_at_a_time = std::min(report::batch_size(float_graph, options.batch_size),
                                                  report::batch_size(quantized_graph, options.batch_size));
  std::vector<report::ErrorSums> layer_sums(shared.size()), output_sums(float_graph.outputs().size());
  Comparison result;
  report::Agreement agreement;
  const auto add = [&](const Batch& batch, std::int64_t first) {
    std::vector<Tensor> x, y;
    quantization::naming_samples(first, batch.sample_count, [&] {
      x = of_float([&] { return reference.run(report::graph_inputs(float_graph, batch, samples_at_a_time)); });
      y = of_quantized([&] { return session.run(report::graph_inputs(quantized_graph, batch, samples_at_a_time)); });
    });
    for (std::size_t i = 0; i < x.size(); ++i)
      if (is_any_real(x[i].dtype())) output_sums[i].add(to_float32(x[i]).data<float>(), to_float32(y[i]).data<float>());
    FirstFailure failure;
#pragma omp parallel for schedule(dynamic)
    for (std::size_t i = 0; i < shared.size(); ++i)
      failure.watch(i, [&] {
        const auto it = float_values.find(quantized_graph.value(shared[i]).name);
        if (it == float_values.end() || !session.keeps(it->first)) return;
        const Tensor quantized = reals(quantized_graph, shared[i], session);
        if (quantized.size() == it->second.size()) layer_sums[i].add(it->second.data<float>(), quantized.data<float>());
      });
    failure.rethrow();
    agreement.add(x.front(), y.front(), report::ScoreRows(batch));
  };
  quantization::SamplePass pass{.graph = float_graph,
                                .source = source,
                                .at_a_time = samples_at_a_time,
                                .phase = "comparing",
                                .progress = options.progress};
  result.sample_count = quantization::for_each_run(pass, add);
  result.top1_agreement = agreement.value();
  for (std::size_t i = 0; i < output_sums.size(); ++i)
    result.outputs.push_back(describe(quantized_graph, quantized_graph.outputs()[i], output_sums[i]));
  for (std::size_t i = 0; i < shared.size(); ++i)
    if (layer_sums[i].is_measured) result.layers.push_back(describe(quantized_graph, shared[i], layer_sums[i]));
  result.sqnr_db = result.outputs.front().sqnr_db;
  result.max_abs_error = result.outputs.front().max_abs_error;
  return result;
}

}  // namespace bitfold
