#include "quantize/paired_runs.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "bitfold/affine.h"
#include "bitfold/cpu.h"
#include "quantize/samples.h"

namespace bitfold::quantization {
namespace {

ValueId first_input(const Graph& graph, NodeId id) { return graph.node(id).inputs[0]; }

/// The part of a graph that computes the first input of a node.
Graph part_before(const Graph& graph, NodeId id) {
  Graph part = graph;
  part.clear_outputs();
  part.mark_output(first_input(graph, id));
  part.remove_dead();
  return part;
}

/// Values on a grid of up to 8 bits are kept as codes, in a quarter of the memory.
bool is_kept_as_codes(const Value& value, const Tensor& reals) {
  return value.quant && value.quant->bits <= 8 && !value.quant->per_channel() && reals.dtype() == DataType::float32;
}

Tensor packed(const Value& value, const Tensor& reals) {
  return is_kept_as_codes(value, reals) ? quantize(reals, *value.quant) : reals;
}

Tensor unpacked(const Value& value, const Tensor& kept) {
  return kept.dtype() != DataType::float32 && value.dtype == DataType::float32 ? dequantize(kept, *value.quant) : kept;
}

}  // namespace

PairedRuns::PairedRuns(const Graph& float_graph, const Graph& graph, BatchSource& samples, const PairedOptions& options)
    : sides_{Side{&float_graph}, Side{&graph}},
      samples_(&samples),
      options_(options),
      threads_(usable_threads()),
      float_reference_(float_graph),
      group_(samples_per_run(graph, samples)) {
  options_.max_samples = (options.max_samples + group_ - 1) / group_ * group_;
  const std::int64_t count = std::min(options_.max_samples, samples.sample_count());
  groups_ = (count + group_ - 1) / group_;
  sample_count_ = count;
}

Values PairedRuns::start_values(std::size_t side, std::int64_t group, std::span<const Tensor> inputs) const {
  const Side& own = sides_[side];
  if (kept_.empty()) return input_values(*own.graph, inputs);
  Values values(own.graph->value_capacity());
  const auto& places = kept_[static_cast<std::size_t>(group)][side];
  for (std::size_t i = 0; i < own.kept.size(); ++i)
    values[index(own.kept[i])] = unpacked(own.graph->value(own.kept[i]), files_[kept_in_].read(places[i]));
  return values;
}

void PairedRuns::run(NodeId id, const std::function<void(std::int64_t, const Tensor&, const Tensor&)>& use,
                     const std::function<void(std::int64_t)>& done) {
  std::vector<Segment> segments;
  for (const Side& side : sides_) segments.emplace_back(*side.graph, first_input(*side.graph, id), side.done);
  // If a node is requested again, nothing needs to run: all its inputs are kept.
  const bool advances = kept_.empty() || !segments[0].empty() || !segments[1].empty();
  std::optional<Reference> reference;  // not kept between nodes, because constants have changed since the last node
  if (!segments[1].empty()) reference.emplace(part_before(graph(), id));
  const std::array<const Reference*, 2> references{&float_reference_, reference ? &*reference : nullptr};

  SpillFile& file = files_[1 - kept_in_];
  file.clear();
  std::vector<Kept> next(static_cast<std::size_t>(groups_));
  std::atomic<bool> keeps = advances;
  std::int64_t first = 0;
  const auto run_group = [&](std::int64_t part, std::span<const Tensor> inputs) {
    std::array<Tensor, 2> wanted;
    std::vector<std::pair<std::size_t, Tensor>> live;
    std::int64_t own_bytes = 0;
    for (std::size_t s = 0; s < sides_.size(); ++s) {
      Values values = start_values(s, first + part, inputs);
      if (!segments[s].empty()) segments[s].run(*sides_[s].graph, *references[s], values);
      wanted[s] = *values[index(first_input(*sides_[s].graph, id))];
      // A batch that the source could not fill holds copies of its last sample: remove them.
      const std::int64_t present = std::min(group_, sample_count_ - (first + part) * group_);
      if (present < group_ && wanted[s].rank() > 0 && wanted[s].dim(0) == group_)
        wanted[s] = take_samples(wanted[s], 0, present);
      for (ValueId value : segments[s].live_values()) {
        if (!keeps) break;
        live.emplace_back(s, packed(sides_[s].graph->value(value), *values[index(value)]));
        own_bytes += static_cast<std::int64_t>(live.back().second.size_bytes());
      }
    }
    if (own_bytes * groups_ > options_.max_kept_bytes) keeps = false;
    for (const auto& [side, value] : live) {
      const auto place = keeps ? file.write(value) : std::nullopt;
      if (!place) keeps = false;
      if (place) next[static_cast<std::size_t>(first + part)][side].push_back(*place);
    }
    use(part, wanted[0], wanted[1]);
  };
  const auto finish = [&](std::int64_t parts) {
    done(parts);
    first += parts;
  };
  if (kept_.empty()) {
    for_first_samples({.graph = graph(), .source = *samples_, .most = options_.max_samples}, threads_, run_group,
                      [&](std::int64_t parts, std::int64_t) {
                        finish(parts);
                        return options_.max_samples;
                      });
  } else {
    std::vector<BlockPool> pools(static_cast<std::size_t>(threads_));
    while (first < groups_) {
      const std::int64_t parts = std::min<std::int64_t>(threads_, groups_ - first);
      for_each_index(parts, group_, first * group_, pools, [&](std::int64_t part) { run_group(part, {}); });
      finish(parts);
    }
  }
  groups_ = first;
  if (!keeps) return;
  next.resize(static_cast<std::size_t>(groups_));
  kept_ = std::move(next);
  kept_in_ = 1 - kept_in_;
  for (std::size_t s = 0; s < sides_.size(); ++s) {
    sides_[s].done = segments[s].done();
    sides_[s].kept = segments[s].live_values();
  }
}

}  // namespace bitfold::quantization
