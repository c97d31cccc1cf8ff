// The Python module bitfold._core. The package around it is python/bitfold.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bitfold/cpu.h"
#include "bitfold/error.h"
#include "bitfold/version.h"
#include "model.h"

NB_MODULE(_core, module) {
  nanobind::exception<bitfold::Error>(module, "Error", PyExc_RuntimeError);
  module.attr("version") = std::string(bitfold::version());
  bitfold::python::bind_model(module);
  bitfold::python::bind_session(module);
  bitfold::python::bind_quantize(module);
}
