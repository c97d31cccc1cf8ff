#include "data_free_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "bitfold/error.h"

namespace bitfold::cli {

DataFreeOptions::DataFreeOptions(CLI::App& verb) {
  CLI::Option* data_free = verb.add_flag(
      "--data-free", is_wanted_, "Quantize without samples: predict the distributions of values from BatchNorms");
  verb.add_option("--input-range", range_,
                  "With --data-free: the range LO,HI of the inputs (default: the range of pixels after --scale, --mean "
                  "and --std)")
      ->delimiter(',')
      ->expected(2)
      ->needs(data_free);
  // Moving means into biases needs the predictions.
  for (CLI::Option* absorb : verb.get_options([](const CLI::Option* o) { return o->check_lname("absorb"); }))
    absorb->needs(data_free);
}

InputRange DataFreeOptions::range(const Graph& graph, const DataOptions& data_options, const Output& output) const {
  InputRange range;
  const char* guess = "";
  if (!range_.empty()) {
    range = {{range_[0]}, {range_[1]}};
  } else {
    // Images are read as pixels from 0 to 255.
    const Preprocess p = data_options.resolve().preprocess;
    const float scale = p.scale.value_or(static_cast<float>(default_scale(p)));
    const std::size_t channels = std::max({std::size_t{1}, p.mean.size(), p.std.size()});
    const auto entry = [](const std::vector<float>& v, std::size_t c, float otherwise) {
      return v.empty() ? otherwise : v[v.size() == 1 ? 0 : c];
    };
    range = {std::vector<float>(channels), std::vector<float>(channels)};
    for (std::size_t c = 0; c < channels; ++c) {
      const float mean = entry(p.mean, c, 0), deviation = entry(p.std, c, 1);
      range.min[c] = -mean / deviation;
      range.max[c] = (255 * scale - mean) / deviation;
    }
    if (!p.scale && p.mean.empty() && p.std.empty())
      guess = " (assumed; set it with --input-range, or --scale, --mean and --std)";
  }
  output.say(
      fmt::format("input range: {:.4g} to {:.4g}{}", fmt::join(range.min, ", "), fmt::join(range.max, ", "), guess));
  const std::vector<ValueId>& inputs = graph.inputs();
  if (inputs.size() > 1 && range.min.size() > 1)
    throw Error(
        fmt::format("--mean and --std of {} channels: the network has {} inputs; give one --input-range for all",
                    range.min.size(), inputs.size()));
  return range;
}

}  // namespace bitfold::cli
