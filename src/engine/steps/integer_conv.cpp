#include "engine/steps/integer_conv.h"

#include "engine/steps/parallel.h"

namespace bitfold::engine {

void IntegerConvStep::run() noexcept {
  const std::uint8_t* x = at<std::uint8_t>(1);
  if (padding_.is_needed) {
    std::uint8_t* padded = at<std::uint8_t>(2);
    const std::int64_t bare = padding_.shape.height * padding_.shape.width * padding_.shape.pixel_bytes;
    for (std::int64_t n = 0; n < padding_.batch; ++n)
      pad_image(x + n * bare, padded + n * padding_.image_bytes(), padding_.shape, padding_.zero_point);
    x = padded;
  }
  void* y = at<std::byte>(0);
  int next = padding_.is_needed ? 3 : 2;
  const std::uint8_t* residual = has_residual_ ? at<std::uint8_t>(next++) : nullptr;
  std::byte* scratch = thread_scratch_bytes() > 0 ? at<std::byte>(next) : nullptr;
  for_each_numbered_part(threads_, conv_.unit_count(), [&](std::int64_t begin, std::int64_t end, int part) {
    std::byte* own = scratch == nullptr ? nullptr : scratch + static_cast<std::size_t>(part) * thread_scratch_bytes();
    conv_.run(x, y, residual, begin, end, own);
  });
}

}  // namespace bitfold::engine
