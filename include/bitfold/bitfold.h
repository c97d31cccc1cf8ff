// The whole public API.
#pragma once

#include "bitfold/affine.h"              // IWYU pragma: export
#include "bitfold/analysis.h"            // IWYU pragma: export
#include "bitfold/batch.h"               // IWYU pragma: export
#include "bitfold/batch_norm_table.h"    // IWYU pragma: export
#include "bitfold/calibrate.h"           // IWYU pragma: export
#include "bitfold/channel_statistics.h"  // IWYU pragma: export
#include "bitfold/cpu.h"                 // IWYU pragma: export
#include "bitfold/custom_ops.h"          // IWYU pragma: export
#include "bitfold/data.h"                // IWYU pragma: export
#include "bitfold/data_free.h"           // IWYU pragma: export
#include "bitfold/equalize.h"            // IWYU pragma: export
#include "bitfold/error.h"               // IWYU pragma: export
#include "bitfold/exact_sum.h"           // IWYU pragma: export
#include "bitfold/file.h"                // IWYU pragma: export
#include "bitfold/graph.h"               // IWYU pragma: export
#include "bitfold/input_specs.h"         // IWYU pragma: export
#include "bitfold/mixed_precision.h"     // IWYU pragma: export
#include "bitfold/nearest.h"             // IWYU pragma: export
#include "bitfold/onnx.h"                // IWYU pragma: export
#include "bitfold/ops.h"                 // IWYU pragma: export
#include "bitfold/part.h"                // IWYU pragma: export
#include "bitfold/passes.h"              // IWYU pragma: export
#include "bitfold/progress.h"            // IWYU pragma: export
#include "bitfold/quantize.h"            // IWYU pragma: export
#include "bitfold/recipe.h"              // IWYU pragma: export
#include "bitfold/reference.h"           // IWYU pragma: export
#include "bitfold/report.h"              // IWYU pragma: export
#include "bitfold/sensitivity.h"         // IWYU pragma: export
#include "bitfold/session.h"             // IWYU pragma: export
#include "bitfold/tensor.h"              // IWYU pragma: export
