// Runs the passes. Every pass is run from here only.
#include <algorithm>
#include <array>
#include <chrono>

#include "base/check.h"
#include "bitfold/nearest.h"
#include "bitfold/passes.h"
#include "graph/merge_constants.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

constexpr auto kPasses = std::to_array<Pass>({
    {"fold_constants", "first: it replaces arithmetic on constants by the constants that later passes expect",
     fold_constants},
    {"remove_identity", "before folding: an identity between a layer and its BatchNorm would prevent the fold",
     remove_identity},
    {"expand_einsum", "before the folds, which take its MatMul for a layer", expand_einsum},
    {"fold_invariants", "after fold_constants, which makes the start of a carried value a constant", fold_invariants},
    {"merge_layer_norm", "before fold_scale, which would otherwise treat the scale of the normalization as a layer's",
     merge_layer_norm},
    {"fold_scale", "before fold_batch_norm: a bias written as an Add may be in between", fold_scale},
    {"fold_batch_norm", "after the passes that make constants and layers adjacent", fold_batch_norm},
    {"merge_activations", "after the folds, which make activations adjacent", merge_activations},
    {"merge_constants", "after the folds, which make copies of shared weights", merge_constants},
    {"eliminate_dead", "last: it removes the nodes that other passes have bypassed", eliminate_dead},
});

// A limit on rounds, which guards against passes that undo each other; real networks need two or three.
constexpr int kMaxRounds = 100;

void check_names(const std::vector<std::string>& skip) {
  std::vector<std::string_view> names;
  for (const Pass& pass : kPasses) names.emplace_back(pass.name);
  for (const std::string& name : skip)
    check(std::find(names.begin(), names.end(), name) != names.end(), "unknown pass '{}'{}", name,
          did_you_mean(name, names));
}

/// Runs one pass and checks its result; shapes are then inferred for the changed graph.
int run_pass(const Pass& pass, Graph& graph) {
  const int changes = pass.run(graph);
  if (changes == 0) return 0;
  try {
    infer_shapes(graph);
    verify(graph, Stage::imported);
  } catch (const Error& e) {
    fail("after the pass {}: {}", pass.name, e.what());
  }
  return changes;
}

/// The bodies of If, Loop and Scan are graphs of their own.
void optimize_bodies(Graph& graph, const OptimizeOptions& options, std::vector<PassRecord>& records) {
  for (NodeId id : graph.nodes()) {
    std::vector<std::shared_ptr<const Graph>> bodies = graph.node(id).bodies;
    for (auto& body : bodies) {
      Graph work = *body;
      std::vector<PassRecord> own;
      try {
        own = optimize(work, options);
      } catch (const Error& e) {
        fail("{} body: {}", where(graph, id), e.what());
      }
      for (std::size_t i = 0; i < own.size() && i < records.size(); ++i) {
        records[i].change_count += own[i].change_count;
        records[i].time_ms += own[i].time_ms;
      }
      body = std::make_shared<const Graph>(std::move(work));
    }
    if (!bodies.empty()) graph.set_bodies(id, std::move(bodies));
  }
}

}  // namespace

std::span<const Pass> standard_passes() { return kPasses; }

std::vector<PassRecord> optimize(Graph& graph, const OptimizeOptions& options) {
  check_names(options.skip);
  verify(graph, Stage::imported);
  Graph work = graph;  // on Error, the caller's graph is unchanged
  infer_shapes(work);
  std::vector<PassRecord> records;
  for (const Pass& pass : kPasses) records.push_back({.name = pass.name});
  const auto is_skipped = [&](const Pass& pass) {
    return std::find(options.skip.begin(), options.skip.end(), pass.name) != options.skip.end();
  };
  int changes = 1;
  for (int round = 0; changes > 0 && round < kMaxRounds; ++round) {
    changes = 0;
    for (std::size_t i = 0; i < kPasses.size(); ++i) {
      if (is_skipped(kPasses[i])) continue;
      const auto start = std::chrono::steady_clock::now();
      const int count = run_pass(kPasses[i], work);
      const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
      records[i].change_count += count;
      records[i].time_ms += elapsed.count();
      changes += count;
    }
  }
  std::erase_if(records, [&](const PassRecord& r) {
    return std::find(options.skip.begin(), options.skip.end(), r.name) != options.skip.end();
  });
  optimize_bodies(work, options, records);
  work.compact();
  infer_shapes(work);
  verify(work, options.skip.empty() ? Stage::optimized : Stage::imported);
  graph = std::move(work);
  return records;
}

}  // namespace bitfold
