// A folder of .npz or .npy files, each of which is one sample in exactly the form that the network takes.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include "base/check.h"
#include "bitfold/reals.h"
#include "data/preprocess.h"
#include "data/sources.h"
#include "numeric/reals.h"

namespace bitfold {

namespace {

std::string described(std::string_view name, DataType dtype, const std::optional<Shape>& shape) {
  return fmt::format("'{}' ({}{})", name, to_string(dtype), shape ? " " + to_string(*shape) : "");
}

}  // namespace

std::string names_of(const std::vector<InputSpec>& inputs) {
  std::string text;
  for (const InputSpec& input : inputs)
    text += (text.empty() ? "" : ", ") +
            described(input.name, input.dtype, input.has_shape ? std::optional(input.shape) : std::nullopt);
  return text;
}

namespace {

namespace fs = std::filesystem;

std::string names_of(const std::vector<NamedTensor>& arrays) {
  std::string text;
  for (const NamedTensor& array : arrays)
    text += (text.empty() ? "" : ", ") + described(array.name, array.tensor.dtype(), array.tensor.shape());
  return text.empty() ? "no arrays" : text;
}

bool fits(const Shape& shape, const InputSpec& input) {
  if (!input.has_shape) return true;
  const auto same = [](std::int64_t size, std::int64_t wanted) { return wanted == kDynamic || size == wanted; };
  return std::equal(shape.begin(), shape.end(), input.shape.begin(), input.shape.end(), same);
}

Tensor converted(Tensor array, const InputSpec& input, const std::string& where) {
  const DataType stored = array.dtype();
  const bool is_converted = needs_conversion(stored, input.dtype), is_bits = is_stored_as(stored, input.dtype);
  check((stored == input.dtype || is_converted || is_bits) && fits(array.shape(), input),
        "{}: is {} {}; input '{}' expects {}{}", where, to_string(stored), to_string(array.shape()), input.name,
        to_string(input.dtype), input.has_shape ? " " + to_string(input.shape) : "");
  if (is_converted) return convert_reals(array, input.dtype);
  return is_bits ? from_stored(array, input.dtype) : std::move(array);
}

const NamedTensor* find(const std::vector<NamedTensor>& arrays, std::string_view name) {
  const auto found = std::find_if(arrays.begin(), arrays.end(), [&](const auto& array) { return array.name == name; });
  return found == arrays.end() ? nullptr : &*found;
}

/// The arrays of a sequence, without gaps.
std::vector<Tensor> items_of(const std::vector<NamedTensor>& arrays, const InputSpec& input, const std::string& path,
                             std::set<std::string>& used) {
  std::vector<Tensor> items;
  const std::string prefix = input.name + "_";
  while (const NamedTensor* found = find(arrays, prefix + std::to_string(items.size()))) {
    used.insert(found->name);
    const InputSpec item{.name = found->name, .dtype = input.item, .shape = {}, .has_shape = false};
    items.push_back(converted(found->tensor, item, fmt::format("'{}': array '{}'", path, found->name)));
  }
  for (const NamedTensor& array : arrays) {
    const bool is_numbered = array.name.starts_with(prefix) && array.name.size() > prefix.size() &&
                             array.name.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
    check(!is_numbered || used.contains(array.name), "'{}': has the array '{}' but lacks '{}{}' of the sequence '{}'",
          path, array.name, prefix, items.size(), input.name);
  }
  return items;
}

Tensor container_of(const std::vector<NamedTensor>& arrays, const InputSpec& input, const std::string& path,
                    std::set<std::string>& used) {
  if (input.dtype == DataType::optional) {
    const NamedTensor* found = find(arrays, input.name);
    if (found == nullptr) return Tensor::container(input.dtype, {});
    used.insert(found->name);
    const InputSpec item{.name = input.name, .dtype = input.item, .shape = {}, .has_shape = false};
    return Tensor::container(input.dtype,
                             {converted(found->tensor, item, fmt::format("'{}': array '{}'", path, found->name))});
  }
  std::vector<Tensor> items = items_of(arrays, input, path, used);
  const bool is_absent = input.dtype == DataType::optional_sequence && items.empty();
  if (is_absent) return Tensor::container(input.dtype, {});
  Tensor sequence = Tensor::container(DataType::sequence, std::move(items));
  return input.dtype == DataType::sequence ? sequence : Tensor::container(input.dtype, {std::move(sequence)});
}

// An infinite element may be meant: masks add minus infinity.
void check_no_nan(const Tensor& tensor, const std::string& file, const InputSpec& input) {
  if (is_container(tensor.dtype()))
    for (const Tensor& item : tensor.items()) check_no_nan(item, file, input);
  if (!is_any_real(tensor.dtype())) return;
  const Tensor reals = to_float32(tensor);
  const auto values = reals.data<float>();
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return std::isnan(value); });
  check(bad == values.end(), "'{}': the array for input '{}' contains nan at element {}", file, input.name,
        bad - values.begin());
}

// The array of labels is 'y' or 'labels', unless the network has an input of that name.
const NamedTensor* find_label(const std::vector<NamedTensor>& arrays, const std::vector<InputSpec>& inputs) {
  for (const char* name : {"y", "labels"}) {
    const bool is_input =
        std::any_of(inputs.begin(), inputs.end(), [&](const auto& input) { return input.name == name; });
    if (!is_input && arrays.size() > 1 && find(arrays, name) != nullptr) return find(arrays, name);
  }
  return nullptr;
}

class SampleFolder final : public BatchSource {
 public:
  SampleFolder(std::string folder, std::vector<std::string> files, std::vector<InputSpec> inputs,
               std::vector<std::string>& notes)
      : folder_(std::move(folder)), files_(std::move(files)), inputs_(std::move(inputs)) {
    std::vector<NamedTensor> arrays = load_npy(files_.front());
    has_labels_ = find_label(arrays, inputs_) != nullptr;
    to_sample(files_.front(), std::move(arrays), notes);  // refuses data of another form before anything is computed
  }

  std::optional<Batch> next(std::int64_t max_samples) override {
    check(max_samples > 0, "a batch of {} samples was requested; at least 1 is needed", max_samples);
    Batch batch;
    std::vector<std::string> ignored;
    for (; batch.sample_count < max_samples && position_ < files_.size(); ++position_, ++batch.sample_count) {
      Sample sample = to_sample(files_[position_], load_npy(files_[position_]), ignored);
      batch.runs.push_back(std::move(sample.inputs));
      if (has_labels_) batch.labels.push_back(sample.label);
    }
    if (batch.sample_count == 0) return std::nullopt;
    return batch;
  }
  void rewind() override { position_ = 0; }
  std::int64_t sample_count() const override { return static_cast<std::int64_t>(files_.size()); }
  bool has_labels() const override { return has_labels_; }
  bool has_whole_samples() const override { return true; }
  std::string description() const override {
    return fmt::format("{} samples from {} (one file each)", files_.size(), folder_);
  }

 private:
  struct Sample {
    std::vector<Tensor> inputs;
    std::int64_t label = -1;
  };

  Sample to_sample(const std::string& file, std::vector<NamedTensor> arrays, std::vector<std::string>& notes) const {
    Sample sample;
    if (has_labels_) {
      const NamedTensor* label = find_label(arrays, inputs_);
      check(label != nullptr, "'{}': has no label, but the first sample has one: give it an array 'y'", file);
      const std::string where = fmt::format("'{}': array '{}'", file, label->name);
      check(label->tensor.size() == 1, "{}: has shape {}; expected one class index", where,
            to_string(label->tensor.shape()));
      sample.label = to_labels(label->tensor.reshaped({1}), where).front();
      arrays.erase(arrays.begin() + (label - arrays.data()));
    }
    sample.inputs = arrange_inputs(std::move(arrays), inputs_, file, notes);
    for (std::size_t i = 0; i < inputs_.size(); ++i) check_no_nan(sample.inputs[i], file, inputs_[i]);
    return sample;
  }

  std::string folder_;
  std::vector<std::string> files_;
  std::vector<InputSpec> inputs_;
  bool has_labels_ = false;
  std::size_t position_ = 0;
};

}  // namespace

std::vector<Tensor> arrange_inputs(std::vector<NamedTensor> arrays, const std::vector<InputSpec>& inputs,
                                   const std::string& path, std::vector<std::string>& notes) {
  const auto where = [&](const NamedTensor& array) {
    return array.name.empty() ? fmt::format("'{}'", path) : fmt::format("'{}': array '{}'", path, array.name);
  };
  if (inputs.size() == 1 && arrays.size() == 1 && !is_container(inputs[0].dtype)) {
    const std::string& name = arrays[0].name;
    if (!name.empty() && name != inputs[0].name)
      notes.push_back(fmt::format("{} is used for input '{}'", where(arrays[0]), inputs[0].name));
    return {converted(std::move(arrays[0].tensor), inputs[0], where(arrays[0]))};
  }
  std::vector<Tensor> tensors;
  std::set<std::string> used;
  for (const InputSpec& input : inputs) {
    if (is_container(input.dtype)) {
      tensors.push_back(container_of(arrays, input, path, used));
      continue;
    }
    used.insert(input.name);
    const NamedTensor* found = find(arrays, input.name);
    check(found != nullptr, "'{}': lacks the array '{}', which the network reads; it contains {}; the inputs are {}",
          path, input.name, names_of(arrays), names_of(inputs));
    tensors.push_back(converted(found->tensor, input, where(*found)));
  }
  for (const NamedTensor& array : arrays)
    if (!used.contains(array.name)) notes.push_back(fmt::format("{} is not used", where(array)));
  return tensors;
}

std::vector<std::string> sample_files(const std::string& folder) {
  std::vector<std::string> files;
  std::string ending_of_all;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::string ending = at->path().extension().string();
    for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::error_code ignored;
    if ((ending != ".npz" && ending != ".npy") || !fs::is_regular_file(at->path(), ignored)) continue;
    check(ending_of_all.empty() || ending == ending_of_all,
          "'{}': contains both .npz and .npy files; each file is one sample, so all must have one form", folder);
    ending_of_all = ending;
    files.push_back(at->path().string());
  }
  check(!error, "cannot read folder '{}': {}", folder, error.message());
  std::sort(files.begin(), files.end());
  return files;
}

std::unique_ptr<BatchSource> make_sample_source(const std::string& origin, std::vector<std::string> files,
                                                const std::vector<InputSpec>& inputs, const DatasetOptions& options,
                                                Dataset& dataset) {
  check(!asks_for_anything(options.preprocess),
        "'{}': the samples are arrays in exactly the form that the network takes; leave out the "
        "flags that change samples, such as --resize and --mean",
        origin);
  if (options.limit && static_cast<std::size_t>(*options.limit) < files.size())
    files.resize(static_cast<std::size_t>(*options.limit));
  dataset.files = files;
  return std::make_unique<SampleFolder>(origin, std::move(files), inputs, dataset.notes);
}

}  // namespace bitfold
