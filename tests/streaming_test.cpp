// Samples are read a batch at a time: the memory of quantizing does not grow with their number.
#include <sys/resource.h>
#include <unistd.h>

#include "small_network.h"

namespace bitfold::testing {
namespace {

/// Peak resident memory of the tool in KiB; -1 when it fails.
std::int64_t peak_kib(const std::string& arguments) {
  const std::string command = fmt::format("exec {} {} >/dev/null 2>&1", BITFOLD_TOOL_PATH, arguments);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  rusage usage{};
  if (child < 0 || ::wait4(child, &status, 0, &usage) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return -1;
  return usage.ru_maxrss;
}

/// [count, 3, 8, 8] floats as .npy, written in pieces so that the test itself stays small.
void write_samples(const std::string& path, std::int64_t count, bool fortran) {
  std::ofstream file(path, std::ios::binary);
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': {}, 'shape': ({}, 3, 8, 8), }}",
                                   fortran ? "True" : "False", count);
  header.resize(118 - 1, ' ');
  header += '\n';
  file << std::string("\x93NUMPY\1\0\x76\0", 10) << header;
  std::vector<float> piece(192);
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::size_t k = 0; k < piece.size(); ++k)
      piece[k] = static_cast<float>((i * 31 + static_cast<std::int64_t>(k) * 17) % 256) / 256;
    file.write(reinterpret_cast<const char*>(piece.data()), static_cast<std::streamsize>(piece.size() * sizeof(float)));
  }
}

class Streaming : public SmallNetworkTest {};

TEST_F(Streaming, memory_does_not_grow_with_the_number_of_samples) {
  for (const bool fortran : {false, true}) {
    write_samples(path("few.npy"), 400, fortran);
    write_samples(path("many.npy"), 20000, fortran);  // 15 MB; the tool takes some 25 MB in all
    const auto peak = [&](const std::string& arguments) {
      return peak_kib(fmt::format("quantize {} -o {} --threads 1 --calibrate {}", model(), out(), arguments));
    };
    const std::int64_t few = peak(path("few.npy")), many = peak(path("many.npy")),
                       limited = peak(path("many.npy") + " --limit 400");
    ASSERT_GT(few, 0);
    ASSERT_GT(many, 0);
    ASSERT_GT(limited, 0);
    EXPECT_LE(static_cast<double>(many), 1.05 * static_cast<double>(few)) << (fortran ? "Fortran" : "C") << " order";
    EXPECT_LE(static_cast<double>(limited), 1.05 * static_cast<double>(few));
  }
}

TEST_F(Streaming, idx_images_are_read_by_rows) {
  const auto write_images = [&](const std::string& name, int megabytes) {  // 8 x 8 pixels each
    std::ofstream file(path(name), std::ios::binary);
    const int count = megabytes << 14;
    file << std::string("\0\0\x08\3", 4) << static_cast<char>(count >> 24) << static_cast<char>(count >> 16)
         << static_cast<char>(count >> 8) << static_cast<char>(count) << std::string("\0\0\0\x08\0\0\0\x08", 8);
    std::string piece(1 << 20, '\0');
    for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>(i * 31 % 256);
    for (int i = 0; i < megabytes; ++i) file << piece;
  };
  write_images("few-images-idx3-ubyte", 1);
  write_images("many-images-idx3-ubyte", 64);
  const auto peak = [&](const std::string& name) {
    return peak_kib(
        fmt::format("quantize {} -o {} --threads 1 --limit 200 --calibrate {}", model(), out(), path(name)));
  };
  const std::int64_t few = peak("few-images-idx3-ubyte"), many = peak("many-images-idx3-ubyte");
  ASSERT_GT(few, 0);
  ASSERT_GT(many, 0);
  EXPECT_LE(static_cast<double>(many), 1.05 * static_cast<double>(few));
}

TEST_F(Streaming, files_of_a_folder_are_read_when_their_turn_comes) {
  const auto peak = [&](int count) {
    const std::string folder = path(std::to_string(count));
    std::filesystem::create_directory(folder);
    Tensor x(DataType::float32, {1, 3, 200, 200});
    for (float& v : x.mutable_data<float>()) v = 0.5F;
    for (int i = 0; i < count; ++i) save_npy(fmt::format("{}/{}.npz", folder, i), {{"input", x}});
    return peak_kib(fmt::format("quantize {} -o {} --threads 1 --calibrate {}", path("any_size.onnx"), out(), folder));
  };
  Graph g = small_network();
  g.value(g.inputs()[0]).shape = Shape{kDynamic, 3, kDynamic, kDynamic};
  for (const char* name : {"hidden", "y"}) g.value(g.find(name)).shape.reset();
  save_onnx(g, path("any_size.onnx"));
  const std::int64_t few = peak(20), many = peak(150);  // 0.5 MB each
  ASSERT_GT(few, 0);
  ASSERT_GT(many, 0);
  EXPECT_LE(static_cast<double>(many), 1.05 * static_cast<double>(few));
}

TEST_F(Streaming, every_layout_of_the_samples_gives_the_same_model) {
  write_samples(path("c.npy"), 100, false);
  const std::vector<NamedTensor> arrays = load_npy(path("c.npy"));
  save_npy(path("stored.npz"), {{"x", arrays[0].tensor}});
  // The same array in Fortran order.
  const auto values = arrays[0].tensor.data<float>();
  std::string fortran = read_text(path("c.npy")).substr(0, 128);
  fortran.replace(fortran.find("False"), 5, "True ");
  for (std::size_t k = 0; k < 192; ++k) {
    const std::size_t row = k / 1 % 3 * 64 + k / 3 % 8 * 8 + k / 24;  // first of the three axes fastest
    for (std::size_t i = 0; i < 100; ++i)
      fortran.append(reinterpret_cast<const char*>(&values[i * 192 + row]), sizeof(float));
  }
  write_text(path("f.npy"), fortran);
  std::string first;
  for (const char* name : {"c.npy", "stored.npz", "f.npy"}) {
    const ToolResult result = run_tool(fmt::format("quantize {} --calibrate {} -o {}", model(), path(name), out()));
    ASSERT_EQ(result.status, 0) << name << "\n" << result.output;
    if (first.empty()) first = read_text(out());
    EXPECT_EQ(read_text(out()), first) << name;
  }
}

}  // namespace
}  // namespace bitfold::testing
