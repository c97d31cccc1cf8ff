#include "base/file.h"

#include "bitfold/error.h"
#include "testing.h"

namespace bitfold {
namespace {

std::size_t file_count(const testing::TemporaryFolder& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++count;
  return count;
}

TEST(FileWriter, leaves_no_file_unless_committed) {
  testing::TemporaryFolder folder;
  {
    FileWriter writer((folder / "a").string());
    writer.write("half");
  }
  EXPECT_EQ(file_count(folder), 0u);
}

TEST(FileWriter, replaces_a_file_at_once) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "a").string();
  write_file(path, "old");
  FileWriter writer(path);
  writer.write("new");
  EXPECT_EQ(read_file(path).size(), 3u);
  EXPECT_EQ(std::to_integer<char>(read_file(path)[0]), 'o');
  writer.commit();
  EXPECT_EQ(std::to_integer<char>(read_file(path)[0]), 'n');
  EXPECT_EQ(file_count(folder), 1u);
}

TEST(FileWriter, reports_a_full_disk) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  EXPECT_THROW(write_file("/dev/full", "text"), Error);
  EXPECT_TRUE(std::filesystem::exists("/dev/full"));
}

TEST(FileWriter, reports_a_folder_that_does_not_exist) {
  testing::TemporaryFolder folder;
  EXPECT_THROW(write_file((folder / "none/a").string(), "text"), Error);
  EXPECT_THROW(write_file(folder.path().string(), "text"), Error);
}

TEST(ReadFile, reports_missing_files_and_folders) {
  testing::TemporaryFolder folder;
  EXPECT_THROW(read_file((folder / "none").string()), Error);
  EXPECT_THROW(read_file(folder.path().string()), Error);
}

}  // namespace
}  // namespace bitfold
