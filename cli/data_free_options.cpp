#include "data_free_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "bitfold/error.h"
#include "bitfold/passes.h"
#include "model.h"

namespace bitfold::cli {

DataFreeOptions::DataFreeOptions(CLI::App& verb) {
  CLI::Option* data_free = verb.add_flag(
      "--data-free", is_wanted_, "Without any samples: ranges are foreseen from what BatchNorms keep of the training");
  verb.add_option("--input-range", range_,
                  "With --data-free: LO,HI of the inputs; default: what pixels become with --scale, --mean and --std")
      ->delimiter(',')
      ->expected(2)
      ->needs(data_free);
  verb.add_flag("--no-absorb", leaves_high_biases_,
                "With --data-free: leave the means of channels where they are, instead of in the biases behind them")
      ->needs(data_free);
}

InputRange DataFreeOptions::range(const Graph& graph, const DataOptions& data_options, const Output& output) const {
  InputRange range;
  const char* guess = "";
  if (!range_.empty()) {
    range = {{range_[0]}, {range_[1]}};
  } else {
    // Pixels from 0 to 255, as images are read.
    const Preprocess p = data_options.resolve().preprocess;
    const std::size_t channels = std::max({std::size_t{1}, p.mean.size(), p.std.size()});
    const auto entry = [](const std::vector<float>& v, std::size_t c, float otherwise) {
      return v.empty() ? otherwise : v[v.size() == 1 ? 0 : c];
    };
    range = {std::vector<float>(channels), std::vector<float>(channels)};
    for (std::size_t c = 0; c < channels; ++c) {
      const float mean = entry(p.mean, c, 0), deviation = entry(p.std, c, 1);
      range.min[c] = -mean / deviation;
      range.max[c] = (255 * p.scale.value_or(1.0F / 255) - mean) / deviation;
    }
    if (!p.scale && p.mean.empty() && p.std.empty())
      guess = " (--input-range, or --scale, --mean and --std, say otherwise)";
  }
  output.say(fmt::format("inputs are taken to lie between {:.4g} and {:.4g}{}", fmt::join(range.min, ", "),
                         fmt::join(range.max, ", "), guess));
  const std::vector<ValueId>& inputs = graph.inputs();
  if (inputs.size() > 1 && range.min.size() > 1)
    throw Error(
        fmt::format("--mean and --std of {} channels: the network has {} inputs; give one --input-range for all",
                    range.min.size(), inputs.size()));
  return range;
}

DataFreeResult DataFreeOptions::quantize(const std::string& model, const Recipe& recipe,
                                         const DataOptions& data_options, const Output& output) const {
  Graph graph = load_float(model, "quantize");
  const BatchNormTable table = batch_norm_table(graph);
  if (table.empty())
    output.say(
        fmt::format("{}: has no BatchNorm, which would say what values hold; they are foreseen from the inputs "
                    "and the weights alone",
                    model));
  optimize(graph);
  DataFreeResult result = quantize_data_free(graph, table, range(graph, data_options, output), recipe);
  output.say(fmt::format("foreseen from {} BatchNorms; biases of {} channels absorbed", table.size(),
                         result.absorbed_channels));
  return result;
}

}  // namespace bitfold::cli
