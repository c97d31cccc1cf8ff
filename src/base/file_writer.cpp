#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

#include "base/check.h"
#include "base/file.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

// The names of files that are being written, where a signal handler can read them: it must not allocate or lock.
struct Slot {
  enum State { free, claimed, live };
  std::atomic<int> state{free};
  std::array<char, PATH_MAX> name{};
};
std::array<Slot, 16> slots;

// The slot that stores `name`; -1 if all are taken or the name is longer than any file's.
int remember(const std::string& name) {
  if (name.size() >= PATH_MAX) return -1;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    int state = Slot::free;
    if (!slots[i].state.compare_exchange_strong(state, Slot::claimed)) continue;
    std::memcpy(slots[i].name.data(), name.c_str(), name.size() + 1);
    slots[i].state = Slot::live;
    return static_cast<int>(i);
  }
  return -1;
}

void forget(int slot) {
  if (slot >= 0) slots[static_cast<std::size_t>(slot)].state = Slot::free;
}

extern "C" void remove_unfinished_files(int signal) {
  for (Slot& slot : slots)
    if (slot.state == Slot::live) ::unlink(slot.name.data());
  std::signal(signal, SIG_DFL);
  ::raise(signal);  // ends the process when the handler returns
}

struct Destination {
  std::string path;  // with symbolic links at its end resolved
  int descriptor = -1;
};

// Follows links one by one, because those in /dev that represent open descriptors must not be resolved to a file.
Destination resolve(const std::string& name) {
  constexpr int kMaxLinks = 40;  // the limit of Linux
  std::error_code error;
  const fs::path descriptors = fs::canonical("/proc/self/fd", error);
  fs::path path = name;
  for (int links = 0; links <= kMaxLinks; ++links) {
    const fs::path parent = path.has_parent_path() ? path.parent_path() : ".";
    const fs::path folder = fs::canonical(parent, error);
    if (error) return {path.string()};  // not thrown here: creating the file fails for the same reason
    path = folder / path.filename();
    const std::string last = path.filename().string();
    int descriptor = -1;
    if (folder == descriptors &&
        std::from_chars(last.data(), last.data() + last.size(), descriptor).ptr == last.data() + last.size())
      return {path.string(), descriptor};
    const fs::path target = fs::read_symlink(path, error);
    if (error) return {path.string()};
    path = folder / target;
  }
  return {path.string()};
}

std::string random_name() {
  std::random_device random;
  return fmt::format(".bitfold-{:08x}{:08x}", random(), random());
}

}  // namespace

int descriptor_of(const std::string& path) { return resolve(path).descriptor; }

bool is_same_file(const std::string& a, const std::string& b) {
  const Destination first = resolve(a), second = resolve(b);
  if (first.descriptor >= 0 || second.descriptor >= 0) return first.descriptor == second.descriptor;
  std::error_code ignored;  // paths of files that do not exist are compared as text
  return first.path == second.path || fs::equivalent(first.path, second.path, ignored);
}

void check_can_write(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  // Opening a device or a pipe may have side effects, and may block.
  if (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status)) return;
  if (descriptor_of(path) < 0) FileWriter{path};
}

void remove_unfinished_files_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
      std::signal(signal, remove_unfinished_files);
  }
}

FileWriter::FileWriter(std::string path) : path_(std::move(path)) {
  const Destination destination = resolve(path_);
  target_ = destination.path;
  if (destination.descriptor >= 0) {
    if (destination.descriptor == STDOUT_FILENO) std::fflush(stdout);  // text printed earlier must come first
    const int flags = ::fcntl(destination.descriptor, F_GETFL);
    check(flags >= 0 && (flags & O_ACCMODE) != O_RDONLY, "cannot write '{}': {}", path_, std::strerror(EBADF));
    const int descriptor = ::dup(destination.descriptor);
    if (descriptor >= 0) file_ = ::fdopen(descriptor, "wb");
    if (file_ == nullptr) fail_with_errno();
    return;
  }
  const fs::path target = target_;
  check(!target_.empty() && target.has_filename(), "cannot write '{}': it does not name a file", path_);
  struct stat info {};
  const bool exists = ::stat(target_.c_str(), &info) == 0;
  if (!exists && errno != ENOENT) fail_with_errno();
  check(!exists || !S_ISDIR(info.st_mode), "cannot write '{}': it is a folder", path_);
  check(!exists || !S_ISBLK(info.st_mode), "cannot write '{}': it is a block device", path_);
  if (exists && !S_ISREG(info.st_mode)) {
    const int descriptor = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (descriptor >= 0) file_ = ::fdopen(descriptor, "wb");
    if (file_ == nullptr) fail_with_errno();
    return;
  }
  // Renaming would replace a file that may not be written.
  if (exists && ::access(target_.c_str(), W_OK) != 0) fail_with_errno();
  check(target.filename().string().size() <= NAME_MAX, "cannot write '{}': {}", path_, std::strerror(ENAMETOOLONG));
  do {
    unfinished_ = (target.parent_path() / random_name()).string();
    slot_ = remember(unfinished_);  // registered before the file exists, because a signal may come at any moment
    if (create(unfinished_)) break;
    forget(std::exchange(slot_, -1));
    unfinished_.clear();
  } while (errno == EEXIST);
  if (file_ == nullptr) fail_with_errno();
  if (exists) ::fchmod(::fileno(file_), info.st_mode & 0777);
}

FileWriter::FileWriter(NewFile, std::string path) : path_(std::move(path)) {
  const std::string stem = path_;
  for (int number = 2; !create(path_) && errno == EEXIST; ++number) path_ = fmt::format("{}.{}", stem, number);
  if (file_ == nullptr) fail_with_errno();
  target_ = unfinished_ = path_;
  slot_ = remember(path_);
}

// Returns false and sets errno if the file cannot be created.
bool FileWriter::create(const std::string& name) {
  const int descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return false;
  file_ = ::fdopen(descriptor, "wb");
  if (file_ != nullptr) return true;
  ::unlink(name.c_str());
  ::close(descriptor);
  errno = ENOMEM;
  return false;
}

FileWriter::~FileWriter() {
  if (file_ != nullptr) std::fclose(file_);
  if (!unfinished_.empty()) ::unlink(unfinished_.c_str());
  forget(slot_);
}

void FileWriter::fail_with_errno() {
  const int error = errno;
  fail("cannot write '{}': {}", path_, std::strerror(error));
}

void FileWriter::write(std::span<const std::byte> bytes) {
  if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) fail_with_errno();
}

void FileWriter::commit() {
  if (std::fflush(file_) != 0) fail_with_errno();
  // Renaming a file whose bytes have not reached the disk could leave half of it after a power failure.
  if (!unfinished_.empty() && ::fsync(::fileno(file_)) != 0) fail_with_errno();
  std::FILE* file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0) fail_with_errno();
  if (unfinished_.empty()) return;
  if (unfinished_ != target_ && ::rename(unfinished_.c_str(), target_.c_str()) != 0) fail_with_errno();
  forget(std::exchange(slot_, -1));
  unfinished_.clear();
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  FileWriter writer(path);
  writer.write(bytes);
  writer.commit();
}

void write_file(const std::string& path, std::string_view text) { write_file(path, std::as_bytes(std::span(text))); }

}  // namespace bitfold
