// .npy and .npz files made by hand, so that tests can make them wrong or lay them out as NumPy would.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace bitfold::testing {

inline std::string npy(const std::string& dictionary, const std::string& elements, char major = 1) {
  std::string file = "\x93NUMPY";
  file += {major, '\0', static_cast<char>(dictionary.size()), '\0'};
  if (major > 1) file += {'\0', '\0'};
  return file + dictionary + elements;
}

inline std::string header(const std::string& descr, const std::string& shape, const std::string& fortran = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

/// A zip entry made by hand; a test may make any field wrong.
struct RawEntry {
  std::string name, stored;
  std::uint32_t size = 0, crc = 0;
  std::uint16_t method = 0, flags = 0;
};

inline std::string zip(const std::vector<RawEntry>& entries) {
  const auto put = [](std::string& text, std::uint64_t value, int width) {
    for (int i = 0; i < width; ++i) text += static_cast<char>(i < 8 ? value >> (8 * i) : 0);
  };
  std::string file, directory;
  for (const RawEntry& e : entries) {
    std::string shared;
    put(shared, 20, 2), put(shared, e.flags, 2), put(shared, e.method, 2), put(shared, 0, 4), put(shared, e.crc, 4);
    put(shared, e.stored.size(), 4), put(shared, e.size, 4), put(shared, e.name.size(), 2), put(shared, 0, 2);
    put(directory, 0x02014b50, 4), put(directory, 20, 2);
    directory += shared;
    put(directory, 0, 10), put(directory, file.size(), 4);
    directory += e.name;
    put(file, 0x04034b50, 4);
    file += shared + e.name + e.stored;
  }
  const std::size_t start = file.size();
  file += directory;
  put(file, 0x06054b50, 4), put(file, 0, 4), put(file, entries.size(), 2), put(file, entries.size(), 2);
  put(file, directory.size(), 4), put(file, start, 4), put(file, 0, 2);
  return file;
}

inline RawEntry stored(const std::string& name, const std::string& contents) {
  return {name, contents, static_cast<std::uint32_t>(contents.size()),
          static_cast<std::uint32_t>(
              ::crc32(0, reinterpret_cast<const Bytef*>(contents.data()), static_cast<uInt>(contents.size())))};
}

inline RawEntry deflated(const std::string& name, const std::string& contents) {
  RawEntry entry = stored(name, contents);
  std::string out(contents.size() + 100, '\0');
  z_stream stream{};
  ::deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(contents.data()));
  stream.avail_in = static_cast<uInt>(contents.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  entry.stored = out;
  entry.method = 8;
  return entry;
}

}  // namespace bitfold::testing
