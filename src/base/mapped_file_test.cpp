#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "base/file.h"
#include "bitfold/error.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

class MappedFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("bitfold-mapped-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_F(MappedFileTest, has_the_bytes_of_the_file_and_outlives_its_replacement) {
  write_file(path("a"), "first");
  const auto first = MappedFile::open(path("a"));
  EXPECT_EQ(MappedFile::open(path("a")), first);
  write_file(path("a"), "second");  // replaces the mapped file by renaming
  EXPECT_EQ(text_of(*first), "first");
  EXPECT_EQ(text_of(*MappedFile::open(path("a"))), "second");
}

TEST_F(MappedFileTest, an_empty_file_has_no_bytes) {
  write_file(path("empty"), "");
  EXPECT_TRUE(MappedFile::open(path("empty"))->bytes().empty());
}

TEST_F(MappedFileTest, errors_name_the_path_and_the_reason) {
  const auto message = [](const std::string& p) {
    try {
      MappedFile::open(p);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message(path("missing")), "cannot read '" + path("missing") + "': No such file or directory");
  EXPECT_EQ(message(folder_.string()), "cannot read '" + folder_.string() + "': it is a folder");
  EXPECT_EQ(message("/dev/null"), "cannot read '/dev/null': it is not a regular file");
}

TEST_F(MappedFileTest, released_pages_come_back_from_the_file) {
  const std::string bytes(1 << 20, 'x');
  write_file(path("large"), bytes);
  const auto file = MappedFile::open(path("large"));
  EXPECT_EQ(text_of(*file), bytes);
  release_mapped_pages(file->bytes());
  release_mapped_pages(file->bytes().subspan(17, 9000));
  EXPECT_EQ(text_of(*file), bytes);
}

TEST(ReleaseMappedPages, leaves_other_memory_alone) {
  std::vector<std::byte> own(1 << 20, std::byte{7});
  release_mapped_pages(own);
  EXPECT_EQ(own, std::vector<std::byte>(1 << 20, std::byte{7}));
}

}  // namespace
}  // namespace bitfold
