// Spatial windows: resolved padding and output sizes of convolutions and pools, as ONNX defines them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bitfold/ops.h"

namespace bitfold {

/// A window applied to a known input.
struct ResolvedWindow {
  std::vector<std::int64_t> pads;    ///< Explicit: the begins of each spatial axis, then the ends.
  std::vector<std::int64_t> output;  ///< Size along each spatial axis.
};

/// `spatial` holds the input's spatial sizes (no batch, no channels); an entry may be unknown (negative), whose output
/// is kDynamic (and whose same_* padding is left 0). Convolutions and pools:
///   output = floor((input + pad_begin + pad_end - dilation * (kernel - 1) - 1) / stride) + 1
/// with ceil instead of floor in ceil_mode, where a window that would start in the end padding is dropped.
/// Throws Error when the window does not fit the rank, is not positive, or is larger than the padded input.
ResolvedWindow resolve_window(const Window& window, std::span<const std::int64_t> spatial, bool ceil_mode);

/// The same for a transposed convolution:
///   output = stride * (input - 1) + output_padding + dilation * (kernel - 1) + 1 - pad_begin - pad_end
/// where an output_shape, or with same_* padding input * stride, is given instead, the pads follow from it and are at
/// least 0; the odd one is at the end for same_upper and at the begin otherwise.
ResolvedWindow resolve_transposed_window(const ConvTranspose& op, std::span<const std::int64_t> spatial);

}  // namespace bitfold
