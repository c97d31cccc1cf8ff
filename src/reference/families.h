// The overload set behind find_op_function: one function_of() per operator, defined in its family's file.
#pragma once

#include "reference/ops.h"

namespace bitfold::reference {

OpFunction function_of(const Conv& op);             // conv.cpp
OpFunction function_of(const ConvTranspose& op);    // conv.cpp
OpFunction function_of(const Gemm& op);             // matmul.cpp
OpFunction function_of(const MatMul& op);           // matmul.cpp
OpFunction function_of(const BatchNorm& op);        // norm.cpp
OpFunction function_of(const InstanceNorm& op);     // norm.cpp
OpFunction function_of(const LayerNorm& op);        // norm.cpp
OpFunction function_of(const Lrn& op);              // norm.cpp
OpFunction function_of(const Softmax& op);          // norm.cpp
OpFunction function_of(const Unary& op);            // unary.cpp
OpFunction function_of(const Parametric& op);       // unary.cpp
OpFunction function_of(const Clip& op);             // unary.cpp
OpFunction function_of(const PRelu& op);            // binary.cpp
OpFunction function_of(const Binary& op);           // binary.cpp
OpFunction function_of(const Variadic& op);         // binary.cpp
OpFunction function_of(const Where& op);            // binary.cpp
OpFunction function_of(const Pool& op);             // pool.cpp
OpFunction function_of(const GlobalPool& op);       // pool.cpp
OpFunction function_of(const Reduce& op);           // reduce.cpp
OpFunction function_of(const ArgReduce& op);        // reduce.cpp
OpFunction function_of(const Concat& op);           // movement.cpp
OpFunction function_of(const Split& op);            // movement.cpp
OpFunction function_of(const Flatten& op);          // movement.cpp
OpFunction function_of(const Reshape& op);          // movement.cpp
OpFunction function_of(const Transpose& op);        // movement.cpp
OpFunction function_of(const Squeeze& op);          // movement.cpp
OpFunction function_of(const Unsqueeze& op);        // movement.cpp
OpFunction function_of(const Expand& op);           // movement.cpp
OpFunction function_of(const Tile& op);             // movement.cpp
OpFunction function_of(const DepthToSpace& op);     // movement.cpp
OpFunction function_of(const Requantize& op);       // movement.cpp
OpFunction function_of(const Slice& op);            // indexing.cpp
OpFunction function_of(const Gather& op);           // indexing.cpp
OpFunction function_of(const Pad& op);              // indexing.cpp
OpFunction function_of(const ShapeOf& op);          // fill.cpp
OpFunction function_of(const ConstantOfShape& op);  // fill.cpp
OpFunction function_of(const Range& op);            // fill.cpp
OpFunction function_of(const Cast& op);             // fill.cpp
OpFunction function_of(const Resize& op);           // resize.cpp
OpFunction function_of(const Opaque& op);           // ops.cpp

}  // namespace bitfold::reference
