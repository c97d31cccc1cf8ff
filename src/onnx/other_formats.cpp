#include "onnx/other_formats.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace bitfold {
namespace {

struct Format {
  std::size_t offset;       ///< The place of `magic` in the file, in bytes.
  std::string_view magic;   ///< Empty: the ending decides.
  std::string_view ending;  ///< The end of the file's name; empty: any.
  std::string_view advice;
};

constexpr std::string_view kTorch =
    "is a PyTorch checkpoint; export the network in Python: torch.onnx.export(model, (inputs,), \"model.onnx\")";
constexpr std::string_view kKeras =
    "is a Keras network; convert it: python -m tf2onnx.convert --keras FILE --output model.onnx";

constexpr std::array kFormats{
    Format{4, "TFL3", "",
           "is a TensorFlow Lite network; convert it: python -m tf2onnx.convert --tflite FILE --output model.onnx"},
    Format{0, "\x89HDF", "", kKeras},
    Format{0, "PK", ".keras", kKeras},
    Format{0, "PK", "", kTorch},
    Format{0, "\x80", ".pt", kTorch},
    Format{0, "\x80", ".pth", kTorch},
    Format{0, "\x80", ".bin", kTorch},
    Format{0, "", ".safetensors",
           "holds weights without a network; export the network, such as with: optimum-cli export onnx --model FOLDER "
           "OUTPUT"},
    Format{0, "", ".pb",
           "is a TensorFlow graph; convert its folder: python -m tf2onnx.convert --saved-model FOLDER --output "
           "model.onnx"},
    Format{0, "", ".mlmodel", "is a Core ML network; convert it in Python: onnxmltools.convert_coreml(model)"},
    Format{0, "<?xml", "",
           "is XML, such as a network of OpenVINO; export the network from the program that trained it"},
    Format{0, "GGUF", "", "is a GGUF file, which holds weights without a network; export the network to ONNX instead"},
};

}  // namespace

std::string other_format(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 64));
  const auto* found = std::ranges::find_if(kFormats, [&](const Format& f) {
    return name.ends_with(f.ending) && f.offset <= text.size() && text.substr(f.offset).starts_with(f.magic);
  });
  return found == kFormats.end() ? std::string() : std::string(found->advice);
}

}  // namespace bitfold
