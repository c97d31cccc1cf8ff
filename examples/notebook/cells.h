// Functions that repeat the notebook's cells, in its order.
#pragma once

namespace notebook {

void walk_tensor();   ///< Cells 2 to 6: quantize and dequantize a tensor.
void walk_schemes();  ///< Cells 7 to 11 and 17: asymmetric with an integer zero point, and symmetric.
void walk_layer();    ///< Cells 14 to 18: a convolution's weights and bias.
void walk_network();  ///< Cells 12, 13, 20 and 31: a whole LeNet.
void walk_folding();  ///< Cells 195 to 219: BatchNorm folding.
void walk_fused();    ///< Cells 224 to 287: the fused block and its time.

}  // namespace notebook
