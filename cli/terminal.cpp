#include "terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bitfold/error.h"

namespace bitfold::cli {
namespace {

int first_error = 0;  // errno of the first failed write to standard output

// Bytes of the UTF-8 character at the start of `text`; 0 if it is invalid. Overlong forms and surrogates are invalid.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0)) return 0;
    return follows(1) && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5) {
    if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90)) return 0;
    return follows(1) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void note_failure(std::FILE* file) {
  if (file == stdout && first_error == 0) first_error = errno != 0 ? errno : EIO;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    std::size_t count = character_bytes(text);
    const auto first = static_cast<unsigned char>(text[0]);
    const bool is_c1 = count == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    if (count == 0 || first < 0x20 || first == 0x7f || is_c1) {
      count = is_c1 ? 2 : 1;
      for (const char c : text.substr(0, count))
        result += c == '\n' ? "\\n" : c == '\t' ? "\\t" : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      result += text.substr(0, count);
    }
    text.remove_prefix(count);
  }
  return result;
}

void print_raw(std::FILE* to, std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), to) != text.size()) note_failure(to);
}

void print_line(std::FILE* to, std::string_view line) { print_raw(to, printable(line) + "\n"); }

void finish_standard_output() {
  errno = 0;
  if (std::fflush(stdout) != 0) note_failure(stdout);
  if (first_error != 0) throw Error(fmt::format("cannot write standard output: {}", std::strerror(first_error)));
}

void occupy_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // open() takes the lowest free number, which is `descriptor`. It is opened in the wrong direction, so that reading
    // or writing still fails.
    if (::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

}  // namespace bitfold::cli
