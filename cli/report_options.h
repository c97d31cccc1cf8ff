// Options of quantize and analyze: the report, and the search for a mix of bit widths.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/analysis.h"
#include "bitfold/data.h"
#include "data_options.h"
#include "output.h"

namespace bitfold::cli {

/// Options of the evaluation data and the report: --eval, --eval-limit, --report, --samples, --time-budget.
class ReportOptions {
 public:
  explicit ReportOptions(CLI::App& verb);

  bool wants_report() const { return !report_path_.empty(); }
  bool has_evaluation() const { return !evaluation_path_.empty(); }
  double time_budget_s() const { return time_budget_s_; }
  std::int64_t samples() const { return samples_; }

  /// Opens the data of --eval with the preprocessing of `data_options`. Throws Error without --eval.
  Dataset open_evaluation(const Graph& graph, const DataOptions& data_options, const Output& output) const;
  /// Measures everything that the report of `quantized` shows; with `measures_sensitivity`, also each layer at several
  /// bit widths. `samples` may be null if there is evaluation data.
  Analysis analyze(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource* samples,
                   const DataOptions& data_options, const Output& output, int threads, const QuantizeResult& quantized,
                   bool measures_sensitivity) const;
  /// Writes the page to the --report path, if given.
  void write(const Analysis& analysis, const Output& output) const;

 private:
  std::string evaluation_path_, report_path_;
  std::optional<std::int64_t> evaluation_limit_;
  std::int64_t samples_ = 64;
  double time_budget_s_ = 0;
};

/// The search for a mix of bit widths: --max-drop, --mixed, --resume.
class MixedOptions {
 public:
  explicit MixedOptions(CLI::App& verb);
  bool is_wanted() const { return max_drop_.has_value(); }
  /// Throws Error when no mix is within --max-drop. Ctrl-C ends the search with the best mix so far.
  MixedPrecision search(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource* samples,
                        const ReportOptions& report, const DataOptions& data_options, const Output& output,
                        int threads) const;

 private:
  CLI::App* verb_;
  std::optional<double> max_drop_;
  std::vector<int> weight_bits_{4, 8};
  std::string state_path_;
};

/// Prints the layers with weights, those with the largest errors first, and the findings.
void print_analysis(const Analysis& analysis, const Output& output);

}  // namespace bitfold::cli
