// Distinguishes the formats of data, and matches arrays with a network's inputs.
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>

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

/// Whether the file begins like text: without control characters other than tabs and ends of lines.
bool is_text_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, 512> start{};
  file.read(start.data(), start.size());
  const std::string_view text(start.data(), static_cast<std::size_t>(file.gcount()));
  return !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' && c != '\t' && c != '\n' && c != '\r';
  });
}

/// Whether the file is text and has no other form of data.
bool is_list(const std::string& path) {
  std::error_code error;
  const FileKind kind = kind_of(path);
  return fs::is_regular_file(path, error) && kind != FileKind::image && kind != FileKind::audio &&
         !is_array_file(path) && !find_idx_files_of(path) && is_text_file(path);
}

/// The files that a list names, or one image or audio file.
FileSet files_of(const std::string& path) {
  const FileKind kind = kind_of(path);
  if (kind == FileKind::image || kind == FileKind::audio) return {path, kind, {{path, 0}}, false};
  check(is_list(path),
        "'{}': is not data of a known form: .npy, .npz, IDX, JPEG, PNG, audio, a folder of such files, or a text file "
        "with the path of a sample on each line",
        path);
  return read_list(path);
}

Dataset open_files(FileSet files, const std::vector<InputSpec>& inputs, const DatasetOptions& options) {
  Dataset dataset;
  if (files.kind == FileKind::audio)
    dataset.source = make_audio_source(std::move(files), inputs, options, dataset);
  else
    dataset.source = make_image_source(std::move(files), inputs, options, dataset);
  return dataset;
}

/// Converts float32 samples for networks whose inputs are float16, bfloat16 or float64.
class ConvertedSource final : public BatchSource {
 public:
  ConvertedSource(std::unique_ptr<BatchSource> source, std::vector<DataType> types)
      : source_(std::move(source)), types_(std::move(types)) {}
  std::optional<Batch> next(std::int64_t max_samples) override {
    auto batch = source_->next(max_samples);
    if (!batch) return batch;
    convert(batch->inputs);
    for (std::vector<Tensor>& inputs : batch->runs) convert(inputs);
    return batch;
  }
  void rewind() override { source_->rewind(); }
  std::int64_t sample_count() const override { return source_->sample_count(); }
  bool has_labels() const override { return source_->has_labels(); }
  bool has_whole_samples() const override { return source_->has_whole_samples(); }
  std::string description() const override { return source_->description(); }

 private:
  void convert(std::vector<Tensor>& inputs) const {
    for (std::size_t i = 0; i < inputs.size() && i < types_.size(); ++i)
      if (needs_conversion(inputs[i].dtype(), types_[i])) inputs[i] = convert_reals(inputs[i], types_[i]);
  }

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
    if (const auto files = find_idx_files_of(path)) return open_idx_set(path, *files, inputs, options);
    return open_files(files_of(path), inputs, options);
  }
  if (const auto files = find_idx_files(path)) return open_idx_set(path, *files, inputs, options);
  std::vector<std::string> notes;
  FileSet files = find_files(path, notes);
  check(!files.files.empty(),
        "'{}': contains neither .npz or .npy files, nor IDX files (*images*idx3*), nor JPEG or PNG images, nor audio "
        "files{}",
        path, fs::is_empty(path, error) ? ": it is empty" : "");
  Dataset dataset = open_files(std::move(files), inputs, options);
  dataset.notes.insert(dataset.notes.begin(), notes.begin(), notes.end());
  return dataset;
}

/// A folder of samples contains nothing else that could be data.
void refuse_other_forms(const std::string& path, const std::vector<std::string>& samples) {
  std::vector<std::string> ignored;
  const auto refuse_if = [&](bool is_mixed, std::string_view others) {
    check(!is_mixed, "'{}': contains array files such as '{}' and {}; give each form a folder of its own", path,
          fs::path(samples.front()).filename().string(), others);
  };
  std::error_code error;
  refuse_if(fs::exists(fs::path(path) / "labels.txt", error), "a list of images, labels.txt");
  const FileSet others = find_files(path, ignored);
  refuse_if(!others.files.empty(), to_string(others.kind));
  refuse_if(find_idx_files(path).has_value(), "IDX files");
}

}  // namespace

bool is_array_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  std::array<char, 6> start{};
  const std::size_t count = std::fread(start.data(), 1, start.size(), file);
  std::fclose(file);
  const std::string_view text(start.data(), count);
  return text == "\x93NUMPY" || text.starts_with("PK") || path.ends_with(".npy") || path.ends_with(".npz");
}

std::vector<std::string> whole_samples(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return sample_files(path);
  if (!is_list(path)) return {};
  const FileSet listed = read_list(path);
  std::vector<std::string> files;
  if (listed.kind == FileKind::array)
    for (const LabelledFile& file : listed.files) files.push_back(file.path.string());
  return files;
}

Dataset open_dataset(const std::string& path, const std::vector<InputSpec>& inputs, const DatasetOptions& options) {
  check(!inputs.empty(), "'{}': the network has no inputs to feed", path);
  check(options.limit.value_or(1) > 0, "--limit is {}; it must be at least 1", options.limit.value_or(0));
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  check(status.type() != fs::file_type::none, "cannot read '{}': {}", path, error.message());
  check(fs::exists(status), "no such file or folder: '{}'", path);
  check(fs::is_directory(status) || fs::is_regular_file(status),
        "'{}': is a pipe or a device; samples are read more than once, so they must be in a file or a folder", path);
  if (std::vector<std::string> samples = whole_samples(path); !samples.empty()) {
    Dataset dataset;
    if (fs::is_directory(status)) refuse_other_forms(path, samples);
    dataset.source = make_sample_source(path, std::move(samples), inputs, options, dataset);
    return dataset;
  }
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
