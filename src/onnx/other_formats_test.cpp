#include "onnx/other_formats.h"

#include <gtest/gtest.h>

#include <string_view>

#include "bitfold/onnx.h"
#include "error_testing.h"

namespace bitfold {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(OtherFormats, are_named_with_the_command_that_converts_them) {
  struct Case {
    std::string_view bytes, name, word;
  };
  using std::string_view_literals::operator""sv;
  for (const Case& c :
       {Case{"PK\x03\x04 archive/data.pkl", "net.pt", "torch.onnx.export"},
        Case{"\x80\x02}q", "net.pth", "torch.onnx.export"}, Case{"\x1c\0\0\0TFL3"sv, "net.tflite", "--tflite"},
        Case{"\x89HDF\r\n", "net.h5", "--keras"}, Case{"PK\x03\x04", "net.keras", "--keras"},
        Case{"\x40\0\0\0\0\0\0\0{\"a\""sv, "net.safetensors", "optimum-cli"},
        Case{"abc", "saved_model.pb", "--saved-model"}, Case{"abc", "net.mlmodel", "onnxmltools"},
        Case{"<?xml version", "net.xml", "OpenVINO"}, Case{"GGUF\x03", "net.gguf", "GGUF"}}) {
    const std::string message = testing::message_of([&] { (void)parse_onnx(bytes_of(c.bytes), std::string(c.name)); });
    EXPECT_NE(message.find(c.word), std::string::npos) << message;
    EXPECT_TRUE(message.starts_with(c.name)) << message;
  }
}

TEST(OtherFormats, other_files_have_no_advice) {
  EXPECT_EQ(other_format(bytes_of("this is text"), "net.onnx"), "");
  EXPECT_EQ(other_format(bytes_of(""), "net.onnx"), "");
}

}  // namespace
}  // namespace bitfold
