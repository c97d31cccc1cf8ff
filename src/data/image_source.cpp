#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <map>

#include "base/check.h"
#include "base/file.h"
#include "base/first_failure.h"
#include "data/image.h"
#include "data/preprocess.h"
#include "data/sources.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

bool is_image_name(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    paths.push_back(at->path());
  check(!error, "cannot read folder '{}': {}", folder.string(), error.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// The reason why a folder's entry is not a readable file; empty if it is readable. Never throws: one bad link must not
// make the whole folder fail.
std::string why_unreadable(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_regular_file(status)) return "";
  if (status.type() == fs::file_type::none || status.type() == fs::file_type::not_found) return error.message();
  return "it is not a regular file";
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::vector<fs::path> images_in(const fs::path& folder, std::vector<std::string>& notes) {
  std::vector<fs::path> paths = sorted_entries(folder);
  std::erase_if(paths, [&](const fs::path& path) {
    if (!is_image_name(path) || is_folder(path)) return true;
    const std::string reason = why_unreadable(path);
    if (!reason.empty()) notes.push_back(fmt::format("'{}' is left out: {}", path.string(), reason));
    return !reason.empty();
  });
  return paths;
}

// "name index" per line; the name may contain spaces.
ImageFolder read_labels(const fs::path& folder, std::vector<std::string>& notes) {
  const std::string path = (folder / "labels.txt").string();
  const std::vector<std::byte> bytes = read_file(path);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  ImageFolder result{folder.string(), {}, true};
  std::map<std::string, int> line_of;
  for (int line = 1; !text.empty(); ++line) {
    std::string_view words = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), words.size() + 1));
    while (!words.empty() && std::isspace(static_cast<unsigned char>(words.back()))) words.remove_suffix(1);
    if (words.empty()) continue;
    const std::size_t gap = words.find_last_of(" \t");
    std::int64_t label = -1;
    const char* end = words.data() + words.size();
    if (gap != std::string_view::npos) {
      const auto [stop, error] = std::from_chars(words.data() + gap + 1, end, label);
      if (error != std::errc() || stop != end) label = -1;
    }
    check(label >= 0, "'{}' line {}: expected a file name and a class index, found '{}'", path, line,
          words.substr(0, 100));
    std::string name(words.substr(0, gap));
    while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.pop_back();
    check(!name.empty() && name.find('\0') == std::string::npos, "'{}' line {}: the file name is missing", path, line);
    const auto [first, is_new] = line_of.emplace(name, line);
    check(is_new, "'{}' line {}: '{}' is already listed on line {}", path, line, name, first->second);
    const std::string reason = why_unreadable(folder / name);
    check(reason.empty(), "'{}' line {}: file '{}' cannot be read: {}", path, line, name, reason);
    result.images.push_back({folder / name, label});
  }
  check(!result.images.empty(), "'{}': lists no images", path);
  std::size_t unlisted = 0;
  std::vector<std::string> ignored;
  for (const fs::path& image : images_in(folder, ignored))
    unlisted += line_of.count(image.filename().string()) == 0 ? 1 : 0;
  if (unlisted > 0)
    notes.push_back(fmt::format("'{}': {} images are not in labels.txt and are left out", folder.string(), unlisted));
  return result;
}

// Takes one image of each class in turn.
std::vector<LabelledImage> deal(const std::vector<std::vector<fs::path>>& classes) {
  std::vector<LabelledImage> images;
  for (std::size_t round = 0, dealt = 1; dealt > 0; ++round) {
    dealt = 0;
    for (std::size_t label = 0; label < classes.size(); ++label) {
      if (round >= classes[label].size()) continue;
      images.push_back({classes[label][round], static_cast<std::int64_t>(label)});
      ++dealt;
    }
  }
  return images;
}

class ImageSource : public BatchSource {
 public:
  ImageSource(ImageFolder folder, const InputSpec& input, const DatasetOptions& options)
      : folder_(std::move(folder)),
        strict_(options.strict),
        warn_(options.warn),
        preprocessor_(input, options.preprocess, 3, true),
        unreadable_(folder_.images.size()) {}

  std::optional<Batch> next(std::int64_t max_samples) override {
    check(max_samples > 0, "a batch of {} samples was requested; at least 1 is needed", max_samples);
    if (sample_shape_.empty()) learn_shape();
    // Samples are written to their final place, so a batch needs little more memory than its own size.
    Tensor tensor(DataType::float32, batch_shape(std::min(max_samples, images_left())));
    std::vector<std::int64_t> labels;
    while (static_cast<std::int64_t>(labels.size()) < tensor.dim(0) && images_left() > 0) read_some(tensor, labels);
    if (labels.empty()) {
      check(sample_count() > 0, "'{}': none of its {} images can be read", folder_.path, folder_.images.size());
      return std::nullopt;
    }
    Batch batch;
    batch.sample_count = static_cast<std::int64_t>(labels.size());
    if (batch.sample_count < tensor.dim(0)) {  // the last images could not be read
      Tensor fewer(DataType::float32, batch_shape(batch.sample_count));
      std::memcpy(fewer.mutable_bytes(), tensor.bytes(), fewer.size_bytes());
      tensor = std::move(fewer);
    }
    batch.inputs.push_back(std::move(tensor));
    if (folder_.has_labels) batch.labels = std::move(labels);
    return batch;
  }
  void rewind() override { position_ = 0; }
  /// Excludes the images found unreadable so far.
  std::int64_t sample_count() const override {
    return static_cast<std::int64_t>(folder_.images.size()) - unreadable_count_;
  }
  bool has_labels() const override { return folder_.has_labels; }
  std::string description() const override {
    return fmt::format("{} samples from {} (images)", sample_count(), folder_.path);
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
  std::int64_t images_left() const { return static_cast<std::int64_t>(folder_.images.size() - position_); }

  // The first image determines the size only if the input leaves it open. An image that cannot be read or does not fit
  // is reported when its turn comes.
  void learn_shape() {
    for (std::size_t i = position_; i < folder_.images.size() && sample_shape_.empty(); ++i) {
      const std::string path = folder_.images[i].path.string();
      try {
        const Image image = decode_image(read_file(path), path);
        sample_shape_ = preprocessor_.sample_shape(image.width, image.height, fmt::format("'{}'", path));
      } catch (const Error&) {
        continue;
      }
    }
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
      check(shape == sample_shape_, "'{}': its sample has shape {}, earlier ones have {}; use --resize or --crop", path,
            to_string(shape), to_string(sample_shape_));
      preprocessor_.run(image.pixels.data(), PixelLayout::interleaved(image.width, image.height, image.channels),
                        sample.data());
    } catch (const std::exception& error) {
      return {.unfit = error.what()};
    }
    return {};
  }

  // Fills `tensor` from sample labels.size() on, as far as images can be read.
  void read_some(Tensor& tensor, std::vector<std::int64_t>& labels) {
    const std::size_t first = labels.size(), count = static_cast<std::size_t>(tensor.dim(0)) - first;
    std::vector<std::size_t> chosen;
    for (; chosen.size() < count && position_ < folder_.images.size(); ++position_)
      if (!unreadable_[position_]) chosen.push_back(position_);
    const auto elements = static_cast<std::size_t>(element_count(sample_shape_));
    const std::span<float> values = tensor.mutable_data<float>();
    const auto row = [&](std::size_t i) { return values.subspan((first + i) * elements, elements); };
    std::vector<Outcome> outcomes(chosen.size());
    FirstFailure failure;
#pragma omp parallel for schedule(dynamic)
    for (std::size_t i = 0; i < chosen.size(); ++i)
      failure.watch(i, [&] { outcomes[i] = read(folder_.images[chosen[i]].path.string(), row(i)); });
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
      labels.push_back(folder_.images[chosen[i]].label);
    }
  }

  ImageFolder folder_;
  bool strict_ = false;
  WarningFunction warn_;
  Preprocessor preprocessor_;
  std::vector<bool> unreadable_;
  std::int64_t unreadable_count_ = 0;
  std::size_t position_ = 0;
  Shape sample_shape_;
};

}  // namespace

ImageFolder find_images(const std::string& folder, std::vector<std::string>& notes) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(fs::path(folder) / "labels.txt", ignored))) return read_labels(folder, notes);
  const std::vector<fs::path> plain = images_in(folder, notes);
  std::vector<std::vector<fs::path>> classes;
  std::string empty_class;
  for (const fs::path& path : sorted_entries(folder)) {
    if (!is_folder(path)) continue;
    classes.push_back(images_in(path, notes));
    if (classes.back().empty()) empty_class = path.filename().string();
  }
  ImageFolder result{folder, deal(classes), true};
  if (result.images.empty()) {
    result.has_labels = false;
    for (const fs::path& path : plain) result.images.push_back({path, 0});
    if (!plain.empty())
      notes.push_back(
          fmt::format("'{}': has neither labels.txt nor a folder per class, so there are no labels", folder));
    return result;
  }
  notes.push_back(
      fmt::format("'{}': {} folders, one class each, numbered in alphabetical order", folder, classes.size()));
  if (!empty_class.empty())
    notes.push_back(fmt::format("'{}': class folder '{}' holds no images", folder, empty_class));
  if (!plain.empty())
    notes.push_back(fmt::format("'{}': {} images outside the class folders are left out", folder, plain.size()));
  return result;
}

std::unique_ptr<BatchSource> make_image_source(ImageFolder folder, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, std::vector<std::string>& notes) {
  check(inputs.size() == 1,
        "'{}': images can feed one input, but the network has {}; use an .npz with one array per input", folder.path,
        inputs.size());
  check(inputs[0].dtype == DataType::float32, "'{}': images are converted to float32, but input '{}' expects {}",
        folder.path, inputs[0].name, to_string(inputs[0].dtype));
  if (options.limit && static_cast<std::size_t>(*options.limit) < folder.images.size())
    folder.images.resize(static_cast<std::size_t>(*options.limit));
  if (!options.preprocess.scale)
    notes.push_back(fmt::format("'{}': pixels scaled by 1/255 (--scale overrides this)", folder.path));
  return std::make_unique<ImageSource>(std::move(folder), inputs[0], options);
}

}  // namespace bitfold
