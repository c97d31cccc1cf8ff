// Fuzzes image folders: any bytes either throw Error or give samples. The input up to the first zero byte is
// labels.txt, and the rest is the image 'a.jpg'.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <span>

#include "base/file.h"
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "data/image.h"

namespace {

// The folder of this process, removed at its end.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bitfold-fuzz-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  void put(const std::string& name, std::span<const std::byte> bytes) const {
    std::FILE* file = std::fopen((path_ / name).c_str(), "wb");
    if (file == nullptr) std::abort();
    std::fwrite(bytes.data(), 1, bytes.size(), file);
    std::fclose(file);
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  const std::uint8_t* end = std::find(data, data + size, std::uint8_t{0});
  const auto labels = std::as_bytes(std::span(data, end));
  const auto image = std::as_bytes(std::span(std::min(end + 1, data + size), data + size));
  try {
    bitfold::decode_image(image, "fuzz.jpg");
  } catch (const bitfold::Error&) {
  }
  folder.put("labels.txt", labels);
  folder.put("a.jpg", image);
  try {
    const bitfold::DatasetOptions options{.preprocess = {.resize_exact = bitfold::ImageSize{4, 4}}, .strict = true};
    auto dataset = bitfold::open_dataset(
        folder.path(), {{"input", bitfold::DataType::float32, {bitfold::kDynamic, 3, 4, 4}}}, options);
    while (dataset.source->next(4)) {
    }
  } catch (const bitfold::Error&) {
  }
  return 0;
}
