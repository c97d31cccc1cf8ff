// Distinguishes the formats of data, and matches arrays with a network's inputs.
#include <algorithm>
#include <array>
#include <cstdio>

#include "base/check.h"
#include "bitfold/reals.h"
#include "data/idx.h"
#include "data/npy.h"
#include "data/sources.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

std::string names_of(const std::vector<StoredArray>& arrays) {
  std::string text;
  for (const StoredArray& array : arrays)
    text += fmt::format("{}'{}' ({})", text.empty() ? "" : ", ", array.name, to_string(array.reader->shape()));
  return text.empty() ? "no arrays" : text;
}

std::string names_of(const std::vector<InputSpec>& inputs) {
  std::string text;
  for (const InputSpec& input : inputs)
    text += fmt::format("{}'{}' ({})", text.empty() ? "" : ", ", input.name, to_string(input.shape));
  return text;
}

StoredArray* find(std::vector<StoredArray>& arrays, std::string_view name) {
  const auto found = std::find_if(arrays.begin(), arrays.end(), [&](const auto& array) { return array.name == name; });
  return found == arrays.end() ? nullptr : &*found;
}

// Matches by the inputs' names; otherwise takes 'x', or the only array besides labels, for the only input.
std::vector<StoredArray*> match(const std::string& path, std::vector<StoredArray>& arrays, const StoredArray* labels,
                                const std::vector<InputSpec>& inputs, std::vector<std::string>& notes) {
  std::vector<StoredArray*> matched;
  for (const InputSpec& input : inputs)
    if (StoredArray* array = find(arrays, input.name)) matched.push_back(array);
  if (matched.size() == inputs.size()) return matched;
  std::vector<StoredArray*> others;
  for (StoredArray& array : arrays)
    if (&array != labels) others.push_back(&array);
  StoredArray* x = find(arrays, "x");
  if (inputs.size() == 1 && x == nullptr && others.size() == 1) {
    x = others[0];
    if (!x->name.empty())
      notes.push_back(fmt::format("'{}': array '{}' is used for input '{}'", path, x->name, inputs[0].name));
  }
  check(inputs.size() == 1 && x != nullptr,
        "'{}': contains {}; the network's inputs are {}: give the arrays these names{}", path, names_of(arrays),
        names_of(inputs), inputs.size() == 1 ? ", or 'x' and, for labels, 'y'" : "");
  return {x};
}

Dataset open_arrays(const std::string& path, const std::vector<InputSpec>& inputs, const DatasetOptions& options) {
  Dataset dataset;
  std::vector<StoredArray> arrays = open_npy(path);
  const bool is_npy = arrays.size() == 1 && arrays[0].name.empty();
  const auto is_input = [&](std::string_view name) {
    return std::any_of(inputs.begin(), inputs.end(), [&](const InputSpec& input) { return input.name == name; });
  };
  const StoredArray* labels = is_input("y") ? nullptr : find(arrays, "y");
  if (labels == nullptr && !is_input("labels")) labels = find(arrays, "labels");
  ArrayData data{path, is_npy ? "npy" : "npz", {}, {}};
  const auto matched = match(path, arrays, labels, inputs, dataset.notes);
  if (labels != nullptr) {
    data.labels = to_labels(labels->reader->read(), fmt::format("'{}': array '{}'", path, labels->name));
    check(!data.labels.empty(), "'{}': array '{}' contains no labels", path, labels->name);
  }
  for (const StoredArray& array : arrays) {
    if (&array != labels && std::find(matched.begin(), matched.end(), &array) == matched.end())
      dataset.notes.push_back(fmt::format("'{}': array '{}' is not used", path, array.name));
  }
  for (StoredArray* array : matched) data.arrays.push_back(std::move(*array));
  dataset.source = make_array_source(std::move(data), inputs, options, dataset.notes);
  return dataset;
}

Dataset open_idx_set(const std::string& path, const IdxFiles& files, const std::vector<InputSpec>& inputs,
                     const DatasetOptions& options) {
  check(inputs.size() == 1,
        "'{}': IDX images can feed one input, but the network has {}; use an .npz with one array per input", path,
        inputs.size());
  Dataset dataset;
  auto images = open_idx(files.images.string());
  check(images->shape().size() == 3 && images->dtype() == DataType::uint8,
        "'{}': contains {} elements of shape {}; expected uint8 images, NxHxW", files.images.string(),
        to_string(images->dtype()), to_string(images->shape()));
  const std::int64_t count = images->shape()[0];
  ArrayData data{path, "IDX", {}, {}};
  if (files.labels.empty()) {
    dataset.notes.push_back(fmt::format("'{}': there is no file of labels next to it", files.images.string()));
  } else {
    const std::string name = files.labels.string();
    data.labels = to_labels(open_idx(name)->read(), fmt::format("'{}'", name));
    check(static_cast<std::int64_t>(data.labels.size()) == count, "'{}': {} labels for {} images", name,
          data.labels.size(), count);
  }
  data.arrays.push_back({"", std::move(images)});
  dataset.source = make_array_source(std::move(data), inputs, options, dataset.notes);
  return dataset;
}

bool is_array_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  std::array<char, 6> start{};
  const std::size_t count = std::fread(start.data(), 1, start.size(), file);
  std::fclose(file);
  const std::string_view text(start.data(), count);
  return text == "\x93NUMPY" || text.starts_with("PK") || path.ends_with(".npy") || path.ends_with(".npz");
}

/// Converts float32 samples for networks whose inputs are float16, bfloat16 or float64.
class ConvertedSource final : public BatchSource {
 public:
  ConvertedSource(std::unique_ptr<BatchSource> source, std::vector<DataType> types)
      : source_(std::move(source)), types_(std::move(types)) {}
  std::optional<Batch> next(std::int64_t max_samples) override {
    auto batch = source_->next(max_samples);
    for (std::size_t i = 0; batch && i < batch->inputs.size() && i < types_.size(); ++i)
      if (needs_conversion(batch->inputs[i].dtype(), types_[i]))
        batch->inputs[i] = convert_reals(batch->inputs[i], types_[i]);
    return batch;
  }
  void rewind() override { source_->rewind(); }
  std::int64_t sample_count() const override { return source_->sample_count(); }
  bool has_labels() const override { return source_->has_labels(); }
  std::string description() const override { return source_->description(); }

 private:
  std::unique_ptr<BatchSource> source_;
  std::vector<DataType> types_;  // one per input
};

/// Samples along the first axis, or images.
Dataset open_as_read(const std::string& path, const std::vector<InputSpec>& inputs, const DatasetOptions& options) {
  for (const InputSpec& input : inputs) {
    check(
        input.has_shape,
        "input '{}' has no shape in the model file, so data cannot be matched to it; declare one, with the batch left "
        "open, or use a folder of .npz files, one per sample",
        input.name);
    check(
        !input.shape.empty(),
        "input '{}' is a single number; its first dimension should count samples; use a folder of .npz files, one per "
        "sample",
        input.name);
  }
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    if (is_array_file(path)) return open_arrays(path, inputs, options);
    const auto files = find_idx_files_of(path);
    check(files.has_value(),
          "'{}': is not data of a known form: .npy, .npz, IDX, or a folder of .npz, .npy, IDX, JPEG or PNG files",
          path);
    return open_idx_set(path, *files, inputs, options);
  }
  if (const auto files = find_idx_files(path)) return open_idx_set(path, *files, inputs, options);
  Dataset dataset;
  ImageFolder folder = find_images(path, dataset.notes);
  check(!folder.images.empty(),
        "'{}': contains neither .npz or .npy files, nor IDX files (*images*idx3*), nor JPEG or PNG images{}", path,
        fs::is_empty(path, error) ? ": it is empty" : "");
  dataset.source = make_image_source(std::move(folder), inputs, options, dataset.notes);
  return dataset;
}

Dataset open_samples(const std::string& path, std::vector<std::string> files, const std::vector<InputSpec>& inputs,
                     const DatasetOptions& options) {
  std::vector<std::string> ignored;
  const auto refuse_if = [&](bool is_mixed, const char* others) {
    check(!is_mixed, "'{}': contains array files such as '{}' and {}; give each form a folder of its own", path,
          fs::path(files.front()).filename().string(), others);
  };
  std::error_code error;
  refuse_if(fs::exists(fs::path(path) / "labels.txt", error), "a list of images, labels.txt");
  refuse_if(!find_images(path, ignored).images.empty(), "images");
  refuse_if(find_idx_files(path).has_value(), "IDX files");
  Dataset dataset;
  dataset.source = make_sample_source(path, std::move(files), inputs, options, dataset.notes);
  return dataset;
}

}  // namespace

Dataset open_dataset(const std::string& path, const std::vector<InputSpec>& inputs, const DatasetOptions& options) {
  check(!inputs.empty(), "'{}': the network has no inputs to feed", path);
  check(options.limit.value_or(1) > 0, "--limit is {}; it must be at least 1", options.limit.value_or(0));
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  check(status.type() != fs::file_type::none, "cannot read '{}': {}", path, error.message());
  check(fs::exists(status), "no such file or folder: '{}'", path);
  check(fs::is_directory(status) || fs::is_regular_file(status),
        "'{}': is a pipe or a device; samples are read more than once, so they must be in a file or a folder", path);
  std::vector<std::string> samples = fs::is_directory(status) ? sample_files(path) : std::vector<std::string>{};
  if (!samples.empty()) return open_samples(path, std::move(samples), inputs, options);
  std::vector<InputSpec> read = inputs;
  std::vector<DataType> types;
  for (InputSpec& input : read) {
    types.push_back(input.dtype);
    if (needs_conversion(DataType::float32, input.dtype)) input.dtype = DataType::float32;
  }
  Dataset dataset = open_as_read(path, read, options);
  dataset.source = std::make_unique<ConvertedSource>(std::move(dataset.source), std::move(types));
  return dataset;
}

}  // namespace bitfold
