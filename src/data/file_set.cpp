// Finds the files of a dataset: in a folder, or listed in a text file.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <functional>
#include <map>

#include "base/check.h"
#include "base/file.h"
#include "data/sources.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

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

// The readable files of that kind among the entries of a folder.
std::vector<fs::path> files_among(std::vector<fs::path> entries, FileKind kind, std::vector<std::string>& notes) {
  std::erase_if(entries, [&](const fs::path& path) {
    if (kind_of(path) != kind || is_folder(path)) return true;
    const std::string reason = why_unreadable(path);
    if (!reason.empty()) notes.push_back(fmt::format("'{}' is left out: {}", path.string(), reason));
    return !reason.empty();
  });
  return entries;
}

// The sorted entries of a folder, and of each folder in it.
struct Listing {
  std::vector<fs::path> entries;
  std::map<fs::path, std::vector<fs::path>> folders;

  explicit Listing(const fs::path& folder) : entries(sorted_entries(folder)) {
    for (const fs::path& path : entries)
      if (is_folder(path)) folders.emplace(path, sorted_entries(path));
  }
};

// Splits "name index"; the name may contain spaces. Empty if the line has another form.
std::optional<std::pair<std::string, std::int64_t>> split_label(std::string_view line) {
  const std::size_t gap = line.find_last_of(" \t");
  if (gap == std::string_view::npos) return std::nullopt;
  std::int64_t label = -1;
  const char* end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data() + gap + 1, end, label);
  if (error != std::errc() || stop != end || label < 0) return std::nullopt;
  std::string name(line.substr(0, gap));
  while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.pop_back();
  return std::pair(name, label);
}

// Calls use(number, text) for each line that is not empty, without the spaces at its end.
void for_each_line(const std::string& path, const std::function<void(int, std::string_view)>& use) {
  const std::vector<std::byte> bytes = read_file(path);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.remove_suffix(1);
    if (!line.empty()) use(number, line);
  }
}

FileSet read_labels(const fs::path& folder, std::vector<std::string>& notes) {
  const std::string path = (folder / "labels.txt").string();
  FileSet result{folder.string(), FileKind::image, {}, true};
  std::map<std::string, int> line_of;
  for_each_line(path, [&](int line, std::string_view words) {
    const auto split = split_label(words);
    check(split.has_value(), "'{}' line {}: expected a file name and a class index, found '{}'", path, line,
          words.substr(0, 100));
    const auto& [name, label] = *split;
    check(!name.empty() && name.find('\0') == std::string::npos, "'{}' line {}: the file name is missing", path, line);
    const auto [first, is_new] = line_of.emplace(name, line);
    check(is_new, "'{}' line {}: '{}' is already listed on line {}", path, line, name, first->second);
    const std::string reason = why_unreadable(folder / name);
    check(reason.empty(), "'{}' line {}: file '{}' cannot be read: {}", path, line, name, reason);
    result.files.push_back({folder / name, label});
  });
  check(!result.files.empty(), "'{}': lists no images", path);
  if (kind_of(result.files.front().path) == FileKind::audio) result.kind = FileKind::audio;
  std::size_t unlisted = 0;
  std::vector<std::string> ignored;
  for (const fs::path& file : files_among(sorted_entries(folder), result.kind, ignored))
    unlisted += line_of.count(file.filename().string()) == 0 ? 1 : 0;
  if (unlisted > 0)
    notes.push_back(fmt::format("'{}': {} {} are not in labels.txt and are left out", folder.string(), unlisted,
                                to_string(result.kind)));
  return result;
}

// Takes one file of each class in turn.
std::vector<LabelledFile> deal(const std::vector<std::vector<fs::path>>& classes) {
  std::vector<LabelledFile> files;
  for (std::size_t round = 0, dealt = 1; dealt > 0; ++round) {
    dealt = 0;
    for (std::size_t label = 0; label < classes.size(); ++label) {
      if (round >= classes[label].size()) continue;
      files.push_back({classes[label][round], static_cast<std::int64_t>(label)});
      ++dealt;
    }
  }
  return files;
}

FileSet find_in_folder(const std::string& folder, const Listing& listing, FileKind kind,
                       std::vector<std::string>& notes) {
  const std::vector<fs::path> plain = files_among(listing.entries, kind, notes);
  std::vector<std::vector<fs::path>> classes;
  std::string empty_class;
  for (const auto& [path, entries] : listing.folders) {
    classes.push_back(files_among(entries, kind, notes));
    if (classes.back().empty()) empty_class = path.filename().string();
  }
  FileSet result{folder, kind, deal(classes), true};
  if (result.files.empty()) {
    result.has_labels = false;
    for (const fs::path& path : plain) result.files.push_back({path, 0});
    if (!plain.empty())
      notes.push_back(
          fmt::format("'{}': has neither labels.txt nor a folder per class, so there are no labels", folder));
    return result;
  }
  notes.push_back(
      fmt::format("'{}': {} folders, one class each, numbered in alphabetical order", folder, classes.size()));
  if (!empty_class.empty())
    notes.push_back(fmt::format("'{}': class folder '{}' holds no {}", folder, empty_class, to_string(kind)));
  if (!plain.empty())
    notes.push_back(
        fmt::format("'{}': {} {} outside the class folders are left out", folder, plain.size(), to_string(kind)));
  return result;
}

}  // namespace

FileKind kind_of(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto is_one_of = [&](std::initializer_list<std::string_view> endings) {
    return std::find(endings.begin(), endings.end(), ending) != endings.end();
  };
  if (is_one_of({".jpg", ".jpeg", ".png"})) return FileKind::image;
  if (is_one_of({".wav", ".flac", ".ogg", ".opus", ".aiff", ".aif", ".au"})) return FileKind::audio;
  if (is_one_of({".npz", ".npy"})) return FileKind::array;
  return FileKind::other;
}

std::string_view to_string(FileKind kind) {
  switch (kind) {
    case FileKind::image:
      return "images";
    case FileKind::audio:
      return "audio files";
    case FileKind::array:
      return "array files";
    case FileKind::other:
      break;
  }
  return "other files";
}

FileSet find_files(const std::string& folder, std::vector<std::string>& notes) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(fs::path(folder) / "labels.txt", ignored))) return read_labels(folder, notes);
  const Listing listing(folder);
  std::vector<std::string> image_notes, audio_notes;
  FileSet images = find_in_folder(folder, listing, FileKind::image, image_notes);
  FileSet sounds = find_in_folder(folder, listing, FileKind::audio, audio_notes);
  check(images.files.empty() || sounds.files.empty(),
        "'{}': contains both images and audio files; give each form a folder of its own", folder);
  const bool has_audio = !sounds.files.empty();
  for (std::string& note : has_audio ? audio_notes : image_notes) notes.push_back(std::move(note));
  return has_audio ? sounds : images;
}

FileSet read_list(const std::string& path) {
  FileSet result{path, FileKind::other, {}, false};
  for_each_line(path, [&](int number, std::string_view line) {
    const auto where = [&] { return fmt::format("'{}' line {}", path, number); };
    check(line.find('\0') == std::string_view::npos, "{}: contains a zero byte; expected the path of a sample",
          where());
    const fs::path folder = fs::path(path).parent_path();
    LabelledFile file{folder / line, 0};
    std::string reason = why_unreadable(file.path);
    bool has_label = false;
    if (const auto split = reason.empty() ? std::nullopt : split_label(line)) {
      file = {folder / split->first, split->second};
      reason = why_unreadable(file.path);
      has_label = true;
    }
    check(reason.empty(), "{}: file '{}' cannot be read: {}; the lines of a list are paths of samples, relative to it",
          where(), line.substr(0, 200), reason);
    const FileKind kind = kind_of(file.path);
    check(kind != FileKind::other, "{}: '{}' is not a sample; expected an image, an audio file, .npz or .npy", where(),
          line);
    if (result.files.empty()) {
      result.kind = kind;
      result.has_labels = has_label;
    }
    check(kind == result.kind, "{}: '{}' is not among the {} that the list began with", where(), line,
          to_string(result.kind));
    check(has_label == result.has_labels, "{}: '{}' has {}, unlike the lines before", where(), line,
          has_label ? "a class index" : "no class index");
    check(!has_label || kind != FileKind::array, "{}: array files hold their labels themselves, as the array 'y'",
          where());
    result.files.push_back(std::move(file));
  });
  check(!result.files.empty(), "'{}': lists no samples", path);
  return result;
}

}  // namespace bitfold
