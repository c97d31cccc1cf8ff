#include "data/npy.h"

#include <zlib.h>

#include <cmath>
#include <random>

#include "base/file.h"
#include "bitfold/affine.h"
#include "bitfold/error.h"
#include "bitfold/reals.h"
#include "data/archive_testing.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::deflated;
using testing::header;
using testing::message_of;
using testing::npy;
using testing::RawEntry;
using testing::stored;
using testing::zip;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string load_error(const std::string& file) {
  return message_of([&] { parse_npy(bytes_of(file), "x.npy"); });
}

std::string zip_error(const std::vector<RawEntry>& entries) {
  const std::string file = zip(entries);
  return message_of([&] { parse_npz(bytes_of(file), "a.npz"); });
}

const std::string kBytes123 = npy(header("|u1", "(3,)"), "\1\2\3");

TEST(Npy, reads_every_version) {
  for (const char major : {1, 2, 3}) {
    const std::string file = npy(header("<i2", "(2,)"), std::string("\1\0\2\0", 4), major);
    EXPECT_EQ(parse_npy(bytes_of(file), "x"), Tensor::from<std::int16_t>({2}, std::vector<std::int16_t>{1, 2}));
  }
}

TEST(Npy, reads_big_endian) {
  const std::string file = npy(header(">i4", "(1,)"), std::string("\0\0\1\2", 4));
  EXPECT_EQ(parse_npy(bytes_of(file), "x").data<std::int32_t>()[0], 258);
}

TEST(Npy, reads_fortran_order) {
  const std::string file = npy(header("|u1", "(2, 3)", "True"), std::string("\0\3\1\4\2\5", 6));
  EXPECT_EQ(parse_npy(bytes_of(file), "x"),
            Tensor::from<std::uint8_t>({2, 3}, std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5}));
}

TEST(Npy, widens_half_floats) {
  // 1, -2, the largest, the smallest subnormal, infinity, NaN.
  const std::string halves("\x00\x3c\x00\xc0\xff\x7b\x01\x00\x00\x7c\x01\x7e", 12);
  const std::string file = npy(header("<f2", "(6,)"), halves);
  const Tensor tensor = parse_npy(bytes_of(file), "x");
  const auto values = tensor.data<float>();
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], -2);
  EXPECT_EQ(values[2], 65504);
  EXPECT_EQ(values[3], std::ldexp(1.0F, -24));
  EXPECT_TRUE(std::isinf(values[4]));
  EXPECT_TRUE(std::isnan(values[5]));
}

TEST(Npy, reads_booleans_and_scalars) {
  const Tensor tensor = parse_npy(bytes_of(npy(header("|b1", "()"), "\7")), "x");
  EXPECT_EQ(tensor.shape(), Shape{});
  EXPECT_EQ(tensor.data<bool>()[0], true);
}

TEST(Npy, errors_describe_the_fault) {
  EXPECT_NE(load_error("").find("'x.npy': not an .npy array"), std::string::npos);
  EXPECT_NE(load_error(npy(header("<c8", "(1,)"), "12345678")).find("element type '<c8'"), std::string::npos);
  EXPECT_NE(load_error(npy("{'descr': [('a', '<f4')], }", "")).find("named fields"), std::string::npos);
  EXPECT_NE(load_error(npy(header("|u1", "(4,)"), "123")).find("needs 4 bytes, but 3 are"), std::string::npos);
  EXPECT_NE(load_error(npy(header("|u1", "(2,)"), "123")).find("needs 2 bytes, but 3 are"), std::string::npos);
  EXPECT_NE(load_error(npy(header("|u1", "(-4,)"), "123")).find("dimension"), std::string::npos);
  EXPECT_NE(load_error(npy(header("<f8", "(4611686018427387904, 4)"), "")).find("too many"), std::string::npos);
  EXPECT_NE(load_error(npy(header("|u1", "(99999999999999999999,)"), "")).find("dimension"), std::string::npos);
  EXPECT_NE(load_error(npy("{'descr': '|u1', 'shape': (3,)}", "123")).find("the keys descr, fortran_order and shape"),
            std::string::npos);
  EXPECT_NE(load_error(npy("__import__('os')", "123")).find("expected '{'"), std::string::npos);
  EXPECT_NE(load_error(npy(header("|u1", "(3,)"), "123", 4)).find("format 4.0 is unknown"), std::string::npos);
}

TEST(Npy, reports_every_truncation) {
  const std::string file = npy(header("<f4", "(2, 2)"), std::string(16, 'x'));
  for (std::size_t size = 0; size < file.size(); ++size)
    EXPECT_NE(load_error(file.substr(0, size)).find("'x.npy': "), std::string::npos) << size;
}

TEST(Npz, reads_stored_and_deflated_entries) {
  const std::string file = zip({stored("x.npy", kBytes123), deflated("y.npy", kBytes123)});
  const auto arrays = parse_npz(bytes_of(file), "a.npz");
  ASSERT_EQ(arrays.size(), 2u);
  EXPECT_EQ(arrays[0].name, "x");
  EXPECT_EQ(arrays[1].name, "y");
  for (const auto& array : arrays)
    EXPECT_EQ(array.tensor, Tensor::from<std::uint8_t>({3}, std::vector<std::uint8_t>{1, 2, 3}));
}

TEST(Npz, reports_damage_with_the_name_of_the_array) {
  for (const RawEntry& entry : {stored("x.npy", kBytes123), deflated("x.npy", kBytes123)}) {
    RawEntry wrong = entry;
    wrong.crc ^= 1;
    EXPECT_NE(zip_error({wrong}).find("entry 'x.npy': its checksum is wrong"), std::string::npos);
    wrong = entry;
    wrong.flags = 1;
    EXPECT_NE(zip_error({wrong}).find("encrypted"), std::string::npos);
    wrong = entry;
    wrong.method = 12;
    EXPECT_NE(zip_error({wrong}).find("compression method 12"), std::string::npos);
    wrong = entry;
    wrong.size -= 1;
    EXPECT_NE(zip_error({wrong}).find("'x"), std::string::npos);
    wrong = entry;
    wrong.size += 1;
    EXPECT_NE(zip_error({wrong}).find("'x"), std::string::npos);
    EXPECT_NE(zip_error({entry, entry}).find("occurs twice"), std::string::npos);
  }
  EXPECT_NE(zip_error({stored("x.txt", "text")}).find("'x.txt' is not an .npy array"), std::string::npos);
}

TEST(Npz, refuses_to_inflate_more_than_declared) {
  RawEntry bomb = deflated("x.npy", kBytes123 + std::string(1 << 20, '\0'));
  bomb.size = static_cast<std::uint32_t>(kBytes123.size());
  EXPECT_NE(zip_error({bomb}).find("contains more than"), std::string::npos);
  RawEntry huge = deflated("x.npy", npy(header("|u1", "(4000000000,)"), "123"));
  huge.size = 4000000000U;
  EXPECT_NE(zip_error({huge}).find("cannot inflate"), std::string::npos);
}

TEST(Npz, survives_any_single_damaged_byte) {
  const std::string file = zip({stored("x.npy", kBytes123), deflated("y.npy", kBytes123)});
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const int bit : {0, 3, 7}) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      try {
        parse_npz(bytes_of(damaged), "a.npz");
      } catch (const Error&) {
      }
    }
    const std::string error = message_of([&] { parse_npz(bytes_of(file).first(at), "a.npz"); });
    EXPECT_NE(error.find("'a.npz': not a zip archive"), std::string::npos) << at << ": " << error;
  }
}

TEST(SaveNpy, reads_back_equal) {
  testing::TemporaryFolder folder;
  const Tensor x = Tensor::from<float>({2, 1, 3}, std::vector<float>{0, -1, 2, 3.5F, NAN, INFINITY});
  const Tensor y = Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{7, -7});
  const Tensor empty(DataType::uint8, {0, 4});
  const Tensor scalar = Tensor::from<double>({}, std::vector<double>{0.1});
  const std::string npz = (folder / "a.npz").string(), single = (folder / "a.npy").string();
  save_npy(npz, {{"x", x}, {"y", y}, {"empty", empty}, {"scalar", scalar}});
  const auto arrays = load_npy(npz);
  ASSERT_EQ(arrays.size(), 4u);
  EXPECT_EQ(arrays[0].tensor, x);
  EXPECT_EQ(arrays[1].tensor, y);
  EXPECT_EQ(arrays[2].tensor, empty);
  EXPECT_EQ(arrays[3].tensor, scalar);
  save_npy(single, {{"", x}});
  EXPECT_EQ(load_npy(single)[0].tensor, x);
  EXPECT_EQ(read_file(single).size() % 64, 24u);  // elements start at a multiple of 64 bytes
}

TEST(SaveNpy, stores_types_that_numpy_lacks_as_their_bits) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "a.npy").string();
  const auto header = [&] {
    const std::vector<std::byte> bytes = read_file(path);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const Tensor codes = pack(Tensor::from<std::int8_t>({3}, std::vector<std::int8_t>{-8, -1, 7}), 4);
  save_npy(path, {{"", codes}});
  EXPECT_NE(header().find("'descr': '|V1'"), std::string::npos);
  const Tensor bits = load_npy(path)[0].tensor;
  EXPECT_EQ(bits, Tensor::from<std::uint8_t>({3}, std::vector<std::uint8_t>{0xf8, 0xff, 7}));
  ASSERT_TRUE(is_stored_as(bits.dtype(), DataType::int4));
  EXPECT_EQ(from_stored(bits, DataType::int4), codes);

  const Tensor halves = convert_reals(Tensor::from<float>({2}, std::vector<float>{1, -2}), DataType::bfloat16);
  save_npy(path, {{"", halves}});
  EXPECT_NE(header().find("'descr': '<V2'"), std::string::npos);
  EXPECT_EQ(from_stored(load_npy(path)[0].tensor, DataType::bfloat16), halves);
}

TEST(SaveNpy, stores_strings_as_code_points) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "a.npz").string();
  const Tensor texts =
      Tensor::from<std::string>({2, 2}, std::vector<std::string>{"", "ab", "\u00e4\u20ac\U0001F600", "c"});
  const Tensor none(DataType::string, {0, 3});
  const Tensor single = Tensor::from<std::string>({}, std::vector<std::string>{"x y"});
  save_npy(path, {{"texts", texts}, {"none", none}, {"single", single}});
  const auto arrays = load_npy(path);
  ASSERT_EQ(arrays.size(), 3u);
  EXPECT_EQ(arrays[0].tensor, texts);
  EXPECT_EQ(arrays[1].tensor, none);
  EXPECT_EQ(arrays[2].tensor, single);
}

TEST(SaveNpy, stores_the_tensors_of_a_sequence_under_numbered_names) {
  const testing::TemporaryFolder folder;
  const Tensor a = Tensor::from<float>({1}, std::vector<float>{1}),
               b = Tensor::from<float>({2}, std::vector<float>{2, 3});
  const std::string path = (folder / "a.npz").string();
  const Tensor sequence = Tensor::container(DataType::sequence, {a, b});
  save_npy(path, {{"s", sequence},
                  {"o", Tensor::container(DataType::optional, {b})},
                  {"none", Tensor::container(DataType::optional, {})},
                  {"t", Tensor::container(DataType::optional_sequence, {sequence})}});
  std::string names;
  for (const NamedTensor& array : load_npy(path)) names += array.name + to_string(array.tensor.shape()) + " ";
  EXPECT_EQ(names, "s_01 s_12 o2 t_01 t_12 ");
}

TEST(SaveNpy, refuses_names_that_do_not_fit) {
  testing::TemporaryFolder folder;
  const Tensor x(DataType::float32, {1});
  const auto save_error = [&](const char* name, const std::vector<NamedTensor>& arrays) {
    return message_of([&] { save_npy((folder / name).string(), arrays); });
  };
  EXPECT_NE(save_error("a.npy", {{"x", x}, {"y", x}}).find("holds one array; use .npz"), std::string::npos);
  EXPECT_NE(save_error("a.npz", {{"x", x}, {"x", x}}).find("two arrays are named 'x'"), std::string::npos);
  EXPECT_NE(save_error("a.bin", {{"x", x}}).find("must end in .npy or .npz"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(LoadNpy, errors_name_the_file) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "a.npy").string();
  EXPECT_NE(message_of([&] { load_npy(path); }).find(path), std::string::npos);
  write_file(path, "");
  EXPECT_NE(message_of([&] { load_npy(path); }).find("is empty"), std::string::npos);
  write_file(path, "hello");
  EXPECT_NE(message_of([&] { load_npy(path); }).find("neither"), std::string::npos);
}

TEST(LoadNpy, reads_numpy_compressed_archives) {
  BITFOLD_NEEDS_DATA();
  const auto arrays = load_npy((testing::data_folder() / "data/cifar10/calib.npz").string());
  ASSERT_EQ(arrays.size(), 2u);
  EXPECT_EQ(arrays[0].tensor.shape(), (Shape{512, 32, 32, 3}));
  EXPECT_EQ(arrays[1].tensor.shape(), (Shape{512}));
}

}  // namespace
}  // namespace bitfold
