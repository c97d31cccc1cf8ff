// Conversions between NumPy arrays and tensors.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>
#include <vector>

#include "bitfold/data.h"
#include "bitfold/tensor.h"

namespace bitfold::python {

namespace nb = nanobind;

/// An array of Python whose elements can be read as they are.
using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

/// The tensor of one input. Arrays that are contiguous and have the input's element type are borrowed without a copy:
/// they are appended to `alive`, and must stay alive as long as the tensor. Reals of another width
/// are converted. Lists become arrays first; the lists of sequences and optionals have one array per item. Throws Error
/// naming the input if the type does not fit.
Tensor to_tensor(nb::handle value, const InputSpec& input, std::vector<Array>& alive);

/// A NumPy array that owns the tensor's memory, a list of arrays for a sequence, and an array or None for an optional.
/// Element types that NumPy lacks become those of ml_dtypes where it is installed, and otherwise the integers that hold
/// their bits (to_stored()).
nb::object to_python(Tensor tensor);

/// NumPy's name of an element type: "float32", "bool".
std::string numpy_name(DataType dtype);

}  // namespace bitfold::python
