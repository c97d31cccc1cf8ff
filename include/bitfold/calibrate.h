// Statistics of a network's values over sample data, and the ranges that observers choose from them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/affine.h"
#include "bitfold/batch.h"
#include "bitfold/exact_sum.h"
#include "bitfold/graph.h"
#include "bitfold/progress.h"
#include "bitfold/recipe.h"

namespace bitfold {

/// Statistics of one value: exact extremes, and a histogram of equal bins around 0. Constant size.
struct ValueStatistics {
  float min = 0, max = 0;
  std::int64_t count = 0;
  /// Bin i counts values in [ (i - kBinCount/2) * bin_width, ... + bin_width ). bin_width is a power of two, so that
  /// widening the histogram merges pairs of bins without losing counts, and two calibrations merge exactly.
  float bin_width = 0;
  std::vector<std::int64_t> bins;

  static constexpr int kBinCount = 4096;

  /// Sums of the samples' minima and maxima, for Observer::moving_average. sample_count is 0 if some values were added
  /// without their sample.
  std::int64_t sample_count = 0;
  ExactSum sample_minima, sample_maxima;

  /// Adds values without saying which sample they belong to. Throws Error on NaN or infinity, naming the index; the
  /// statistics are then invalid.
  void add(std::span<const float> values);
  /// Adds all the values of one sample. Throws Error as add() does.
  void add_sample(std::span<const float> values);
  void merge(const ValueStatistics& other);
  bool operator==(const ValueStatistics&) const = default;
};

/// How prepare() changed the network whose statistics these are.
struct Prepared {
  Equalization equalization = Equalization::none;  ///< The equalization that was applied; never automatic.
  std::optional<double> smooth;                    ///< SmoothQuant's alpha; absent: not smoothed.

  bool operator==(const Prepared&) const = default;
};

/// Statistics by value name. Saved as JSON.
struct Calibration {
  std::map<std::string, ValueStatistics> values;
  std::int64_t sample_count = 0;
  Prepared prepared;

  /// Throws Error when the other network was prepared differently.
  void merge(const Calibration& other);
  bool operator==(const Calibration&) const = default;
};

void save_calibration(const Calibration& calibration, const std::string& path);
/// Throws Error naming file and key.
Calibration load_calibration(const std::string& path);

struct CalibrateOptions {
  /// Samples per run; 0 chooses a size that keeps memory small. Does not change the result.
  std::int64_t batch_size = 0;
  int threads = 0;  ///< 0 means all cores.
  /// Names of the values to keep statistics of, usually values_to_calibrate(); absent: all. NaN or infinity in one of
  /// them is an Error.
  std::optional<std::vector<std::string>> values;
  /// Also keep the statistics of all other values whose elements are finite.
  bool keeps_others = false;
  /// The result of prepare() for this network; quantize() refuses a recipe that requires a different preparation.
  Prepared prepared;
  Progress progress;
};

/// Runs all samples and returns statistics of the float values: graph inputs and computed values. The graph is not
/// changed; the result does not depend on batch size or thread count. Throws Error when there are no samples, and
/// naming value, node and sample on NaN or infinity.
Calibration calibrate(const Graph& graph, BatchSource& source, const CalibrateOptions& options = {});

struct ObservedRange {
  float min = 0, max = 0;
};

/// The range that `observer` chooses for a grid with `spec`. `percentile`, in (50, 100], is read by
/// Observer::percentile only. `negative_gain` is LeakyRelu's alpha if a LeakyRelu is the value's only reader, else 1.
/// Below 1, the lower end of the range minimizes the squared error after the LeakyRelu. Throws Error for moving_average
/// if the statistics lack the sums of samples' extremes, and always for `automatic`, which needs samples.
ObservedRange observe(const ValueStatistics& statistics, Observer observer, const GridSpec& spec,
                      double percentile = 99.99, float negative_gain = 1);

}  // namespace bitfold
