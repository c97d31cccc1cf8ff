// Images, audio files, lists and single files in every command that reads data.
#include "data/audio_testing.h"
#include "data/image_testing.h"
#include "small_network.h"

namespace bitfold::testing {
namespace {

/// Conv(3 -> 4, 3x3) and Relu on images of any size.
Graph open_network() {
  Graph g = small_network();
  g.value(g.find("input")).shape = Shape{kDynamic, 3, kDynamic, kDynamic};
  return g;
}

/// Conv(1 -> 2, 5) over a waveform of any length.
Graph waveform_network() {
  Graph g;
  const ValueId x = g.add_input("wave", DataType::float32, {kDynamic, 1, kDynamic});
  Tensor w(DataType::float32, {2, 1, 5});
  float next = -0.5F;
  for (float& v : w.mutable_data<float>()) v = next += 0.1F;
  const ValueId weight = g.add_constant("weight", w);
  g.mark_output(
      g.add(Conv{{.kernel = {5}, .strides = {2}, .dilations = {1}, .pads = {0, 0}}}, "conv", {x, weight}, "y"));
  return g;
}

Tensor floats(const Shape& shape, std::vector<float> values) { return Tensor::from(shape, values); }

class DataForms : public SmallNetworkTest {
 protected:
  void SetUp() override {
    SmallNetworkTest::SetUp();
    std::filesystem::create_directory(path("images"));
    const std::vector<std::pair<int, int>> sizes{{16, 8}, {8, 8}, {9, 12}, {9, 12}};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      Image image = plain_image(sizes[i].first, sizes[i].second, 0);
      for (std::size_t j = 0; j < image.pixels.size(); ++j)
        image.pixels[j] = static_cast<std::uint8_t>((j * 37 + i * 11) % 251);
      write_text(path(fmt::format("images/{}.png", i)), png(image));
    }
    write_text(path("list.txt"), "images/3.png\nimages/0.png\n");
    std::filesystem::create_directory(path("sounds"));
    write_text(path("sounds/a.wav"), wav(sine(400, 440, 8000), 8000));
    write_text(path("sounds/b.wav"), wav(sine(250, 880, 8000), 8000));
  }
  std::string expect_works(const std::string& arguments) const {
    const ToolResult result = run_tool(arguments);
    EXPECT_EQ(result.status, 0) << arguments << "\n" << result.output;
    return result.output;
  }
  /// Quantizes, compares, evaluates and times the model; returns the number of samples.
  std::int64_t in_every_command(const std::string& samples, const std::string& flags) const {
    expect_works(fmt::format("quantize {} --calibrate {} {} -o {}", model(), samples, flags, out()));
    expect_works(fmt::format("bench {} {} --input {} {} --min-time 0", model(), out(), samples, flags));
    EXPECT_EQ(run_for_json(fmt::format("eval {} --data {} {}", out(), samples, flags))["top1"], nullptr);
    const auto comparison = run_for_json(fmt::format("compare {} {} --data {} {}", model(), out(), samples, flags));
    EXPECT_GT(comparison["sqnr_db"], 30.0);
    return comparison["samples"];
  }
  Tensor output(const std::string& name) const { return load_npy(path("outputs/" + name + ".npz")).at(0).tensor; }
};

TEST_F(DataForms, letterboxed_images_a_list_and_one_image_work_in_every_command) {
  const std::string flags = "--fit 8 --fill 100 --normalize tf";
  EXPECT_EQ(in_every_command(path("images"), flags), 4);
  EXPECT_EQ(in_every_command(path("list.txt"), flags), 2);
  EXPECT_EQ(in_every_command(path("images/0.png"), flags), 1);
}

TEST_F(DataForms, images_keep_their_sizes_if_the_network_leaves_them_open) {
  save_onnx(open_network(), model());
  EXPECT_EQ(in_every_command(path("images"), ""), 4);
  for (const char* flags : {"--rounding gptq", "--weight-bits 4 --rounding adaround", "--observer auto"})
    expect_works(fmt::format("quantize {} --calibrate {} {} -o {}", model(), path("images"), flags, out()));
  expect_works(fmt::format("run {} --input {} --output {}", model(), path("images"), path("outputs")));
  EXPECT_EQ(output("0").shape(), (Shape{1, 4, 6, 14}));
  EXPECT_EQ(output("3").shape(), (Shape{1, 4, 10, 7}));
}

TEST_F(DataForms, run_gives_an_image_the_outputs_of_its_array) {
  Tensor x(DataType::float32, {1, 3, 8, 8});
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t i = 0; i < 64; ++i)
      x.mutable_data<float>()[c * 64 + i] = static_cast<float>(((i * 3 + c) * 37 + 11) % 251);
  save_npy(path("x.npy"), {{"", x}});
  expect_works(fmt::format("run {} --input {} --output {}", model(), path("x.npy"), path("y.npy")));
  expect_works(
      fmt::format("run {} --input {} --normalize none --output {}", model(), path("images/1.png"), path("outputs")));
  EXPECT_EQ(output("1"), load_npy(path("y.npy"))[0].tensor);
  expect_refused(fmt::format("run {} --input {} --scale 1", model(), path("x.npy")),
                 {"--scale", "x.npy' is an array, which is taken as it is"});
  expect_refused(fmt::format("run {} --input {}", model(), path("images/0.png")),
                 {"0.png': has 16x8 pixels", "use --resize 8x8"});
}

TEST_F(DataForms, run_never_writes_over_a_sample) {
  save_onnx(open_network(), model());
  save_npy(path("s.npz"), {{"input", Tensor(DataType::float32, {1, 3, 8, 8})}});
  write_text(path("samples.txt"), "s.npz\n");
  const std::string run = fmt::format("run {} --input {} --output {}", model(), path("samples.txt"), path("outputs"));
  expect_works(run);
  expect_works(run);  // into a folder that exists
  expect_refused(fmt::format("run {} --input {} --output {}", model(), path("s.npz"), path("outputs")),
                 {"the name must end in .npy or .npz"});
  expect_refused(fmt::format("run {} --input {} --output {}", model(), path("samples.txt"), folder_.path().string()),
                 {"s.npz: the output would overwrite the sample"});
}

TEST_F(DataForms, audio_files_work_in_every_command) {
  save_onnx(waveform_network(), model());
  EXPECT_EQ(in_every_command(path("sounds"), ""), 2);
  EXPECT_EQ(in_every_command(path("sounds"), "--window 100 --hop 50"), 7 + 4);
  EXPECT_EQ(in_every_command(path("sounds/a.wav"), "--sample-rate 16000 --window 100"), 8);
  expect_works(fmt::format("run {} --input {} --window 200 --output {}", model(), path("sounds"), path("outputs")));
  EXPECT_EQ(output("a-0").shape(), (Shape{1, 2, 98}));
  EXPECT_EQ(output("a-1").shape(), (Shape{1, 2, 98}));
  EXPECT_EQ(output("b").shape(), (Shape{1, 2, 98}));
  write_text(path("sounds/c.wav"), "not a sound");
  expect_refused(fmt::format("quantize {} --calibrate {} --strict -o {}", model(), path("sounds"), out()),
                 {"c.wav': cannot be read as audio"});
}

TEST_F(DataForms, arrays_replace_default_values_of_inputs) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 4}), gain = g.add_input("gain", DataType::float32, {4});
  const ValueId w = g.add_constant("w", floats({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}));
  const ValueId scaled = g.add(Binary{BinaryKind::mul}, "mul", {x, gain}, "scaled");
  g.mark_output(g.add(MatMul{}, "product", {scaled, w}, "y"));
  save_onnx(g, model());
  // Parts of a message may follow each other: this one adds an initializer to the graph.
  const std::string tensor = std::string("\x08\x04\x10\x01\x42\x04gain\x4a\x10", 12) + std::string(16, '\0');
  write_text(model(), read_text(model()) + "\x3a\x1e\x2a\x1c" + tensor);
  std::filesystem::create_directory(path("samples"));
  for (int i = 0; i < 3; ++i)
    save_npy(path(fmt::format("samples/{}.npz", i)),
             {{"gain", floats({4}, {2, 2, 2, 2})}, {"x", floats({1, 4}, {1, 0, static_cast<float>(i), 0})}});
  save_npy(path("x.npy"), {{"", floats({1, 4}, {1, 0, 0, 0})}});
  expect_works(fmt::format("run {} --input {} --output {}", model(), path("x.npy"), path("default.npy")));
  EXPECT_EQ(load_npy(path("default.npy"))[0].tensor, floats({1, 2}, {0, 0}));
  expect_works(fmt::format("run {} --input {} --output {}", model(), path("samples"), path("outputs")));
  EXPECT_EQ(output("0"), floats({1, 2}, {2, 4}));
  EXPECT_EQ(in_every_command(path("samples"), ""), 3);
  save_npy(path("samples/3.npz"), {{"x", floats({1, 4}, {1, 0, 0, 0})}, {"z", floats({1}, {0})}});
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("samples"), path("other.onnx")),
                 {"3.npz': lacks the array 'gain'"});
}

TEST_F(DataForms, help_lists_the_presets) {
  for (const char* verb : {"quantize", "analyze", "eval", "compare", "run", "bench"}) {
    const std::string help = expect_works(fmt::format("{} --help", verb));
    for (const char* word : {"--fit", "--pad", "tf: x/127.5 - 1", "imagenet:", "--sample-rate"})
      EXPECT_NE(help.find(word), std::string::npos) << verb << " " << word;
  }
}

}  // namespace
}  // namespace bitfold::testing
