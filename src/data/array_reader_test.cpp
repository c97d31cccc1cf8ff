// Arrays read by rows: every layout on disk gives the same rows, in any order of reading, and damage is an error.
#include "data/array_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>

#include "base/file.h"
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "data/archive_testing.h"
#include "data/npy.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::deflated;
using testing::expect_error;
using testing::header;
using testing::npy;
using testing::stored;
using testing::zip;

/// Element i of row r of an int16 array [rows, 3, columns]: distinct everywhere, in either order of the bytes.
std::int16_t element(std::int64_t row, std::int64_t a, std::int64_t b) {
  return static_cast<std::int16_t>(row * 1000 + a * 100 + b);
}

std::string file_of(std::int64_t rows, std::int64_t columns, bool fortran, bool big_endian) {
  std::string elements;
  const auto put = [&](std::int64_t row, std::int64_t a, std::int64_t b) {
    const auto value = static_cast<std::uint16_t>(element(row, a, b));
    const char low = static_cast<char>(value & 255), high = static_cast<char>(value >> 8);
    elements += big_endian ? std::string{high, low} : std::string{low, high};
  };
  if (fortran) {
    for (std::int64_t b = 0; b < columns; ++b)
      for (std::int64_t a = 0; a < 3; ++a)
        for (std::int64_t row = 0; row < rows; ++row) put(row, a, b);
  } else {
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t a = 0; a < 3; ++a)
        for (std::int64_t b = 0; b < columns; ++b) put(row, a, b);
  }
  const std::string shape = "(" + std::to_string(rows) + ", 3, " + std::to_string(columns) + ")";
  return npy(header(big_endian ? ">i2" : "<i2", shape, fortran ? "True" : "False"), elements);
}

void expect_rows(ArrayReader& reader, std::int64_t first, std::int64_t count, std::int64_t columns) {
  const Tensor rows = reader.read(first, count);
  ASSERT_EQ(rows.shape(), (Shape{count, 3, columns}));
  const auto values = rows.data<std::int16_t>();
  std::size_t at = 0;
  for (std::int64_t row = first; row < first + count; ++row)
    for (std::int64_t a = 0; a < 3; ++a)
      for (std::int64_t b = 0; b < columns; ++b)
        ASSERT_EQ(values[at++], element(row, a, b)) << row << " " << a << " " << b;
}

class ArrayRows : public ::testing::Test {
 protected:
  /// The array of a file with these bytes.
  std::unique_ptr<ArrayReader> open(const std::string& bytes) {
    write_file(path(), std::string_view(bytes));
    return std::move(open_npy(path()).at(0).reader);
  }
  std::string path() const { return (folder_ / "a.npz").string(); }
  testing::TemporaryFolder folder_;
};

TEST_F(ArrayRows, every_layout_gives_the_same_rows) {
  // 5000 rows make columns of 10 kB, which are read in parts; 7 rows make columns of which many are read at once.
  for (const std::int64_t rows : {7, 5000}) {
    const std::int64_t columns = rows == 7 ? 50000 : 2;
    for (const bool fortran : {false, true})
      for (const bool big_endian : {false, true}) {
        const std::string file = file_of(rows, columns, fortran, big_endian);
        for (const std::string& bytes : {file, zip({stored("x.npy", file)}), zip({deflated("x.npy", file)})}) {
          const auto reader = open(bytes);
          EXPECT_EQ(reader->dtype(), DataType::int16);
          expect_rows(*reader, 0, 2, columns);
          expect_rows(*reader, 2, 4, columns);
          expect_rows(*reader, rows - 1, 1, columns);  // skips rows
          expect_rows(*reader, 1, 3, columns);         // goes back
          expect_rows(*reader, 0, rows, columns);
        }
      }
  }
}

TEST_F(ArrayRows, half_floats_and_booleans_are_converted) {
  const auto halves = open(npy(header("<f2", "(2, 1)"), std::string("\x00\x3c\x00\xc0", 4)));
  EXPECT_EQ(halves->dtype(), DataType::float32);
  EXPECT_EQ(halves->read(1, 1).data<float>()[0], -2);
  const auto flags = open(npy(header("|b1", "(2,)"), std::string("\0\7", 2)));
  EXPECT_TRUE(flags->read(1, 1).data<bool>()[0]);
}

TEST_F(ArrayRows, rows_out_of_range_are_refused) {
  const auto reader = open(file_of(4, 2, false, false));
  expect_error([&] { reader->read(3, 2); }, "rows 3 to 5 were requested, but it has 4 rows");
}

TEST_F(ArrayRows, arrays_may_be_empty) {
  for (const std::string order : {"False", "True"})
    for (const std::string shape : {"(0, 3)", "(3, 0)"}) {
      const std::string file = npy(header("<f4", shape, order), "");
      for (const std::string& bytes : {file, zip({stored("x.npy", file)}), zip({deflated("x.npy", file)})})
        EXPECT_EQ(open(bytes)->read().size(), 0);
    }
}

TEST_F(ArrayRows, damaged_archive_is_an_error_at_the_end) {
  for (const bool fortran : {false, true}) {
    const std::string file = file_of(100, 20, fortran, false);
    for (testing::RawEntry entry : {stored("x.npy", file), deflated("x.npy", file)}) {
      entry.crc ^= 1;
      expect_error(
          [&] {
            const auto reader = open(zip({entry}));
            for (std::int64_t row = 0; row < 100; ++row) reader->read(row, 1);
          },
          "entry 'x.npy': its checksum is wrong");
    }
  }
}

TEST_F(ArrayRows, first_rows_can_be_read_alone) {
  testing::RawEntry entry = stored("x.npy", file_of(100, 20, false, false));
  // The checksum is wrong, which is detected at the end.
  entry.stored.back() = static_cast<char>(entry.stored.back() ^ 1);
  const auto reader = open(zip({entry}));
  expect_rows(*reader, 0, 4, 20);
  expect_error([&] { reader->read(4, 96); }, "checksum");
}

TEST_F(ArrayRows, truncated_file_is_an_error) {
  const auto reader = open(file_of(100, 20, false, false));
  std::filesystem::resize_file(path(), 3000);
  expect_rows(*reader, 0, 4, 20);
  expect_error([&] { reader->read(4, 96); }, "a.npz': it ends after 3000 bytes");
}

TEST(LoadNpy, reads_one_array_through_a_pipe) {
  testing::TemporaryFolder folder;
  const std::string pipe = (folder / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const auto load = [&](const std::string& bytes) {
    std::thread writer([&] {
      const int descriptor = ::open(pipe.c_str(), O_WRONLY);
      for (std::size_t at = 0; at < bytes.size();) {  // in small pieces
        const ssize_t count = ::write(descriptor, bytes.data() + at, std::min<std::size_t>(7, bytes.size() - at));
        if (count <= 0) break;
        at += static_cast<std::size_t>(count);
      }
      ::close(descriptor);
    });
    std::vector<NamedTensor> arrays;
    std::string message;
    try {
      arrays = load_npy(pipe);
    } catch (const Error& error) {
      message = error.what();
    }
    writer.join();
    if (!message.empty()) throw Error(message);
    return arrays;
  };
  ::signal(SIGPIPE, SIG_IGN);  // a writer whose array is refused fails with EPIPE
  for (const bool fortran : {false, true}) {
    const std::string file = file_of(4, 2, fortran, false);
    EXPECT_EQ(load(file).at(0).tensor, parse_npy(std::as_bytes(std::span(file)), "x"));
    expect_error([&] { load(file.substr(0, file.size() - 1)); }, "the pipe ends after");
    expect_error([&] { load(file + "x"); }, "extra bytes");
  }
  expect_error([&] { load(zip({stored("x.npy", file_of(4, 2, false, false))})); }, "not an .npy array");
}

}  // namespace
}  // namespace bitfold
