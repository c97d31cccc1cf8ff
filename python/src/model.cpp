#include "model.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <utility>

#include "arrays.h"
#include "bitfold/onnx.h"
#include "bitfold/passes.h"

namespace bitfold::python {
namespace {

/// A float network is optimized, as the tool does before it runs one.
Graph optimized(Graph graph) {
  if (!is_quantized(graph)) optimize(graph);
  return graph;
}

/// (name, type, shape) of each input or output. A size that is known only at run time is None; so is an unknown shape.
nb::list describe(const Graph& graph, const std::vector<ValueId>& ids) {
  nb::list list;
  for (ValueId id : ids) {
    const Value& value = graph.value(id);
    nb::object shape = nb::none();
    if (value.shape) {
      nb::list sizes;
      for (std::int64_t size : *value.shape) sizes.append(size < 0 ? nb::none() : nb::object(nb::int_(size)));
      shape = nb::tuple(sizes);
    }
    list.append(nb::make_tuple(value.name, numpy_name(value.dtype), shape));
  }
  return list;
}

Model load(const std::string& path, const std::vector<std::string>& overridden) {
  const nb::gil_scoped_release released;
  return {std::make_shared<const Graph>(load_onnx(path, {.overridden = overridden})), path};
}

Model parse(nb::bytes bytes, const std::string& name) {
  const std::span<const std::byte> view{static_cast<const std::byte*>(bytes.data()), bytes.size()};
  const nb::gil_scoped_release released;
  return {std::make_shared<const Graph>(parse_onnx(view, name)), name};
}

void save(const Model& model, const std::string& path, std::optional<std::int64_t> opset) {
  const nb::gil_scoped_release released;
  save_onnx(*model.graph, path, {.opset = opset});
}

}  // namespace

Progress progress_of(nb::object report) {
  // The caller's reference outlives the call, and a copy here would be released without the interpreter's lock.
  const nb::handle function = report;
  return {.report = [function](std::string_view phase, std::int64_t done, std::int64_t total) {
    const nb::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!function.is_none()) function(nb::str(phase.data(), phase.size()), done, total);
  }};
}

WarningFunction warnings_of(nb::object warn) {
  const nb::handle function = warn;
  return [function](const std::string& text) {
    const nb::gil_scoped_acquire lock;
    if (!function.is_none()) function(text);
  };
}

void bind_model(nb::module_& module) {
  nb::class_<Model>(module, "Model")
      .def_static("load", &load, nb::arg("path"), nb::arg("overridden"))
      .def_static("parse", &parse, nb::arg("bytes"), nb::arg("name"))
      .def("save", &save, nb::arg("path"), nb::arg("opset").none())
      .def("optimized",
           [](const Model& model) {
             const nb::gil_scoped_release released;
             return Model{std::make_shared<const Graph>(optimized(*model.graph)), model.name};
           })
      .def_ro("name", &Model::name)
      .def_prop_ro("is_quantized", [](const Model& model) { return is_quantized(*model.graph); })
      .def_prop_ro(
          "inputs", [](const Model& model) { return describe(*model.graph, model.graph->inputs()); },
          nb::sig("def inputs(self, /) -> list[tuple[str, str, tuple[int | None, ...] | None]]"))
      .def_prop_ro(
          "outputs", [](const Model& model) { return describe(*model.graph, model.graph->outputs()); },
          nb::sig("def outputs(self, /) -> list[tuple[str, str, tuple[int | None, ...] | None]]"))
      .def_prop_ro(
          "nodes",
          [](const Model& model) {
            nb::list nodes;
            for (NodeId id : model.graph->topological_order()) {
              const Node& node = model.graph->node(id);
              nb::list outputs;
              for (ValueId id_of_output : node.outputs)
                if (id_of_output != ValueId::none) outputs.append(model.graph->value(id_of_output).name);
              nodes.append(nb::make_tuple(node.name, op_name(node.op), outputs));
            }
            return nodes;
          },
          nb::sig("def nodes(self, /) -> list[tuple[str, str, list[str]]]"))
      .def_prop_ro(
          "metadata",
          [](const Model& model) {
            nb::dict metadata;
            for (const auto& [key, value] : model.graph->metadata) metadata[nb::str(key.c_str())] = value;
            return metadata;
          },
          nb::sig("def metadata(self, /) -> dict[str, str]"));
}

}  // namespace bitfold::python
