#include "engine/steps/generic.h"

namespace bitfold::engine {

GenericStep::GenericStep(Node node, ops::Evaluate function, std::vector<View> inputs, std::vector<View> outputs)
    : node_(std::move(node)), function_(function), inputs_(std::move(inputs)), outputs_(std::move(outputs)) {
  for (const View& v : inputs_) input_views_.push_back({v.dtype, v.shape, nullptr});
  for (const View& v : outputs_) output_views_.push_back({v.dtype, v.shape, nullptr});
}

void GenericStep::bind(std::vector<TensorView>& views, const std::vector<View>& like, int& operand) {
  for (std::size_t i = 0; i < views.size(); ++i)
    if (like[i].is_present) views[i].data = at<std::byte>(operand++);
}

void GenericStep::run(const Team& /*team*/) noexcept {
  int operand = 0;
  bind(output_views_, outputs_, operand);
  bind(input_views_, inputs_, operand);
  fallible([&] { function_(node_, input_views_, output_views_); });
}

void GatherStep::run(const Team& /*team*/) noexcept {
  const std::uint8_t* in = at<std::uint8_t>(1);
  std::uint8_t* out = at<std::uint8_t>(0);
  for (std::size_t i = 0; i < source_.size(); ++i) out[i] = in[source_[i]];
}

}  // namespace bitfold::engine
