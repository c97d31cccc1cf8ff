// The classes of the Python module that several of its files use.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <string>
#include <vector>

#include "bitfold/data.h"
#include "bitfold/graph.h"
#include "bitfold/progress.h"

namespace bitfold::python {

namespace nb = nanobind;

/// A network as it was loaded, and its name in messages.
struct Model {
  std::shared_ptr<const Graph> graph;
  std::string name;
};

/// Calls a Python function for progress; null: reports nothing. Ctrl-C ends the call as KeyboardInterrupt.
Progress progress_of(nb::object report);
WarningFunction warnings_of(nb::object warn);

void bind_model(nb::module_& module);
void bind_session(nb::module_& module);
void bind_quantize(nb::module_& module);

}  // namespace bitfold::python
