#include "bitfold_c.h"

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "bitfold/bitfold.h"
#include "bitfold/version.h"

struct bitfold_model {
  std::shared_ptr<const bitfold::Graph> graph;
};

struct bitfold_session {
  bitfold::Session session;
  std::size_t input_count = 0, output_count = 0;
  std::vector<bitfold::Tensor> inputs, outputs;
};

namespace {

using bitfold::DataType;

/// In the order of bitfold_type.
constexpr std::array kTypes{DataType::float32, DataType::float64, DataType::float16, DataType::bfloat16,
                            DataType::int8,    DataType::uint8,   DataType::int16,   DataType::uint16,
                            DataType::int32,   DataType::uint32,  DataType::int64,   DataType::uint64,
                            DataType::boolean};
static_assert(kTypes.size() == BITFOLD_OTHER);

thread_local std::string last_error;

/// Calls f(), and keeps the message of what it throws.
template <class F>
bitfold_status guarded(const F& f) noexcept {
  try {
    f();
    return BITFOLD_OK;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  return BITFOLD_ERROR;
}

template <class T>
void need(const T* pointer, const char* name) {
  if (pointer == nullptr) throw bitfold::Error(std::string(name) + " is null");
}

bitfold_type type_of(DataType dtype) {
  return static_cast<bitfold_type>(std::ranges::find(kTypes, dtype) - kTypes.begin());
}

bitfold::Tensor borrowed(const bitfold_tensor& tensor) {
  if (static_cast<unsigned>(tensor.type) >= kTypes.size()) throw bitfold::Error("an input has no type of the C API");
  if (tensor.rank > 0) need(tensor.shape, "the shape of an input");
  bitfold::Shape shape(tensor.shape, tensor.shape + tensor.rank);
  const DataType dtype = kTypes[tensor.type];
  if (bitfold::element_count(shape) == 0) return {dtype, std::move(shape)};
  return bitfold::Tensor::borrow(tensor.data, nullptr, dtype, std::move(shape));
}

void describe(const bitfold::Graph& graph, const std::vector<bitfold::ValueId>& ids, size_t index,
              bitfold_value* value) {
  need(value, "value");
  if (index >= ids.size())
    throw bitfold::Error("index " + std::to_string(index) + " is too large: there are " + std::to_string(ids.size()));
  const bitfold::Value& v = graph.value(ids[index]);
  *value = {v.name.c_str(), type_of(v.dtype), v.shape ? v.shape->size() : 0, v.shape ? v.shape->data() : nullptr};
}

/// A network as it runs: a float one is optimized first.
bitfold::Graph runnable(const bitfold::Graph& graph) {
  bitfold::Graph copy = graph;
  if (!is_quantized(copy)) optimize(copy);
  return copy;
}

}  // namespace

const char* bitfold_version(void) { return bitfold::version(); }
const char* bitfold_last_error(void) { return last_error.c_str(); }

bitfold_status bitfold_load(const char* path, bitfold_model** model) {
  return guarded([&] {
    need(path, "path");
    need(model, "model");
    *model = new bitfold_model{std::make_shared<const bitfold::Graph>(bitfold::load_onnx(path))};
  });
}

bitfold_status bitfold_load_bytes(const void* bytes, size_t size, bitfold_model** model) {
  return guarded([&] {
    need(bytes, "bytes");
    need(model, "model");
    bitfold::Graph graph = bitfold::parse_onnx({static_cast<const std::byte*>(bytes), size}, "model");
    *model = new bitfold_model{std::make_shared<const bitfold::Graph>(std::move(graph))};
  });
}

bitfold_status bitfold_save(const bitfold_model* model, const char* path) {
  return guarded([&] {
    need(model, "model");
    need(path, "path");
    bitfold::save_onnx(*model->graph, path);
  });
}

size_t bitfold_input_count(const bitfold_model* model) { return model == nullptr ? 0 : model->graph->inputs().size(); }
size_t bitfold_output_count(const bitfold_model* model) {
  return model == nullptr ? 0 : model->graph->outputs().size();
}

bitfold_status bitfold_input(const bitfold_model* model, size_t index, bitfold_value* value) {
  return guarded([&] {
    need(model, "model");
    describe(*model->graph, model->graph->inputs(), index, value);
  });
}

bitfold_status bitfold_output(const bitfold_model* model, size_t index, bitfold_value* value) {
  return guarded([&] {
    need(model, "model");
    describe(*model->graph, model->graph->outputs(), index, value);
  });
}

bitfold_status bitfold_quantize(const bitfold_model* model, const char* data, const char* recipe_json, int threads,
                                bitfold_model** quantized) {
  return guarded([&] {
    need(model, "model");
    need(quantized, "quantized");
    const bitfold::Recipe recipe = recipe_json == nullptr ? bitfold::Recipe{} : bitfold::parse_recipe_json(recipe_json);
    bitfold::Dataset samples;
    if (data != nullptr) samples = bitfold::open_dataset(data, bitfold::input_specs(*model->graph));
    bitfold::QuantizeOptions options;
    options.threads = threads;
    bitfold::QuantizeResult result = bitfold::quantize(*model->graph, samples.source.get(), recipe, options);
    *quantized = new bitfold_model{std::make_shared<const bitfold::Graph>(std::move(result.graph))};
  });
}

bitfold_status bitfold_create_session(const bitfold_model* model, int threads, bitfold_session** session) {
  return guarded([&] {
    need(model, "model");
    need(session, "session");
    const bitfold::Graph graph = runnable(*model->graph);
    *session = new bitfold_session{
        bitfold::Session(graph, {.threads = threads}), graph.inputs().size(), graph.outputs().size(), {}, {}};
  });
}

bitfold_status bitfold_share_session(const bitfold_session* session, bitfold_session** shared) {
  return guarded([&] {
    need(session, "session");
    need(shared, "shared");
    *shared =
        new bitfold_session{session->session.sharing_weights(), session->input_count, session->output_count, {}, {}};
  });
}

bitfold_status bitfold_run(bitfold_session* session, const bitfold_tensor* inputs, size_t input_count,
                           bitfold_tensor* outputs, size_t output_count) {
  return guarded([&] {
    need(session, "session");
    if (input_count != session->input_count || output_count != session->output_count)
      throw bitfold::Error("the model has " + std::to_string(session->input_count) + " inputs and " +
                           std::to_string(session->output_count) + " outputs; " + std::to_string(input_count) +
                           " and " + std::to_string(output_count) + " are given");
    if (input_count > 0) need(inputs, "inputs");
    if (output_count > 0) need(outputs, "outputs");
    session->inputs.clear();
    for (size_t i = 0; i < input_count; ++i) session->inputs.push_back(borrowed(inputs[i]));
    session->outputs = session->session.run(session->inputs);
    for (size_t i = 0; i < output_count; ++i) {
      bitfold::Tensor& y = session->outputs[i];
      if (type_of(y.dtype()) == BITFOLD_OTHER)
        throw bitfold::Error("output " + std::to_string(i) + " has type " + std::string(to_string(y.dtype())) +
                             ", which the C API cannot pass");
      // An output that is an input unchanged would not outlive the caller's array.
      if (y.is_borrowed()) y = bitfold::Tensor::from_bytes(y.dtype(), y.shape(), {y.bytes(), y.size_bytes()});
      outputs[i] = {type_of(y.dtype()), y.shape().size(), y.shape().data(), y.bytes()};
    }
    session->inputs.clear();
  });
}

void bitfold_free_model(bitfold_model* model) { delete model; }
void bitfold_free_session(bitfold_session* session) { delete session; }
