#include "quantize/layer_inputs.h"

#include <algorithm>

#include "onednn/plain.h"

namespace bitfold::quantization {
namespace {

/// The moments of one group of samples, in floats.
struct SampleMoments {
  std::vector<float> x, y, second, cross;
  std::int64_t rows = 0;

  void compute(std::int64_t depth) {
    second.assign(static_cast<std::size_t>(depth * depth), 0.0F);
    cross.assign(static_cast<std::size_t>(depth * depth), 0.0F);
    std::vector<float> difference(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) difference[i] = y[i] - x[i];
    const onednn::PlainProduct product{depth, depth, rows, true, false};
    onednn::multiply_add(product, 1, x.data(), x.data(), second.data());
    onednn::multiply_add(product, 1, difference.data(), x.data(), cross.data());
  }

  void add_to(InputMoments& m, bool keeps_rows) const {
    if (keeps_rows) {
      m.rows_x.insert(m.rows_x.end(), x.begin(), x.end());
      m.rows_y.insert(m.rows_y.end(), y.begin(), y.end());
    }
    for (std::size_t i = 0; i < second.size(); ++i) m.second[i] += second[i];
    for (std::size_t i = 0; i < cross.size(); ++i) m.cross[i] += cross[i];
    m.rows += rows;
  }
};

std::int64_t rows_per_sample(const ops::WeightMatrix& view, std::int64_t samples) {
  constexpr std::int64_t kMaxBytes = 256 << 20U;
  const std::int64_t row_bytes = 2 * view.groups * view.depth() * static_cast<std::int64_t>(sizeof(float));
  return std::clamp<std::int64_t>(kMaxBytes / (samples * row_bytes), 1, LayerRows::kMaxPerSample);
}

}  // namespace

std::vector<InputMoments> input_moments(PairedRuns& runs, NodeId id, bool keeps_rows) {
  const ops::WeightMatrix view = *row_product(runs.graph(), id);
  const std::int64_t most = keeps_rows ? rows_per_sample(view, runs.max_samples()) : LayerRows::kMaxPerSample;
  const LayerRows rows(runs.graph(), id, most * runs.group());
  std::vector<InputMoments> moments(static_cast<std::size_t>(view.groups), InputMoments(view.depth()));
  // Moments for each group of samples in progress and each group of the layer.
  std::vector<std::vector<SampleMoments>> under_way(static_cast<std::size_t>(runs.threads()),
                                                    std::vector<SampleMoments>(moments.size()));
  runs.run(
      id,
      [&](std::int64_t part, const Tensor& y, const Tensor& x) {
        for (std::size_t g = 0; g < moments.size(); ++g) {
          SampleMoments& m = under_way[static_cast<std::size_t>(part)][g];
          m.rows = rows.read(x, static_cast<std::int64_t>(g), m.x);
          rows.read(y, static_cast<std::int64_t>(g), m.y);
          m.compute(view.depth());
        }
      },
      [&](std::int64_t parts) {
        for (std::int64_t part = 0; part < parts; ++part)
          for (std::size_t g = 0; g < moments.size(); ++g)
            under_way[static_cast<std::size_t>(part)][g].add_to(moments[g], keeps_rows);
      });
  return moments;
}

}  // namespace bitfold::quantization
