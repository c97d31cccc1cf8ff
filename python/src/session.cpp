// Session: runs from several threads at once, each on a session of its own that shares the packed weights.
#include "bitfold/session.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "arrays.h"
#include "bitfold/error.h"
#include "bitfold/input_specs.h"
#include "bitfold/report.h"
#include "model.h"

namespace bitfold::python {
namespace {

class Runner {
 public:
  Runner(const Model& model, int threads) : model_(model), inputs_(input_specs(*model.graph)), threads_(threads) {
    {
      const nb::gil_scoped_release released;
      first_ = std::make_shared<Session>(*model.graph, SessionOptions{.threads = threads});
      idle_.push_back(first_);
    }
    for (const InputSpec& input : inputs_) input_names_.push_back(interned(input.name));
    for (ValueId id : model.graph->outputs()) output_names_.push_back(interned(model.graph->value(id).name));
  }

  nb::dict run(nb::dict feeds) {
    std::vector<Array> alive;
    std::vector<Tensor> inputs = read(feeds, alive);
    std::vector<Tensor> outputs;
    {
      const nb::gil_scoped_release released;
      outputs = run(inputs);
      inputs.clear();
    }
    nb::dict result;
    for (std::size_t i = 0; i < outputs.size(); ++i) result[output_names_[i]] = to_python(std::move(outputs[i]));
    return result;
  }

  nb::list profile(nb::dict feeds) {
    std::vector<Array> alive;
    BenchOptions options{.threads = threads_};
    options.inputs = read(feeds, alive);
    for (const Tensor& input : options.inputs) options.shapes.push_back(input.shape());
    std::vector<StepTime> times;
    {
      const nb::gil_scoped_release released;
      times = bitfold::profile(*model_.graph, options);
    }
    nb::list steps;
    for (const StepTime& t : times)
      steps.append(
          nb::make_tuple(t.step.name, t.step.op, t.step.kernel, t.step.is_integer, t.step.mac_count, t.median_us));
    return steps;
  }

  const Model& model() const { return model_; }
  int threads() const { return threads_; }

 private:
  /// The tensors of the inputs, in their order.
  std::vector<Tensor> read(const nb::dict& feeds, std::vector<Array>& alive) const {
    std::vector<Tensor> inputs;
    inputs.reserve(inputs_.size());
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      PyObject* const given = PyDict_GetItemWithError(feeds.ptr(), input_names_[i].ptr());
      if (given == nullptr) fail_missing(inputs_[i].name);
      inputs.push_back(to_tensor(given, inputs_[i], alive));
    }
    if (feeds.size() != inputs_.size()) refuse_unknown(feeds);
    return inputs;
  }

  static nb::str interned(const std::string& name) {
    PyObject* text = PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size()));
    PyUnicode_InternInPlace(&text);
    return nb::steal<nb::str>(text);
  }

  [[noreturn]] void fail_missing(const std::string& name) const {
    throw Error(fmt::format("{}: the feeds lack input '{}'; the inputs are {}", model_.name, name, list_inputs()));
  }

  std::string list_inputs() const {
    std::string text;
    for (const InputSpec& input : inputs_) text += fmt::format("{}'{}'", text.empty() ? "" : ", ", input.name);
    return text;
  }

  void refuse_unknown(const nb::dict& feeds) const {
    for (auto [key, value] : feeds) {
      const auto name = nb::cast<std::string>(nb::str(key));
      if (std::ranges::find(inputs_, name, &InputSpec::name) == inputs_.end())
        throw Error(fmt::format("{}: '{}' is not an input; the inputs are {}", model_.name, name, list_inputs()));
    }
  }

  std::vector<Tensor> run(std::span<const Tensor> inputs) {
    const std::shared_ptr<Session> session = take();
    try {
      std::vector<Tensor> outputs = session->run(inputs);
      give_back(session);
      return outputs;
    } catch (const Error& e) {
      give_back(session);
      throw Error(fmt::format("{}: {}", model_.name, e.what()));
    }
  }

  std::shared_ptr<Session> take() {
    const std::lock_guard guard(lock_);
    if (idle_.empty()) return std::make_shared<Session>(first_->sharing_weights());
    std::shared_ptr<Session> session = std::move(idle_.back());
    idle_.pop_back();
    return session;
  }

  void give_back(std::shared_ptr<Session> session) {
    const std::lock_guard guard(lock_);
    idle_.push_back(std::move(session));
  }

  Model model_;
  std::vector<InputSpec> inputs_;
  std::vector<nb::str> input_names_, output_names_;
  int threads_;
  std::mutex lock_;
  std::shared_ptr<Session> first_;  ///< The one whose weights all others share.
  std::vector<std::shared_ptr<Session>> idle_;
};

}  // namespace

void bind_session(nb::module_& module) {
  nb::class_<Runner>(module, "Runner")
      .def(nb::init<const Model&, int>(), nb::arg("model"), nb::arg("threads"))
      .def("run", nb::overload_cast<nb::dict>(&Runner::run), nb::arg("feeds"),
           nb::sig("def run(self, feeds: dict[str, typing.Any]) -> dict[str, typing.Any]"))
      .def("profile", &Runner::profile, nb::arg("feeds"),
           nb::sig("def profile(self, feeds: dict[str, typing.Any]) -> list[tuple[str, str, str, bool, int, float]]"))
      .def_prop_ro("model", [](const Runner& runner) { return runner.model(); })
      .def_prop_ro("threads", &Runner::threads);
}

}  // namespace bitfold::python
