#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>

#include "bitfold/error.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::expect_error;

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  const std::vector<std::byte> bytes = read_file(path.string());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

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

TEST(FileWriter, follows_a_link_and_keeps_it) {
  testing::TemporaryFolder folder;
  fs::create_directory(folder / "inside");
  write_file((folder / "inside/target").string(), "old");
  fs::create_symlink("inside/target", folder / "link");
  fs::create_symlink("link", folder / "link to link");
  write_file((folder / "link to link").string(), "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_TRUE(fs::is_symlink(folder / "link to link"));
  EXPECT_EQ(text_of(folder / "inside/target"), "new");
  EXPECT_EQ(file_count(folder), 3u);
}

TEST(FileWriter, creates_the_target_of_a_dangling_link) {
  testing::TemporaryFolder folder;
  fs::create_symlink("target", folder / "link");
  write_file((folder / "link").string(), "text");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(text_of(folder / "target"), "text");
}

TEST(FileWriter, reports_a_link_to_itself) {
  testing::TemporaryFolder folder;
  fs::create_symlink("loop", folder / "loop");
  expect_error([&] { write_file((folder / "loop").string(), "text"); }, "Too many levels of symbolic links");
  EXPECT_TRUE(fs::is_symlink(folder / "loop"));
}

TEST(FileWriter, writes_through_a_pipe_that_stays) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "pipe").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::string received(4, '\0');
  std::thread reader([&] {
    const int pipe = ::open(path.c_str(), O_RDONLY);
    if (::read(pipe, received.data(), received.size()) != 4) received.clear();
    ::close(pipe);
  });
  write_file(path, "text");
  reader.join();
  EXPECT_EQ(received, "text");
  EXPECT_TRUE(fs::is_fifo(path));
}

TEST(FileWriter, writes_devices_in_place) {
  write_file("/dev/null", "text");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST(FileWriter, writes_to_an_open_descriptor_without_renaming) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "a").string();
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(::write(descriptor, "first ", 6), 6);
  const std::string name = "/dev/fd/" + std::to_string(descriptor);
  EXPECT_EQ(descriptor_of(name), descriptor);
  write_file(name, "second ");
  fs::create_symlink(name, folder / "link");
  EXPECT_EQ(descriptor_of((folder / "link").string()), descriptor);
  write_file((folder / "link").string(), "third");
  ::close(descriptor);
  EXPECT_EQ(text_of(path), "first second third");
  expect_error([&] { write_file(name, "text"); }, "Bad file descriptor");
}

TEST(FileWriter, finds_standard_output_under_its_names) {
  EXPECT_EQ(descriptor_of("/dev/stdout"), 1);
  EXPECT_EQ(descriptor_of("/dev/../dev/stderr"), 2);
  EXPECT_EQ(descriptor_of("/proc/self/fd/1"), 1);
  EXPECT_EQ(descriptor_of("/dev/null"), -1);
  EXPECT_EQ(descriptor_of("stdout"), -1);
}

TEST(IsSameFile, follows_links_and_recognizes_descriptor_names) {
  testing::TemporaryFolder folder;
  const std::string a = (folder / "a").string(), link = (folder / "link").string();
  fs::create_symlink("a", link);
  for (const bool exists : {false, true}) {
    if (exists) write_file(a, "text");
    EXPECT_TRUE(is_same_file(a, link));
    EXPECT_TRUE(is_same_file(a, (folder / "./a").string()));
    EXPECT_FALSE(is_same_file(a, (folder / "b").string()));
    EXPECT_FALSE(is_same_file(a, "/dev/stdout"));
  }
  EXPECT_TRUE(is_same_file("/dev/fd/1", "/dev/stdout"));
  EXPECT_FALSE(is_same_file("/dev/stderr", "/dev/stdout"));
}

TEST(FileWriter, keeps_the_permissions_of_the_replaced_file) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "a").string();
  write_file(path, "old");
  fs::permissions(path, fs::perms(0640));
  write_file(path, "new");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms(0640));
}

TEST(FileWriter, accepts_names_of_maximal_length) {
  testing::TemporaryFolder folder;
  for (const std::size_t length : {249, 250, 254, 255}) {
    const std::string path = (folder / std::string(length, 'n')).string();
    write_file(path, "text");
    EXPECT_EQ(text_of(path), "text");
  }
  expect_error([&] { write_file((folder / std::string(256, 'n')).string(), "text"); }, "File name too long");
  EXPECT_EQ(file_count(folder), 4u);
}

TEST(FileWriter, creates_a_new_file_beside_those_that_exist) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "a").string();
  {
    FileWriter first(FileWriter::NewFile{}, path);
    first.write("1");
    FileWriter second(FileWriter::NewFile{}, path);
    second.write("2");
    EXPECT_EQ(second.path(), path + ".2");
    first.commit();
    second.commit();
    FileWriter abandoned(FileWriter::NewFile{}, path);
    EXPECT_EQ(abandoned.path(), path + ".3");
  }
  EXPECT_EQ(text_of(path), "1");
  EXPECT_EQ(text_of(path + ".2"), "2");
  EXPECT_EQ(file_count(folder), 2u);
}

TEST(FileWriterDeathTest, a_signal_removes_unfinished_files) {
  testing::TemporaryFolder folder;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EXIT(
        {
          remove_unfinished_files_on_signals();
          FileWriter replacing((folder / "a").string());
          FileWriter creating(FileWriter::NewFile{}, (folder / "b").string());
          replacing.write("half");
          ::raise(signal);
        },
        ::testing::KilledBySignal(signal), "");
    EXPECT_EQ(file_count(folder), 0u);
  }
}

TEST(FileWriter, reports_a_full_disk) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  expect_error([] { write_file("/dev/full", "text"); }, "cannot write '/dev/full': No space left on device");
  EXPECT_TRUE(fs::exists("/dev/full"));
}

TEST(FileWriter, reports_folders_and_missing_folders) {
  testing::TemporaryFolder folder;
  const std::string missing = (folder / "none/a").string();
  expect_error([&] { write_file(missing, "text"); }, "'" + missing + "': No such file");
  expect_error([&] { write_file(folder.path().string(), "text"); }, "it is a folder");
  expect_error([&] { write_file(folder.path().string() + "/", "text"); }, "does not name a file");
  expect_error([&] { write_file("", "text"); }, "cannot write ''");
  expect_error([&] { check_can_write(missing); }, "No such file");
  EXPECT_EQ(file_count(folder), 0u);
}

TEST(ReadFile, reports_files_that_are_not_regular) {
  testing::TemporaryFolder folder;
  const std::string missing = (folder / "none").string(), pipe = (folder / "pipe").string();
  expect_error([&] { read_file(missing); }, "cannot read '" + missing + "': No such file");
  expect_error([&] { read_file(folder.path().string()); }, "it is a folder");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error([&] { read_file(pipe); }, "'" + pipe + "': it is not a regular file");
}

TEST(InputFile, reads_parts_and_reports_an_early_end) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "a").string();
  write_file(path, "0123456789");
  const InputFile file(path);
  EXPECT_EQ(file.size(), 10u);
  std::string part(3, '\0');
  file.read(4, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "456");
  expect_error([&] { file.read(8, std::as_writable_bytes(std::span(part))); }, "ends after 10 bytes, but 1 more are");
}

}  // namespace
}  // namespace bitfold
