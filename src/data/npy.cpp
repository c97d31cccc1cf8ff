#include "data/npy.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "base/utf8.h"
#include "bitfold/reals.h"
#include "data/npy_header.h"
#include "data/zip.h"

namespace bitfold {
namespace {

bool starts_with(const ByteSource& bytes, std::string_view magic) {
  if (bytes.size() < magic.size()) return false;
  const std::vector<std::byte> start = bytes.read(0, magic.size());
  return std::memcmp(start.data(), magic.data(), magic.size()) == 0;
}

ByteStream stream_of(ZipEntryReader& reader) {
  return {[&](std::span<std::byte> out) { reader.read(out); }, [&] { return reader.remaining(); }};
}

// The elements of an entry; checked to the last byte once all of them have been read.
ElementStream elements_of(const ZipEntry& entry, const std::string& archive, const std::string& where) {
  const auto reader = std::make_shared<ZipEntryReader>(entry, archive);
  read_npy_header(stream_of(*reader), where);
  if (reader->remaining() == 0) reader->finish();
  return [reader](std::span<std::byte> out) {
    if (out.empty()) return;
    reader->read(out);
    if (reader->remaining() == 0) reader->finish();
  };
}

StoredArray open_array(const ByteSource& bytes, const std::string& name) {
  const std::string where = fmt::format("'{}'", name);
  std::uint64_t position = 0;
  const ByteStream stream{[&](std::span<std::byte> out) {
                            bytes.read(position, out);
                            position += out.size();
                          },
                          [&] { return bytes.size() - position; }};
  ArrayLayout layout = read_npy_header(stream, where);
  return {"", make_array_reader(std::move(layout), bytes.part(position, bytes.size() - position), where)};
}

std::vector<StoredArray> open_archive(const ByteSource& bytes, const std::string& name) {
  std::vector<StoredArray> arrays;
  std::set<std::string> names;
  for (const ZipEntry& entry : read_zip_directory(bytes, name)) {
    constexpr std::string_view kEnding = ".npy";
    check(entry.name.ends_with(kEnding), "'{}': entry '{}' is not an .npy array", name, entry.name);
    const std::string array = entry.name.substr(0, entry.name.size() - kEnding.size());
    check(names.insert(array).second, "'{}': array '{}' occurs twice", name, array);
    const std::string where = fmt::format("'{}': array '{}'", name, array);
    ZipEntryReader reader(entry, name);
    ArrayLayout layout = read_npy_header(stream_of(reader), where);
    arrays.push_back({array, make_array_reader(
                                 std::move(layout), [=] { return elements_of(entry, name, where); }, where)});
  }
  return arrays;
}

/// An array in the form in which it is written.
struct Written {
  std::string header;
  Tensor elements;
};

Written written(const Tensor& tensor, const std::string& path) {
  if (tensor.dtype() != DataType::string) return {make_npy_header(tensor, path), to_stored(tensor)};
  std::vector<std::u32string> texts;
  std::size_t longest = 1;  // NumPy has no strings of length 0
  for (const std::string& text : tensor.data<std::string>())
    longest = std::max(longest, texts.emplace_back(from_utf8(text)).size());
  const auto characters = static_cast<std::int64_t>(longest);
  Tensor points(DataType::uint32, {tensor.size(), characters});
  std::uint32_t* to = points.mutable_data<std::uint32_t>().data();
  for (const std::u32string& text : texts) {
    std::ranges::copy(text, to);
    to += longest;
  }
  return {make_npy_header(tensor, path, characters), std::move(points)};
}

/// Files hold arrays only.
std::vector<NamedTensor> without_containers(const std::vector<NamedTensor>& values) {
  std::vector<NamedTensor> arrays;
  for (const NamedTensor& value : values)
    for (NamedTensor& array : arrays_of(value.name, value.tensor)) arrays.push_back(std::move(array));
  return arrays;
}

std::vector<NamedTensor> read_all(std::vector<StoredArray> arrays) {
  std::vector<NamedTensor> tensors;
  for (StoredArray& array : arrays) tensors.push_back({std::move(array.name), array.reader->read()});
  return tensors;
}

// An array from a pipe or a terminal, which can be read once.
class PipeReader {
 public:
  explicit PipeReader(const std::string& path) : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail("cannot read '{}': {}", path, std::strerror(errno));
  }
  ~PipeReader() { ::close(descriptor_); }
  PipeReader(const PipeReader&) = delete;
  PipeReader& operator=(const PipeReader&) = delete;

  void read(std::span<std::byte> out) {
    while (!out.empty()) {
      const std::size_t count = read_some(out);
      check(count > 0, "'{}': the pipe ends after {} bytes, but {} more are needed", path_, position_, out.size());
      out = out.subspan(count);
    }
  }
  bool at_end() {
    std::byte beyond{};
    return read_some({&beyond, 1}) == 0;
  }

 private:
  std::size_t read_some(std::span<std::byte> out) {
    for (;;) {
      constexpr std::size_t kMaxAtOnce = std::size_t{1} << 30;
      const ssize_t count = ::read(descriptor_, out.data(), std::min(out.size(), kMaxAtOnce));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("cannot read '{}': {}", path_, std::strerror(errno));
      position_ += static_cast<std::uint64_t>(count);
      return static_cast<std::size_t>(count);
    }
  }

  const std::string& path_;
  int descriptor_;
  std::uint64_t position_ = 0;
};

Tensor read_pipe(const std::string& path) {
  PipeReader pipe(path);
  const std::string where = fmt::format("'{}'", path);
  const ByteStream stream{[&](std::span<std::byte> out) { pipe.read(out); }, [] { return ByteStream::kUnknown; }};
  const ArrayLayout layout = read_npy_header(stream, where);
  Tensor tensor = make_array_reader(
                      layout, [&] { return ElementStream([&](std::span<std::byte> out) { pipe.read(out); }); }, where)
                      ->read();
  check(pipe.at_end(), "{}: has extra bytes after the {} array of shape {}", where, to_string(tensor.dtype()),
        to_string(tensor.shape()));
  return tensor;
}

}  // namespace

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  return open_array(ByteSource(bytes), name).reader->read();
}

std::vector<NamedTensor> parse_npz(std::span<const std::byte> bytes, const std::string& name) {
  return read_all(open_archive(ByteSource(bytes), name));
}

std::vector<StoredArray> open_npy(const std::string& path) {
  const ByteSource bytes(std::make_shared<const InputFile>(path));
  check(bytes.size() > 0, "'{}': the file is empty", path);
  if (starts_with(bytes, kNpyMagic)) {
    std::vector<StoredArray> arrays;
    arrays.push_back(open_array(bytes, path));
    return arrays;
  }
  check(starts_with(bytes, "PK"), "'{}': neither an .npy array nor an .npz archive", path);
  return open_archive(bytes, path);
}

std::vector<NamedTensor> load_npy(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::is_fifo(status) || std::filesystem::is_character_file(status)) return {{"", read_pipe(path)}};
  return read_all(open_npy(path));
}

std::vector<NamedTensor> arrays_of(const std::string& name, const Tensor& value) {
  if (!is_container(value.dtype())) return {{name, value}};
  if (value.dtype() == DataType::optional)
    return value.size() == 0 ? std::vector<NamedTensor>{} : std::vector<NamedTensor>{{name, value.items()[0]}};
  if (value.dtype() == DataType::optional_sequence)
    return value.size() == 0 ? std::vector<NamedTensor>{} : arrays_of(name, value.items()[0]);
  std::vector<NamedTensor> arrays;
  for (const Tensor& item : value.items()) arrays.push_back({fmt::format("{}_{}", name, arrays.size()), item});
  return arrays;
}

void save_npy(const std::string& path, const std::vector<NamedTensor>& values) {
  const std::vector<NamedTensor> arrays = without_containers(values);
  if (path.ends_with(".npz")) {
    ZipWriter zip(path);
    std::set<std::string> names;
    for (const NamedTensor& array : arrays) {
      check(names.insert(array.name).second, "cannot write '{}': two arrays are named '{}'", path, array.name);
      const Written own = written(array.tensor, path);
      const std::array<std::span<const std::byte>, 2> pieces{
          std::as_bytes(std::span(own.header)), std::span(own.elements.bytes(), own.elements.size_bytes())};
      zip.add(array.name + ".npy", pieces);
    }
    zip.commit();
    return;
  }
  check(path.ends_with(".npy"), "cannot write '{}': the name must end in .npy or .npz", path);
  check(arrays.size() == 1, "cannot write {} arrays to '{}': an .npy file holds one array; use .npz", arrays.size(),
        path);
  const Written own = written(arrays[0].tensor, path);
  FileWriter file(path);
  file.write(own.header);
  file.write({own.elements.bytes(), own.elements.size_bytes()});
  file.commit();
}

}  // namespace bitfold
