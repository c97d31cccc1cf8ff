#include "engine/steps/integer_conv.h"

#include <algorithm>

#include "engine/steps/parallel.h"

namespace bitfold::engine {

void IntegerConvStep::pack(std::uint8_t* packed, std::int64_t image, std::int64_t begin, std::int64_t end) noexcept {
  const ImagePacker& packer = padding_.packer;
  packer.pack(at<std::uint8_t>(1) + image * packer.image_bytes(), packed, padding_code(), begin, end);
}

/// Works panel by panel, so that packed rows are still in the cache when they are read.
void IntegerConvStep::pack_and_run(std::uint8_t* packed, const std::uint8_t* residual, std::int64_t begin,
                                   std::int64_t end, std::byte* scratch) noexcept {
  const std::int64_t units = conv_.units_per_image(), panel = conv_.units_per_panel();
  std::int64_t rows = 0;
  for (std::int64_t unit = begin; unit < end;) {
    const std::int64_t image = unit / units, first = unit % units;
    const std::int64_t count = std::min({panel, units - first, end - unit});
    const std::int64_t rows_end = std::min(conv_.rows_read(first + count), padding_.packer.rows());
    if (first == 0 || unit == begin) rows = conv_.first_row_read(first);
    pack(packed, image, rows, rows_end);
    rows = rows_end;
    conv_.run_part_of(begin, end, packed, at<std::byte>(0), residual, unit, unit + count, scratch);
    unit += count;
  }
}

void IntegerConvStep::pack_together(const Team& team, const std::uint8_t* residual) noexcept {
  auto* packed = at<std::uint8_t>(2);
  const bool by_channels = conv_.splits_by_channels(threads_);
  const std::int64_t units = by_channels ? conv_.channel_unit_count() : conv_.units_per_image();
  for (std::int64_t image = 0; image < padding_.batch; ++image) {
    if (image > 0) team.wait();  // all threads have read the previous image
    for_each_part(team, threads_, padding_.packer.rows(),
                  [&](std::int64_t begin, std::int64_t end) { pack(packed, image, begin, end); });
    team.wait();
    for_each_numbered_part(team, threads_, units, [&](std::int64_t begin, std::int64_t end, int part) {
      std::byte* own = scratch_of(part);
      const std::int64_t first = image * conv_.units_per_image();
      if (by_channels)
        conv_.run_channels(packed, at<std::byte>(0), residual, image, begin, end, own);
      else
        conv_.run(packed, at<std::byte>(0), residual, first + begin, first + end, own);
    });
  }
}

void IntegerConvStep::run(const Team& team) noexcept {
  const std::uint8_t* residual = has_residual_ ? at<std::uint8_t>(padding_.is_needed ? 3 : 2) : nullptr;
  if (padding_.is_needed && packs_together()) return pack_together(team, residual);
  const bool by_channels = conv_.splits_by_channels(threads_);
  const std::int64_t units = by_channels ? conv_.channel_unit_count() : conv_.unit_count();
  for_each_numbered_part(team, threads_, units, [&](std::int64_t begin, std::int64_t end, int part) {
    std::byte* own = scratch_of(part);
    const std::uint8_t* x = at<std::uint8_t>(1);
    std::uint8_t* packed =
        padding_.is_needed ? at<std::uint8_t>(2) + static_cast<std::size_t>(part) * packed_image_bytes() : nullptr;
    if (!by_channels && packed != nullptr) return pack_and_run(packed, residual, begin, end, own);
    if (!by_channels) return conv_.run(x, at<std::byte>(0), residual, begin, end, own);
    for (std::int64_t image = 0; image < padding_.batch; ++image) {
      if (packed != nullptr) pack(packed, image, 0, padding_.packer.rows());
      conv_.run_channels(packed != nullptr ? packed : x, at<std::byte>(0), residual, image, begin, end, own);
    }
  });
}

}  // namespace bitfold::engine
