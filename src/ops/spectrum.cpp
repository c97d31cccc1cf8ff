// Spectra of signals: DFT, STFT, HannWindow, MelWeightMatrix, ....
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> spectrum_operators() { return {}; }

}  // namespace bitfold::ops
