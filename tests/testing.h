// Helpers shared by all tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace bitfold::testing {

/// The folder of real models and data: BITFOLD_DATA, or ../shared beside the project.
inline std::filesystem::path data_folder() {
  if (const char* folder = std::getenv("BITFOLD_DATA")) return folder;
  return std::filesystem::path(BITFOLD_SOURCE_DIR) / ".." / "shared";
}

inline bool has_data() { return std::filesystem::exists(data_folder() / "models"); }

/// A new folder for files written by a test; removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bitfold-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace bitfold::testing

/// Skips the test with a message if the real models and data are missing.
#define BITFOLD_NEEDS_DATA()         \
  if (!bitfold::testing::has_data()) \
  GTEST_SKIP() << "needs the models and data in " << bitfold::testing::data_folder() << "; set BITFOLD_DATA"
