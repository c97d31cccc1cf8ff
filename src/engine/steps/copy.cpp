#include "engine/steps/copy.h"

#include <algorithm>

namespace bitfold::engine {

CopyStep::CopyStep(int element_bytes, const std::vector<Movement>& movements, Fill fill)
    : element_bytes_(element_bytes), fill_(fill) {
  for (const Movement& m : movements) {
    Copy& copy = copies_.emplace_back();
    for (std::size_t d = 0; d < m.shape.size(); ++d)
      copy.elements.add(m.shape[d], {m.destination_strides[d], m.source_strides[d]});
    copy.source_bytes = m.source_offset * element_bytes;
    copy.destination_bytes = m.destination_offset * element_bytes;
  }
}

void CopyStep::run(const Team& /*team*/) noexcept {
  const auto fill = [&]<class T>(T pattern) { std::fill_n(at<T>(0), fill_.count, pattern); };
  switch (element_bytes_) {
    case 1:
      fill(static_cast<std::uint8_t>(fill_.pattern));
      break;
    case 2:
      fill(static_cast<std::uint16_t>(fill_.pattern));
      break;
    case 4:
      fill(fill_.pattern);
      break;
    default:
      fill(static_cast<std::uint64_t>(fill_.pattern));
  }
  for (std::size_t i = 0; i < copies_.size(); ++i)
    copies_[i].elements.run(static_cast<std::size_t>(element_bytes_),
                            at<std::byte>(static_cast<int>(i) + 1) + copies_[i].source_bytes,
                            at<std::byte>(0) + copies_[i].destination_bytes);
}

}  // namespace bitfold::engine
