#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "base/check.h"
#include "bitfold/reals.h"
#include "bitfold/report.h"
#include "numeric/reals.h"
#include "report/naming.h"

namespace bitfold {
namespace {

constexpr int kWarmUpRuns = 5;
constexpr std::int64_t kMinRuns = 20;

/// Deterministic, roughly normal input: sums of three uniform numbers from a 64-bit linear congruential generator
/// (Knuth's MMIX constants). Zeros could make a kernel look faster than it is.
Tensor pseudo_random(DataType dtype, const Shape& shape) {
  if (is_other_real(dtype)) return convert_reals(pseudo_random(DataType::float32, shape), dtype);
  Tensor t(dtype, shape);
  std::uint64_t state = 42;
  const auto uniform = [&] {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<float>(state >> 40U) / static_cast<float>(1U << 24U);
  };
  if (dtype == DataType::float32) {
    for (float& x : t.mutable_data<float>()) x = (uniform() + uniform() + uniform() - 1.5F) * 2.0F;
  } else if (dtype == DataType::uint8) {
    for (auto& x : t.mutable_data<std::uint8_t>()) x = static_cast<std::uint8_t>(uniform() * 255.0F);
  }
  return t;
}

/// The shape of input number i with all sizes known.
Shape timed_shape(const Value& input, std::size_t i, const BenchOptions& options) {
  const Shape given = i < options.shapes.size() ? options.shapes[i] : Shape{};
  check(!is_container(input.dtype), "input '{}' is a {}: give real inputs to run the network (bench --input)",
        input.name, to_string(input.dtype));
  check(input.shape.has_value() || !given.empty(), "input '{}' has no shape: give one to run the network", input.name);
  Shape shape = input.shape.value_or(given);
  bool fits = given.empty() || given.size() == shape.size();
  for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
    const std::int64_t size = given.empty() ? kDynamic : given[axis];
    const bool is_open = shape[axis] == kDynamic;
    check(!is_open || axis == 0 || size != kDynamic,
          "input '{}' has shape {}: give its open sizes to run the network (bench --shape 1,3,...)", input.name,
          to_string(shape));
    if (is_open) shape[axis] = axis == 0 ? options.batch : size;
    const bool is_one_sample = axis == 0 && size == 1;
    fits = size == kDynamic || size == shape[axis] || is_one_sample;
  }
  check(fits, "input '{}' has shape {} and a batch of {}, not {}", input.name, to_string(input.shape.value_or(given)),
        options.batch, to_string(given));
  return shape;
}

/// A session with all its inputs and outputs, so that only the run itself is timed.
struct Contender {
  std::unique_ptr<Session> session;
  std::vector<Tensor> inputs, outputs;
  std::vector<double> times_us;
  double first_us = 0;

  Contender(const Graph& graph, const BenchOptions& options) {
    check(options.shapes.size() <= graph.inputs().size(), "{} shapes are given, but the network has {} inputs",
          options.shapes.size(), graph.inputs().size());
    check(options.inputs.empty() || options.inputs.size() == graph.inputs().size(),
          "{} arrays are given, but the network has {} inputs", options.inputs.size(), graph.inputs().size());
    for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
      const Value& input = graph.value(graph.inputs()[i]);
      if (options.inputs.empty())
        inputs.push_back(pseudo_random(input.dtype, timed_shape(input, i, options)));
      else if (needs_conversion(options.inputs[i].dtype(), input.dtype))
        inputs.push_back(convert_reals(options.inputs[i], input.dtype));
      else
        inputs.push_back(options.inputs[i]);
    }
    const auto begin = std::chrono::steady_clock::now();
    session = std::make_unique<Session>(graph, SessionOptions{.threads = options.threads});
    outputs = session->run(inputs);
    first_us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
    for (int i = 0; i < kWarmUpRuns; ++i) session->run(inputs, outputs);
  }

  double run_once_us() {
    const auto begin = std::chrono::steady_clock::now();
    session->run(inputs, outputs);
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    times_us.push_back(time.count());
    return time.count();
  }

  BenchResult result(const BenchOptions& options) {
    std::sort(times_us.begin(), times_us.end());
    const auto n = times_us.size();
    double sum = 0;
    for (double t : times_us) sum += t;
    return {.median_us = times_us[n / 2],
            .min_us = times_us.front(),
            .p99_us = times_us[std::min(n - 1, n * 99 / 100)],
            .mean_us = sum / static_cast<double>(n),
            .run_count = static_cast<std::int64_t>(n),
            .threads = options.threads,
            .batch = options.batch,
            .first_us = first_us,
            .arena_bytes = static_cast<std::int64_t>(session->arena_bytes()),
            .arena_lower_bound = static_cast<std::int64_t>(session->arena_lower_bound()),
            .packed_weight_bytes = static_cast<std::int64_t>(session->packed_weight_bytes())};
  }
};

void check_options(const BenchOptions& options) {
  check(options.min_time_s >= 0 && std::isfinite(options.min_time_s),
        "bench: min_time_s is {}; it must be 0 or positive", options.min_time_s);
  check(options.batch >= 1, "bench: batch is {}; it must be at least 1", options.batch);
}

}  // namespace

BenchOptions with_first_sample(BenchOptions options, BatchSource& source) {
  source.rewind();
  const auto batch = source.next(1);
  source.rewind();
  options.shapes.clear();
  options.inputs.clear();
  if (!batch) return options;
  if (!batch->runs.empty()) options.inputs = batch->runs.front();
  for (const Tensor& input : batch->inputs) options.shapes.push_back(input.shape());
  return options;
}

std::vector<BenchResult> bench_interleaved(const std::vector<const Graph*>& graphs, const BenchOptions& options) {
  check_options(options);
  std::vector<Contender> contenders;
  for (std::size_t i = 0; i < graphs.size(); ++i)
    contenders.push_back(report::naming(options.names, i, [&] { return Contender(*graphs[i], options); }));
  double total_us = 0;
  const double wanted_us = options.min_time_s * 1e6 * static_cast<double>(graphs.size());
  for (std::int64_t run = 0; run < kMinRuns || total_us < wanted_us; ++run)
    for (Contender& c : contenders) total_us += c.run_once_us();
  std::vector<BenchResult> results;
  for (Contender& c : contenders) results.push_back(c.result(options));
  return results;
}

std::vector<StepTime> profile(const Graph& graph, const BenchOptions& options) {
  check_options(options);
  Contender contender(graph, options);
  const std::vector<StepInfo>& steps = contender.session->steps();
  std::vector<double> times(steps.size());
  std::vector<std::vector<double>> seen(steps.size());
  double total_us = 0;
  for (std::int64_t run = 0; run < kMinRuns || total_us < options.min_time_s * 1e6; ++run) {
    contender.session->run(contender.inputs, contender.outputs, times);
    for (std::size_t s = 0; s < times.size(); ++s) {
      seen[s].push_back(times[s]);
      total_us += times[s];
    }
  }
  std::vector<StepTime> result;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    std::sort(seen[s].begin(), seen[s].end());
    result.push_back({steps[s], seen[s][seen[s].size() / 2]});
  }
  return result;
}

BenchResult bench(const Graph& graph, const BenchOptions& options) {
  return bench_interleaved({&graph}, options).front();
}

}  // namespace bitfold
