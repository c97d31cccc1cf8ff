#include "report_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <limits>

#include "bitfold/error.h"
#include "bitfold/file.h"
#include "model.h"

namespace bitfold::cli {
namespace {

constexpr const char* kReportGroup = "Report";
constexpr const char* kMixedGroup = "Mixed precision";
constexpr std::size_t kListedLayers = 12, kListedFindings = 8;

std::atomic<bool> interrupted{false};

/// While it exists, the first Ctrl-C sets `interrupted`; a second one ends the program as usual.
class CatchInterrupt {
 public:
  CatchInterrupt() {
    interrupted = false;
    before_ = std::signal(SIGINT, [](int) {
      interrupted = true;
      std::signal(SIGINT, before_);
    });
  }
  ~CatchInterrupt() { std::signal(SIGINT, before_); }
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;

 private:
  static inline void (*before_)(int) = SIG_DFL;  // a signal handler can reach it only as a global
};

std::string decibels(double x) { return std::isfinite(x) ? fmt::format("{:.1f}", x) : "exact"; }

}  // namespace

ReportOptions::ReportOptions(CLI::App& verb) {
  verb.add_option("--report", report_path_, "Write a report as one HTML file: every layer's error, causes, advice")
      ->type_name("FILE.html")
      ->group(kReportGroup);
  verb.add_option("--eval", evaluation_path_, "Samples to evaluate on; with labels, accuracy is reported")
      ->type_name("DATA")
      ->group(kReportGroup);
  verb.add_option("--eval-limit", evaluation_limit_, "Use at most N samples of --eval")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->group(kReportGroup);
  verb.add_option("--samples", samples_, "Samples to measure each layer on (default 64)")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->group(kReportGroup);
  verb.add_option("--time-budget", time_budget_s_, "Seconds after which the measurements or the search end")
      ->type_name("SECONDS")
      ->check(CLI::NonNegativeNumber)
      ->group(kReportGroup);
}

Dataset ReportOptions::open_evaluation(const Graph& graph, const DataOptions& data_options,
                                       const Output& output) const {
  if (evaluation_path_.empty()) throw Error("--eval DATA is missing: the search measures accuracy on it");
  DatasetOptions options = data_options.resolve();
  options.limit = evaluation_limit_;
  Dataset dataset = open_dataset(evaluation_path_, input_specs(graph), options);
  output.say_all(dataset.notes);
  return dataset;
}

Analysis ReportOptions::analyze(const Graph& graph, const Calibration& calibration, const Recipe& recipe,
                                BatchSource* samples, const DataOptions& data_options, const Output& output,
                                int threads, const QuantizeResult& quantized, bool measures_sensitivity) const {
  if (samples == nullptr && evaluation_path_.empty())
    throw Error("a report needs samples to measure on: pass --calibrate DATA or --eval DATA");
  Dataset evaluation;
  if (has_evaluation()) evaluation = open_evaluation(graph, data_options, output);
  // Sensitivity reads the calibration samples, the comparison reads the evaluation data. If one is missing, the other
  // serves for both.
  BatchSource& measured_on = samples != nullptr ? *samples : *evaluation.source;
  BatchSource& compared_on = has_evaluation() ? *evaluation.source : *samples;
  if (!has_evaluation())
    output.say("errors are measured on the calibration samples; use --eval DATA to measure them on other data");
  ProgressBar bar;
  AnalysisOptions options{.threads = threads, .has_accuracy = has_evaluation()};
  options.sensitivity.sample_count = samples_;
  options.sensitivity.threads = threads;
  options.sensitivity.time_budget_s = time_budget_s_;
  options.quantized = &quantized;
  if (!measures_sensitivity) {
    options.sensitivity.weight_bits = {};
    options.sensitivity.all_but_one = false;
  }
  const CatchInterrupt scope;
  options.sensitivity.progress = bar.progress(&interrupted);
  return bitfold::analyze(graph, calibration, recipe, measured_on, compared_on, options);
}

void ReportOptions::write(const Analysis& analysis, const Output& output) const {
  if (report_path_.empty()) return;
  write_file(report_path_, analysis_page(analysis));
  output.say(fmt::format("report: {}", report_path_));
}

MixedOptions::MixedOptions(CLI::App& verb) : verb_(&verb) {
  verb.add_option(
          "--max-drop", max_drop_,
          "Find the smallest file whose top-1 accuracy on --eval is at most this many percentage points below float")
      ->type_name("POINTS")
      ->check(CLI::NonNegativeNumber)
      ->group(kMixedGroup);
  verb.add_option("--mixed", weight_bits_, "Weight bits to choose from (default 4,8, or --weight-bits and 8)")
      ->type_name("BITS,...")
      ->delimiter(',')
      ->check(CLI::Range(2, 8))
      ->group(kMixedGroup);
  verb.add_option("--resume", state_path_, "File that keeps the measurements of the search; an existing one is resumed")
      ->type_name("FILE")
      ->group(kMixedGroup);
}

MixedPrecision MixedOptions::search(const Graph& graph, const Calibration& calibration, const Recipe& recipe,
                                    BatchSource* samples, const ReportOptions& report, const DataOptions& data_options,
                                    const Output& output, int threads) const {
  Dataset evaluation = report.open_evaluation(graph, data_options, output);
  BatchSource& measured_on = samples != nullptr ? *samples : *evaluation.source;
  // Without --mixed, a --weight-bits below 8 is the lowest candidate.
  std::vector<int> weight_bits = weight_bits_;
  if (verb_->count("--mixed") == 0 && recipe.weight_bits < 8) weight_bits = {recipe.weight_bits, 8};
  MixedPrecision mixed;
  {
    ProgressBar bar;
    const CatchInterrupt scope;
    mixed = search_mixed_precision(graph, calibration, measured_on, *evaluation.source, recipe,
                                   {.max_drop = *max_drop_,
                                    .weight_bits = weight_bits,
                                    .sensitivity_samples = report.samples(),
                                    .samples = samples,
                                    .threads = threads,
                                    .time_budget_s = report.time_budget_s(),
                                    .state_path = state_path_,
                                    .progress = bar.progress(&interrupted)});
  }
  const char* metric = mixed.has_labels ? "top-1" : "agreement";
  if (!mixed.is_complete) output.say("the search ended early; this is the best mix so far");
  if (mixed.best < 0) {
    double nearest = std::numeric_limits<double>::infinity();
    for (const MixPoint& point : mixed.points) nearest = std::min(nearest, point.drop);
    throw Error(fmt::format(
        "--max-drop {}: no mix within this drop was found: {}; allow more time or a larger drop", *max_drop_,
        mixed.points.empty()
            ? "the time ended before the first mix was measured"
            : fmt::format("the best of {} measured mixes loses {:.2f} points", mixed.points.size(), nearest)));
  }
  const MixPoint& best = mixed.points[static_cast<std::size_t>(mixed.best)];
  std::vector<std::vector<std::string>> rows{{"size of the best mixes", metric, "drop", "chosen"}};
  std::vector<const MixPoint*> front;
  for (const MixPoint& point : mixed.points)
    if (point.is_on_front || &point == &best) front.push_back(&point);
  std::stable_sort(front.begin(), front.end(), [](const auto* a, const auto* b) { return a->bytes < b->bytes; });
  for (const MixPoint* point : front)
    rows.push_back({bytes(static_cast<double>(point->bytes)), percent(point->score), fmt::format("{:.2f}", point->drop),
                    point == &best ? "*" : ""});
  output.table(rows);
  output.say(fmt::format("within {} points on {} samples: {} {} in float, {} in {}; {} mixes measured", *max_drop_,
                         mixed.evaluation_samples, percent(mixed.float_score), metric, percent(best.score),
                         bytes(static_cast<double>(best.bytes)), mixed.points.size()));
  return mixed;
}

void print_analysis(const Analysis& analysis, const Output& output) {
  std::vector<const LayerAnalysis*> worst;
  for (const LayerAnalysis& layer : analysis.layers)
    if (layer.has_weights) worst.push_back(&layer);
  const auto share = [](const LayerAnalysis* layer) {
    return layer->sensitivity ? layer->sensitivity->error_share.value_or(0) : 0;
  };
  std::stable_sort(worst.begin(), worst.end(), [&](const auto* a, const auto* b) { return share(a) > share(b); });
  const std::size_t all = worst.size();
  worst.resize(std::min(all, kListedLayers));
  std::vector<std::vector<std::string>> rows{{"worst layers first", "op", "bits", "SQNR dB", "error share"}};
  for (int bits : analysis.sensitivity.weight_bits) rows[0].push_back(fmt::format("alone at {} bits", bits));
  rows[0].emplace_back("findings");
  for (const LayerAnalysis* layer : worst) {
    const auto of = [](int bits) { return bits == 0 ? std::string("float") : std::to_string(bits); };
    std::vector<std::string> row{layer->node, layer->op,
                                 fmt::format("{}/{}", of(layer->weight_bits), of(layer->activation_bits)),
                                 layer->sqnr_db ? decibels(*layer->sqnr_db) : "", ""};
    if (layer->sensitivity && layer->sensitivity->error_share) row.back() = percent(*layer->sensitivity->error_share);
    for (std::size_t b = 0; b < analysis.sensitivity.weight_bits.size(); ++b) {
      const bool is_measured = layer->sensitivity && layer->sensitivity->alone[b];
      row.push_back(is_measured ? decibels(layer->sensitivity->alone[b]->sqnr_db()) : "");
    }
    row.push_back(layer->findings.empty() ? "" : std::to_string(layer->findings.size()));
    rows.push_back(std::move(row));
  }
  output.table(rows);
  if (all > worst.size()) output.say(fmt::format("({} more in the report and the JSON)", all - worst.size()));

  std::size_t listed = 0, warnings = 0;
  for (const LayerAnalysis& layer : analysis.layers)
    for (const Finding& finding : layer.findings) {
      if (finding.severity != Severity::warning) continue;
      if (++warnings == 1) output.say("");
      if (listed++ < kListedFindings) output.say(fmt::format("[{} '{}'] {}", layer.op, layer.node, finding.text));
    }
  if (listed > kListedFindings) output.say(fmt::format("({} more warnings)", warnings - kListedFindings));
  output.say("");
  if (analysis.after.top1)
    output.say(fmt::format("top-1            {} -> {}", percent(*analysis.before.top1), percent(*analysis.after.top1)));
  if (analysis.agreement) output.say(fmt::format("top-1 agreement  {}", percent(*analysis.agreement)));
  output.say(
      fmt::format("output SQNR      {} dB on {} samples", decibels(analysis.sqnr_db), analysis.comparison_samples));
  const auto before = static_cast<double>(analysis.before.bytes), after = static_cast<double>(analysis.after.bytes);
  output.say("size             " + size_change(before, after));
  output.say(fmt::format("latency          {}; median, batch 1, 1 thread",
                         speed_change(analysis.before.latency_us, analysis.after.latency_us)));
}

}  // namespace bitfold::cli
