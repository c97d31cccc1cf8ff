// Statistics of a network's values over sample data, and the observers that turn them into ranges.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/affine.h"
#include "bitfold/batch.h"
#include "bitfold/exact_sum.h"
#include "bitfold/graph.h"

namespace bitfold {

/// How the range of a value is chosen (docs/internals/observers.md). `automatic` takes, for each grid, the one of the
/// others that harms the outputs of the network least on samples. Its word is "auto".
enum class Observer { min_max, percentile, mse, moving_average, entropy, automatic };
std::string_view to_string(Observer observer);
Observer parse_observer(std::string_view word);  ///< Throws Error naming the valid words.

/// What one value looked like: exact extremes, and counts in equal bins around 0. Constant size.
struct ValueStatistics {
  float min = 0, max = 0;
  std::int64_t count = 0;
  /// Bin i counts values in [ (i - kBinCount/2) * bin_width, ... + bin_width ). bin_width is a power of two, so that
  /// widening the histogram merges bins in pairs and loses no count, and two calibrations merge exactly.
  float bin_width = 0;
  std::vector<std::int64_t> bins;

  static constexpr int kBinCount = 4096;

  /// Sums of the extremes of single samples; sample_count is 0 where they are not known of all values.
  std::int64_t sample_count = 0;
  ExactSum sample_minima, sample_maxima;

  /// Values of no known sample. Throws Error on NaN or infinity, naming the index; the statistics are then of no use.
  void add(std::span<const float> values);
  /// All the values of one sample. Throws Error as add() does.
  void add_sample(std::span<const float> values);
  void merge(const ValueStatistics& other);
  bool operator==(const ValueStatistics&) const = default;
};

/// Keyed by value name. Saved as JSON.
struct Calibration {
  std::map<std::string, ValueStatistics> values;
  std::int64_t sample_count = 0;

  void merge(const Calibration& other);
  bool operator==(const Calibration&) const = default;
};

void save_calibration(const Calibration& calibration, const std::string& path);
/// Throws Error naming file and key.
Calibration load_calibration(const std::string& path);

struct CalibrateOptions {
  std::int64_t batch_size =
      0;            ///< Samples at a time; 0: chosen so that memory stays small. Does not change the result.
  int threads = 0;  ///< 0: all cores.
  /// Names of the values to keep statistics of (values_to_calibrate()); empty: all. Others must be finite all the same.
  std::vector<std::string> values;
  Progress progress;
};

/// One pass over `source`: statistics of the float values that are computed or fed. The graph is not changed; the
/// result does not depend on batch size or thread count. Throws Error when there are no samples or one holds NaN.
Calibration calibrate(const Graph& graph, BatchSource& source, const CalibrateOptions& options = {});

struct ObservedRange {
  float min = 0, max = 0;
};

/// The range an observer proposes for a grid of that spec. `percentile` is in (50, 100], read by Observer::percentile
/// only. Throws Error where moving_average finds no extremes of single samples, and for `automatic`, which statistics
/// alone cannot decide. `negative_gain`: what the value's only reader multiplies negative numbers by (LeakyRelu's
/// alpha). Below 1, the lower end is the one with the least squared error behind that reader: it pays to clip what is
/// about to shrink, for a finer step elsewhere.
ObservedRange observe(const ValueStatistics& statistics, Observer observer, const GridSpec& spec,
                      double percentile = 99.99, float negative_gain = 1);

}  // namespace bitfold
