// Quantizing, comparing and evaluating on data that open_dataset() reads.
#include "bitfold/quantize.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <utility>

#include "bitfold/data.h"
#include "bitfold/input_specs.h"
#include "bitfold/report.h"
#include "bitfold/sensitivity.h"
#include "model.h"

namespace bitfold::python {
namespace {

/// Where samples are, and how they are prepared: the flags of the tool as (key, text), such as ("resize", "256").
struct Data {
  std::string path;
  std::vector<std::pair<std::string, std::string>> preprocess;
  std::optional<std::int64_t> limit;
};

DatasetOptions options_of(const Data& data, WarningFunction warn) {
  DatasetOptions options{.preprocess = {}, .limit = data.limit, .strict = false, .warn = std::move(warn)};
  for (const auto& [key, text] : data.preprocess) set_preprocess(options.preprocess, key, text);
  return options;
}

/// `note` receives the guesses that the dataset makes.
Dataset open(const Graph& graph, const Data& data, const WarningFunction& warn, const WarningFunction& note) {
  Dataset dataset = open_dataset(data.path, input_specs(graph), options_of(data, warn));
  for (const std::string& text : dataset.notes) note(text);
  return dataset;
}

/// Functions of Python that a long call reports to; each may be None.
struct Reports {
  nb::object progress, warn, note;
};

struct Result {
  Model graph, runnable;
  std::vector<LayerDecision> decisions;
  std::string recipe, left;
  std::int64_t sample_count = 0;
  /// If measured: layers and their noise with only this layer quantized, as a fraction of the output's power.
  std::vector<std::pair<std::string, double>> noises;
};

std::vector<std::pair<std::string, double>> noises_of(const CalibratedNetwork& network, BatchSource& samples,
                                                      const QuantizeOptions& options) {
  const SensitivityOptions measurement{.weight_bits = {network.recipe.weight_bits},
                                       .all_but_one = false,
                                       .threads = options.threads,
                                       .progress = options.progress};
  std::vector<std::pair<std::string, double>> noises;
  for (const LayerSensitivity& layer :
       measure_sensitivity(network.graph, network.calibration, samples, network.recipe, measurement).layers)
    if (layer.alone.front()) noises.emplace_back(layer.node, layer.alone.front()->noise);
  return noises;
}

Result quantize_model(const Model& model, const std::optional<Data>& data, const std::string& recipe_text, int threads,
                      const Reports& reports, std::vector<std::string> inputs_at, std::vector<std::string> outputs_at,
                      bool measures_noises) {
  QuantizeOptions options{.threads = threads,
                          .progress = progress_of(reports.progress),
                          .warn = warnings_of(reports.warn),
                          .cut = {std::move(inputs_at), std::move(outputs_at)}};
  options.keeps_all_statistics = measures_noises;
  const WarningFunction note = warnings_of(reports.note);
  const nb::gil_scoped_release released;
  const Recipe recipe = parse_recipe_json(recipe_text);
  check_recipe(recipe);
  Dataset dataset;
  if (data) {
    const Graph runnable = options.cut.empty() ? *model.graph : extract_part(*model.graph, options.cut).graph;
    dataset = open(runnable, *data, options.warn, note);
  }
  const CalibratedNetwork network = calibrate_network(*model.graph, dataset.source.get(), recipe, options);
  QuantizeResult result = quantize(network, dataset.source.get(), options);
  std::vector<std::pair<std::string, double>> noises;
  if (measures_noises && dataset.source) noises = noises_of(network, *dataset.source, options);
  const std::string name = model.name + " (quantized)";
  const auto runnable = std::make_shared<const Graph>(result.runnable());
  return {.graph = {std::make_shared<const Graph>(std::move(result.graph)), name},
          .runnable = {runnable, name},
          .decisions = std::move(result.decisions),
          .recipe = recipe_json(result.recipe),
          .left = describe_left(result.left),
          .sample_count = dataset.source ? dataset.source->sample_count() : 0,
          .noises = std::move(noises)};
}

Comparison compare_models(const Model& float_model, const Model& quantized, const Data& data, int threads,
                          const Reports& reports) {
  const EvaluateOptions options{
      .threads = threads, .progress = progress_of(reports.progress), .names = {float_model.name, quantized.name}};
  const WarningFunction warn = warnings_of(reports.warn), note = warnings_of(reports.note);
  const nb::gil_scoped_release released;
  const Dataset dataset = open(*float_model.graph, data, warn, note);
  return compare(*float_model.graph, *quantized.graph, *dataset.source, options);
}

Evaluation evaluate_model(const Model& model, const Data& data, int threads, const Reports& reports) {
  const EvaluateOptions options{.threads = threads, .progress = progress_of(reports.progress)};
  const WarningFunction warn = warnings_of(reports.warn), note = warnings_of(reports.note);
  const nb::gil_scoped_release released;
  const Dataset dataset = open(*model.graph, data, warn, note);
  return evaluate(*model.graph, *dataset.source, options);
}

nb::list fields() {
  nb::list list;
  for (const RecipeField& field : recipe_fields())
    list.append(nb::make_tuple(nb::str(field.name.data(), field.name.size()), field.values, field.default_value,
                               nb::str(field.help.data(), field.help.size()), field.get != nullptr));
  return list;
}

}  // namespace

void bind_quantize(nb::module_& module) {
  nb::class_<Data>(module, "Data")
      .def(
          "__init__",
          [](Data* self, std::string path, std::vector<std::pair<std::string, std::string>> preprocess,
             std::optional<std::int64_t> limit) {
            new (self) Data{std::move(path), std::move(preprocess), limit};
          },
          nb::arg("path"), nb::arg("preprocess"), nb::arg("limit").none());
  nb::class_<Reports>(module, "Reports")
      .def(
          "__init__",
          [](Reports* self, nb::object progress, nb::object warn, nb::object note) {
            new (self) Reports{std::move(progress), std::move(warn), std::move(note)};
          },
          nb::arg("progress").none(), nb::arg("warn").none(), nb::arg("note").none());
  nb::class_<LayerDecision>(module, "LayerDecision")
      .def_ro("node", &LayerDecision::node)
      .def_ro("op", &LayerDecision::op)
      .def_ro("quantized", &LayerDecision::quantized)
      .def_ro("reason", &LayerDecision::reason);
  nb::class_<Result>(module, "Result")
      .def_ro("graph", &Result::graph)
      .def_ro("runnable", &Result::runnable)
      .def_ro("decisions", &Result::decisions)
      .def_ro("recipe", &Result::recipe)
      .def_ro("left", &Result::left)
      .def_ro("sample_count", &Result::sample_count)
      .def_ro("noises", &Result::noises);
  nb::class_<ValueError>(module, "ValueError")
      .def_ro("value", &ValueError::value)
      .def_ro("node", &ValueError::node)
      .def_ro("op", &ValueError::op)
      .def_ro("sqnr_db", &ValueError::sqnr_db)
      .def_ro("max_abs_error", &ValueError::max_abs_error)
      .def_ro("bits", &ValueError::bits);
  nb::class_<Comparison>(module, "Comparison")
      .def_ro("sample_count", &Comparison::sample_count)
      .def_ro("top1_agreement", &Comparison::top1_agreement)
      .def_ro("outputs", &Comparison::outputs)
      .def_ro("layers", &Comparison::layers)
      .def_ro("sqnr_db", &Comparison::sqnr_db)
      .def_ro("max_abs_error", &Comparison::max_abs_error);
  nb::class_<Evaluation>(module, "Evaluation")
      .def_ro("sample_count", &Evaluation::sample_count)
      .def_ro("top1", &Evaluation::top1)
      .def_ro("top5", &Evaluation::top5)
      .def_ro("latency_us", &Evaluation::latency_us);
  module.def("quantize", &quantize_model, nb::arg("model"), nb::arg("data").none(), nb::arg("recipe"),
             nb::arg("threads"), nb::arg("reports"), nb::arg("inputs_at"), nb::arg("outputs_at"),
             nb::arg("measures_noises"));
  module.def("compare", &compare_models, nb::arg("float_model"), nb::arg("quantized"), nb::arg("data"),
             nb::arg("threads"), nb::arg("reports"));
  module.def("evaluate", &evaluate_model, nb::arg("model"), nb::arg("data"), nb::arg("threads"), nb::arg("reports"));
  module.def("load_recipe", [](const std::string& path) { return recipe_json(load_recipe(path)); });
  module.def("recipe_fields", &fields, nb::sig("def recipe_fields() -> list[tuple[str, str, str, str, bool]]"));
}

}  // namespace bitfold::python
