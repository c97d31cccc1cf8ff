#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/first_failure.h"
#include "data/preprocess.h"
#include "data/sources.h"

namespace bitfold {
namespace {

// Compares [n, d1, d2, ...] without n; false if the ranks or a known dimension differ.
bool same_sample_shape(const Shape& data, const Shape& input) {
  if (data.size() != input.size()) return false;
  for (std::size_t i = 1; i < data.size(); ++i)
    if (input[i] != kDynamic && input[i] != data[i]) return false;
  return true;
}

// Whether `data` is a single sample [d1, d2, ...] without batch axis. A stack of grey images also has rank 3, so the
// input must have a known number of channels above 1, and all its known sizes must be equal.
bool is_one_sample(const Shape& data, const Shape& input) {
  if (input.size() != 4 || data.size() != 3 || input[1] == kDynamic || input[1] == 1) return false;
  for (std::size_t i = 0; i < data.size(); ++i)
    if (input[i + 1] != kDynamic && input[i + 1] != data[i]) return false;
  return true;
}

Shape with_count(std::int64_t count, const Shape& sample) {
  Shape shape{count};
  shape.insert(shape.end(), sample.begin(), sample.end());
  return shape;
}

// One array feeding one input: as it is, or through a Preprocessor.
class ArrayInput {
 public:
  ArrayInput(const std::string& path, StoredArray array, const InputSpec& input, const Preprocess& preprocess,
             std::vector<std::string>& notes)
      : where_(array.name.empty() ? fmt::format("'{}'", path) : fmt::format("'{}': array '{}'", path, array.name)),
        reader_(std::move(array.reader)),
        shape_(reader_->shape()),
        is_uint8_(reader_->dtype() == DataType::uint8),
        is_narrowed_(reader_->dtype() == DataType::float64 && input.dtype == DataType::float32),
        dtype_(is_narrowed_ ? DataType::float32 : reader_->dtype()) {
    check(!shape_.empty(), "{}: is a single number; expected an array of samples", where_);
    is_one_sample_ = is_one_sample(shape_, input.shape);
    if (is_one_sample_) {
      shape_ = with_count(1, shape_);
      notes.push_back(fmt::format("{}: one sample of input '{}'", where_, input.name));
    }
    check(shape_[0] > 0, "{}: has no samples (shape {})", where_, to_string(shape_));
    stride_ = element_count(shape_) / shape_[0];
    if (input.dtype != DataType::float32)
      copy(input);
    else
      convert(input, preprocess, notes);
  }

  std::int64_t sample_count() const { return shape_[0]; }

  Tensor read(std::int64_t first, std::int64_t count) {
    Tensor stored = is_one_sample_ ? reader_->read().reshaped(shape_) : reader_->read(first, count);
    if (is_narrowed_) stored = narrow(stored);
    if (stored.dtype() == DataType::float32) check_no_nan(stored, first);
    if (!preprocessor_) return stored;
    Tensor batch = Tensor::uninitialized(DataType::float32, with_count(count, sample_shape_));
    float* out = batch.mutable_data<float>().data();
    const std::int64_t size = batch.size() / count;
    if (is_uint8_)
      run(stored.data<std::uint8_t>().data(), out, size, count);
    else
      run(stored.data<float>().data(), out, size, count);
    return batch;
  }

 private:
  void copy(const InputSpec& input) {
    check(dtype_ == input.dtype, "{}: has element type {}, input '{}' expects {}", where_, to_string(dtype_),
          input.name, to_string(input.dtype));
    check(same_sample_shape(shape_, input.shape), "{}: has shape {}, input '{}' expects {} (first: samples)", where_,
          to_string(shape_), input.name, to_string(input.shape));
    sample_shape_.assign(shape_.begin() + 1, shape_.end());
  }

  void convert(const InputSpec& input, const Preprocess& preprocess, std::vector<std::string>& notes) {
    check(dtype_ == DataType::float32 || is_uint8_,
          "{}: has element type {}, input '{}' expects float32; float16, float32, float64 and (for pixels) uint8 are "
          "accepted",
          where_, to_string(dtype_), input.name);
    const bool fits = same_sample_shape(shape_, input.shape);
    const bool touched = asks_for_anything(preprocess);
    check(is_uint8_ || !asks_to_resize(preprocess), "{}: {} needs uint8 pixels, but this array contains floats", where_,
          preprocess.fit ? "--fit" : "--resize");
    if (!is_uint8_ && !touched) {
      notes.push_back(fmt::format("{}: contains floats, assumed to be preprocessed already", where_));
      if (fits) return copy(input);
    }
    // Images have two or three dimensions per sample, and their input accepts images.
    const bool is_image = (shape_.size() == 3 || shape_.size() == 4) &&
                          (input.shape.size() == 4 || !fits || asks_for_geometry(preprocess));
    if (is_image)
      as_images(input, preprocess, notes);
    else
      as_numbers(input, preprocess);
    if (is_uint8_ && !preprocess.scale)
      notes.push_back(fmt::format("{}: uint8 data, {}", where_, describe_default_scale(preprocess)));
  }

  void as_images(const InputSpec& input, const Preprocess& preprocess, std::vector<std::string>& notes) {
    bool planar = false;
    if (shape_.size() == 3) {
      layout_ = PixelLayout::planar(shape_[2], shape_[1], 1);
    } else {
      // The channel axis is the one whose size equals the input's, or 1 or 3. If both positions are possible, pixels
      // are NHWC, unless they fit an NCHW input unchanged.
      const bool nhwc_input = input.shape.size() == 4 && (input.shape[3] == 1 || input.shape[3] == 3) &&
                              input.shape[1] != 1 && input.shape[1] != 3;
      const std::int64_t wanted = input.shape.size() == 4 ? input.shape[nhwc_input ? 3 : 1] : kDynamic;
      const auto plausible = [&](std::int64_t dim) { return dim == 1 || dim == 3 || dim == wanted; };
      check(plausible(shape_[1]) || plausible(shape_[3]), "{}: has shape {}; input '{}' expects {}", where_,
            to_string(shape_), input.name, to_string(input.shape));
      const bool fits_nchw = !nhwc_input && same_sample_shape(shape_, input.shape);
      planar = !plausible(shape_[3]) || (plausible(shape_[1]) && fits_nchw);
      layout_ = planar ? PixelLayout::planar(shape_[3], shape_[2], shape_[1])
                       : PixelLayout::interleaved(shape_[2], shape_[1], shape_[3]);
    }
    try {
      preprocessor_.emplace(input, preprocess, layout_.channels, is_uint8_);
    } catch (const Error& error) {
      fail("{}: {}", where_, error.what());
    }
    sample_shape_ = preprocessor_->sample_shape(layout_.width, layout_.height, where_);
    if (shape_.size() == 4 && preprocessor_->layout() == InputLayout::nchw && !planar)
      notes.push_back(fmt::format("{}: shape {} is interpreted as NHWC and transposed to NCHW for input '{}'", where_,
                                  to_string(shape_), input.name));
    if (shape_.size() == 4 && preprocessor_->layout() == InputLayout::nhwc && planar)
      notes.push_back(fmt::format("{}: shape {} is interpreted as NCHW and transposed to NHWC for input '{}'", where_,
                                  to_string(shape_), input.name));
    if (layout_.channels == 1 && preprocessor_->channels() == 3)
      notes.push_back(fmt::format("{}: grey images, repeated for the 3 channels of input '{}'", where_, input.name));
  }

  // Samples that are not images: scale, mean and std apply to all elements.
  void as_numbers(const InputSpec& input, const Preprocess& preprocess) {
    check(same_sample_shape(shape_, input.shape), "{}: has shape {}, input '{}' expects {} (first: samples)", where_,
          to_string(shape_), input.name, to_string(input.shape));
    check(!asks_for_geometry(preprocess),
          "{}: --resize, --fit, --crop, --pad and --channels need images, but the array has shape {}", where_,
          to_string(shape_));
    layout_ = PixelLayout::planar(stride_, 1, 1);
    preprocessor_.emplace(InputSpec{input.name, input.dtype, {kDynamic, kDynamic}}, preprocess, 1, is_uint8_);
    sample_shape_.assign(shape_.begin() + 1, shape_.end());
  }

  static Tensor narrow(const Tensor& doubles) {
    Tensor floats = Tensor::uninitialized(DataType::float32, doubles.shape());
    const auto from = doubles.data<double>();
    std::transform(from.begin(), from.end(), floats.mutable_data<float>().begin(),
                   [](double value) { return static_cast<float>(value); });
    return floats;
  }

  // An infinite element may be meant: masks add minus infinity.
  void check_no_nan(const Tensor& samples, std::int64_t first) const {
    const auto values = samples.data<float>();
    const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return std::isnan(value); });
    if (bad == values.end()) return;
    std::int64_t rest = first * stride_ + (bad - values.begin());
    std::string index;
    for (std::size_t axis = shape_.size(); axis-- > 0;) {
      index = fmt::format("{}{}{}", rest % shape_[axis], index.empty() ? "" : ",", index);
      rest /= shape_[axis];
    }
    fail("{}: contains {} at [{}]", where_, *bad, index);
  }

  template <class T>
  void run(const T* pixels, float* out, std::int64_t size, std::int64_t count) const {
    FirstFailure failure;
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i)
      failure.watch(i, [&] { preprocessor_->run(pixels + i * stride_, layout_, out + i * size); });
    failure.rethrow();
  }

  std::string where_;
  std::unique_ptr<ArrayReader> reader_;
  Shape shape_;  // of the whole array; the first size is the number of samples
  bool is_one_sample_ = false, is_uint8_, is_narrowed_;
  DataType dtype_;           // of the samples that next() returns
  std::int64_t stride_ = 0;  // elements per stored sample
  Shape sample_shape_;       // shape after preprocessing
  std::optional<Preprocessor> preprocessor_;
  PixelLayout layout_;
};

class ArraySource : public BatchSource {
 public:
  ArraySource(std::vector<ArrayInput> inputs, std::vector<std::int64_t> labels, std::int64_t count, std::string origin)
      : inputs_(std::move(inputs)), labels_(std::move(labels)), count_(count), origin_(std::move(origin)) {}

  std::optional<Batch> next(std::int64_t max_samples) override {
    check(max_samples > 0, "a batch of {} samples was requested; at least 1 is needed", max_samples);
    const std::int64_t count = std::min(max_samples, count_ - position_);
    if (count == 0) return std::nullopt;
    Batch batch;
    batch.sample_count = count;
    for (ArrayInput& input : inputs_) batch.inputs.push_back(input.read(position_, count));
    if (!labels_.empty()) batch.labels.assign(labels_.begin() + position_, labels_.begin() + position_ + count);
    position_ += count;
    return batch;
  }
  void rewind() override { position_ = 0; }
  std::int64_t sample_count() const override { return count_; }
  bool has_labels() const override { return !labels_.empty(); }
  std::string description() const override { return fmt::format("{} samples from {}", count_, origin_); }

 private:
  std::vector<ArrayInput> inputs_;
  std::vector<std::int64_t> labels_;
  std::int64_t count_ = 0, position_ = 0;
  std::string origin_;
};

template <class T>
std::vector<std::int64_t> widen(const Tensor& array) {
  const auto values = array.data<T>();
  return {values.begin(), values.end()};
}

}  // namespace

std::vector<std::int64_t> to_labels(const Tensor& array, const std::string& where) {
  check(array.rank() == 1 || (array.rank() == 2 && array.dim(1) == 1),
        "{}: labels have shape {}; expected one class index per sample", where, to_string(array.shape()));
  std::vector<std::int64_t> labels;
  switch (array.dtype()) {
    case DataType::int8:
      labels = widen<std::int8_t>(array);
      break;
    case DataType::uint8:
      labels = widen<std::uint8_t>(array);
      break;
    case DataType::int16:
      labels = widen<std::int16_t>(array);
      break;
    case DataType::uint16:
      labels = widen<std::uint16_t>(array);
      break;
    case DataType::int32:
      labels = widen<std::int32_t>(array);
      break;
    case DataType::uint32:
      labels = widen<std::uint32_t>(array);
      break;
    case DataType::int64:
      labels = widen<std::int64_t>(array);
      break;
    case DataType::uint64:
      labels = widen<std::uint64_t>(array);
      break;
    default:
      fail("{}: labels have type {}; expected integers", where, to_string(array.dtype()));
  }
  for (std::size_t i = 0; i < labels.size(); ++i)
    check(labels[i] >= 0, "{}: label {} of sample {} is not a class index", where, labels[i], i);
  return labels;
}

std::unique_ptr<BatchSource> make_array_source(ArrayData data, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, std::vector<std::string>& notes) {
  std::vector<ArrayInput> array_inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    array_inputs.emplace_back(data.path, std::move(data.arrays[i]), inputs[i], options.preprocess, notes);
  const std::int64_t count = array_inputs[0].sample_count();
  for (std::size_t i = 1; i < inputs.size(); ++i)
    check(array_inputs[i].sample_count() == count, "'{}': {} samples for input '{}', {} for input '{}'", data.path,
          count, inputs[0].name, array_inputs[i].sample_count(), inputs[i].name);
  check(data.labels.empty() || static_cast<std::int64_t>(data.labels.size()) == count, "'{}': {} samples but {} labels",
        data.path, count, data.labels.size());
  return std::make_unique<ArraySource>(std::move(array_inputs), std::move(data.labels),
                                       std::min(count, options.limit.value_or(count)),
                                       fmt::format("{} ({})", data.path, data.kind));
}

}  // namespace bitfold
