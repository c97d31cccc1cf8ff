// Images, read and decoded a batch at a time.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/file.h"
#include "base/first_failure.h"
#include "data/image.h"
#include "data/preprocess.h"
#include "data/sources.h"

namespace bitfold {
namespace {

class ImageSource : public BatchSource {
 public:
  ImageSource(FileSet images, const InputSpec& input, const DatasetOptions& options)
      : set_(std::move(images)),
        strict_(options.strict),
        warn_(options.warn),
        preprocessor_(input, options.preprocess, 3, true),
        unreadable_(set_.files.size()),
        shapes_(set_.files.size()) {}

  std::optional<Batch> next(std::int64_t max_samples) override {
    check(max_samples > 0, "a batch of {} samples was requested; at least 1 is needed", max_samples);
    std::vector<std::int64_t> labels;
    Tensor tensor;
    while (labels.empty()) {
      if (images_left() == 0) {
        check(sample_count() > 0, "'{}': none of its {} images can be read", set_.path, set_.files.size());
        return std::nullopt;
      }
      const Stretch stretch = next_stretch(max_samples);
      // Samples are written to their final place, so a batch needs little more memory than its own size.
      tensor = Tensor(DataType::float32, batch_shape(stretch.samples));
      while (static_cast<std::int64_t>(labels.size()) < tensor.dim(0) && position_ < stretch.end)
        read_some(tensor, labels, stretch.end);
    }
    Batch batch;
    batch.sample_count = static_cast<std::int64_t>(labels.size());
    if (batch.sample_count < tensor.dim(0)) {  // the last images could not be read
      Tensor fewer(DataType::float32, batch_shape(batch.sample_count));
      std::memcpy(fewer.mutable_bytes(), tensor.bytes(), fewer.size_bytes());
      tensor = std::move(fewer);
    }
    batch.inputs.push_back(std::move(tensor));
    if (set_.has_labels) batch.labels = std::move(labels);
    return batch;
  }
  void rewind() override { position_ = 0; }
  /// Excludes the images found unreadable so far.
  std::int64_t sample_count() const override {
    return static_cast<std::int64_t>(set_.files.size()) - unreadable_count_;
  }
  bool has_labels() const override { return set_.has_labels; }
  std::string description() const override {
    return fmt::format("{} samples from {} (images)", sample_count(), set_.path);
  }

 private:
  struct Outcome {
    // The reason for which the file gives no sample: it is damaged, or its size does not fit the input. Else empty.
    std::string unreadable, unfit;
  };

  Shape batch_shape(std::int64_t samples) const {
    Shape shape{samples};
    shape.insert(shape.end(), sample_shape_.begin(), sample_shape_.end());
    return shape;
  }

  /// An upper bound, because some may be unreadable.
  std::int64_t images_left() const { return static_cast<std::int64_t>(set_.files.size() - position_); }

  /// Images from position_ to `end` that give a batch: their samples have sample_shape_.
  struct Stretch {
    std::size_t end;
    std::int64_t samples;  // an upper bound, because some may be unreadable
  };

  // An image that cannot be read or does not fit is reported when its turn comes.
  Stretch next_stretch(std::int64_t max_samples) {
    if (preprocessor_.has_one_shape()) {
      for (std::size_t i = position_; i < set_.files.size() && sample_shape_.empty(); ++i) sample_shape_ = shape_of(i);
      return {set_.files.size(), std::min(max_samples, images_left())};
    }
    sample_shape_.clear();
    Stretch stretch{position_, 0};
    for (; stretch.end < set_.files.size() && stretch.samples < max_samples; ++stretch.end) {
      const Shape shape = shape_of(stretch.end);
      if (shape.empty()) continue;
      if (sample_shape_.empty()) sample_shape_ = shape;
      if (shape != sample_shape_) break;
      ++stretch.samples;
    }
    stretch.samples = std::max<std::int64_t>(1, stretch.samples);
    return stretch;
  }

  // The shape of the sample that image i gives, from the image's header; empty if it gives none.
  Shape shape_of(std::size_t i) {
    if (unreadable_[i]) return {};
    if (!shapes_[i].empty()) return shapes_[i];
    const std::string path = set_.files[i].path.string();
    try {
      const ImageSize size = image_size(read_file(path), path);
      shapes_[i] = preprocessor_.sample_shape(size.width, size.height, fmt::format("'{}'", path));
    } catch (const Error&) {
    }
    return shapes_[i];
  }

  Outcome read(const std::string& path, std::span<float> sample) const {
    Image image;
    try {
      image = decode_image(read_file(path), path);
    } catch (const std::exception& error) {  // no exception may leave the parallel loop
      return {.unreadable = error.what()};
    }
    try {
      const Shape shape = preprocessor_.sample_shape(image.width, image.height, fmt::format("'{}'", path));
      check(shape == sample_shape_, "'{}': its sample has shape {}, not {}", path, to_string(shape),
            to_string(sample_shape_));
      preprocessor_.run(image.pixels.data(), PixelLayout::interleaved(image.width, image.height, image.channels),
                        sample.data());
    } catch (const std::exception& error) {
      return {.unfit = error.what()};
    }
    return {};
  }

  // Fills `tensor` from sample labels.size() on, as far as images before `end` can be read.
  void read_some(Tensor& tensor, std::vector<std::int64_t>& labels, std::size_t end) {
    const std::size_t first = labels.size(), count = static_cast<std::size_t>(tensor.dim(0)) - first;
    std::vector<std::size_t> chosen;
    for (; chosen.size() < count && position_ < end; ++position_)
      if (!unreadable_[position_]) chosen.push_back(position_);
    const auto elements = static_cast<std::size_t>(element_count(sample_shape_));
    const std::span<float> values = tensor.mutable_data<float>();
    const auto row = [&](std::size_t i) { return values.subspan((first + i) * elements, elements); };
    std::vector<Outcome> outcomes(chosen.size());
    FirstFailure failure;
#pragma omp parallel for schedule(dynamic)
    for (std::size_t i = 0; i < chosen.size(); ++i)
      failure.watch(i, [&] { outcomes[i] = read(set_.files[chosen[i]].path.string(), row(i)); });
    failure.rethrow();
    std::size_t good = 0;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      if (!outcomes[i].unreadable.empty()) {
        if (strict_) throw Error(outcomes[i].unreadable);
        if (warn_) warn_(fmt::format("skipped {}", outcomes[i].unreadable));
        unreadable_[chosen[i]] = true;
        ++unreadable_count_;
        continue;
      }
      if (!outcomes[i].unfit.empty()) throw Error(outcomes[i].unfit);
      if (good < i) std::copy(row(i).begin(), row(i).end(), row(good).begin());
      ++good;
      labels.push_back(set_.files[chosen[i]].label);
    }
  }

  FileSet set_;
  bool strict_ = false;
  WarningFunction warn_;
  Preprocessor preprocessor_;
  std::vector<bool> unreadable_;
  std::int64_t unreadable_count_ = 0;
  std::size_t position_ = 0;
  std::vector<Shape> shapes_;  // of each image's sample, once known
  Shape sample_shape_;         // of the current batch
};

}  // namespace

std::unique_ptr<BatchSource> make_image_source(FileSet images, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, Dataset& dataset) {
  check(inputs.size() == 1,
        "'{}': images can feed one input, but the network has {}; use an .npz with one array per input", images.path,
        inputs.size());
  check(inputs[0].dtype == DataType::float32, "'{}': images are converted to float32, but input '{}' expects {}",
        images.path, inputs[0].name, to_string(inputs[0].dtype));
  if (options.limit && static_cast<std::size_t>(*options.limit) < images.files.size())
    images.files.resize(static_cast<std::size_t>(*options.limit));
  if (!options.preprocess.scale)
    dataset.notes.push_back(
        fmt::format("'{}': pixels are {}", images.path, describe_default_scale(options.preprocess)));
  if (options.preprocess.fit && options.preprocess.fill.empty())
    dataset.notes.push_back(fmt::format("'{}': borders are filled with 114 (--fill overrides this)", images.path));
  for (const LabelledFile& image : images.files) dataset.files.push_back(image.path.string());
  return std::make_unique<ImageSource>(std::move(images), inputs[0], options);
}

}  // namespace bitfold
