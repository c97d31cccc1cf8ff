#include "engine/steps/integer_conv.h"

#include <algorithm>

#include "engine/steps/parallel.h"

namespace bitfold::engine {

void IntegerConvStep::pad(std::int64_t image, std::int64_t begin, std::int64_t end) noexcept {
  const ImageFormer& former = padding_.former;
  former.make(at<std::uint8_t>(1) + image * former.image_bytes(), at<std::uint8_t>(2) + image * former.formed_bytes(),
              padding_.zero_point, begin, end);
}

void IntegerConvStep::run() noexcept {
  const std::uint8_t* x = at<std::uint8_t>(padding_.is_needed ? 2 : 1);
  void* y = at<std::byte>(0);
  int next = padding_.is_needed ? 3 : 2;
  const std::uint8_t* residual = has_residual_ ? at<std::uint8_t>(next++) : nullptr;
  std::byte* scratch = thread_scratch_bytes() > 0 ? at<std::byte>(next) : nullptr;
  const std::int64_t rows = padding_.former.rows();
  if (padding_.is_needed && threads_ == 1) {
    // Panel by panel, so that what is padded is still in the cache when it is read.
    const std::int64_t units = conv_.units_per_image(), panel = conv_.units_per_panel();
    for (std::int64_t image = 0; image < padding_.batch; ++image) {
      std::int64_t padded = 0;
      for (std::int64_t unit = 0; unit < units; unit += panel) {
        const std::int64_t end = std::min(unit + panel, units), needed = std::min(conv_.rows_read(end), rows);
        pad(image, padded, needed);
        padded = needed;
        conv_.run(x, y, residual, image * units + unit, image * units + end, scratch);
      }
    }
    return;
  }
  if (padding_.is_needed)
    for_each_run(threads_, padding_.batch, rows,
                 [&](std::int64_t image, std::int64_t first, std::int64_t count) { pad(image, first, first + count); });
  const bool by_channels = conv_.has_more_weights_than_pixels() && conv_.channel_unit_count() >= threads_;
  const std::int64_t units = by_channels ? conv_.channel_unit_count() : conv_.unit_count();
  for_each_numbered_part(threads_, units, [&](std::int64_t begin, std::int64_t end, int part) {
    std::byte* own = scratch == nullptr ? nullptr : scratch + static_cast<std::size_t>(part) * thread_scratch_bytes();
    if (by_channels)
      conv_.run_channels(x, y, residual, begin, end, own);
    else
      conv_.run(x, y, residual, begin, end, own);
  });
}

}  // namespace bitfold::engine
