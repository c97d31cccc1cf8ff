#include "output.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "bitfold/error.h"
#include "bitfold/file.h"
#include "bitfold/onnx.h"
#include "paths.h"
#include "terminal.h"

namespace bitfold::cli {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// JSON allows DEL and U+0080 to U+009F in strings; a terminal interprets them as commands.
std::string escape_for_terminals(const std::string& json) {
  std::string text;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const auto byte = static_cast<unsigned char>(json[i]);
    const auto next = static_cast<unsigned char>(i + 1 < json.size() ? json[i + 1] : 0);
    if (byte == 0x7f)
      text += "\\u007f";
    else if (byte == 0xc2 && next >= 0x80 && next < 0xa0)
      text += fmt::format("\\u{:04x}", next), ++i;
    else
      text += json[i];
  }
  return text;
}

// Width in characters: the number of bytes that begin a UTF-8 character.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

/// Columns of the terminal, or of the environment variable COLUMNS; none if lines may have any length.
std::optional<std::size_t> line_width(std::FILE* to) {
  winsize size{};
  if (::isatty(::fileno(to)) != 0 && ::ioctl(::fileno(to), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const long count = columns == nullptr ? 0 : std::strtol(columns, nullptr, 10);
  return count > 0 ? std::optional(static_cast<std::size_t>(count)) : std::nullopt;
}

/// Narrows the widest columns until a line of them fits, but none below 10 characters.
void narrow(std::vector<std::size_t>& widths, std::size_t line) {
  std::size_t total = 2 * (widths.size() - 1);
  for (const std::size_t width : widths) total += width;
  while (total > line) {
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= 10) return;
    --*widest;
    --total;
  }
}

/// Replaces the start or the end of a text that is too wide by "...".
std::string cut(const std::string& text, std::size_t width, bool keeps_end) {
  if (width_of(text) <= width) return text;
  const auto begins = [&](std::size_t i) { return (static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80U; };
  std::size_t at = keeps_end ? text.size() : 0;
  for (std::size_t kept = 0; kept < width - 3; ++kept) {
    if (keeps_end)
      while (!begins(--at)) continue;
    else
      while (++at < text.size() && !begins(at)) continue;
  }
  return keeps_end ? "..." + text.substr(at) : text.substr(0, at) + "...";
}

}  // namespace

Output::Output(CLI::App& verb) {
  verb.add_option("--json", path_, "Write the result as JSON to this file, or to standard output with -")
      ->type_name("FILE|-");
  verb.parse_complete_callback([this, &verb] {
    check_paths(verb);
    people_ = writes_to_standard_output(verb) ? stderr : stdout;
  });
}

void Output::say(const std::string& line) const { print_line(people_, line); }

void Output::say_all(const std::vector<std::string>& lines) const {
  for (const auto& line : lines) say(line);
}

void Output::write(const nlohmann::ordered_json& result) const {
  if (path_.empty()) return;
  const std::string text =
      escape_for_terminals(result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)) + "\n";
  if (path_ != "-") return write_file(path_, text);
  print_raw(stdout, text);
  finish_standard_output();
}

void Output::table(const std::vector<std::vector<std::string>>& rows) const {
  std::vector<std::vector<std::string>> cells = rows;
  std::vector<std::size_t> widths;
  for (auto& row : cells)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths.size() <= i) widths.push_back(0);
      row[i] = printable(row[i]);
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  if (const auto line = line_width(people_); line && !widths.empty()) narrow(widths, *line);
  for (auto& row : cells)  // the ends of names differ, and the starts of other texts
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = cut(row[i], widths[i], i == 0);
  for (std::size_t r = 0; r < cells.size(); ++r) {
    std::string line;
    for (std::size_t i = 0; i < cells[r].size(); ++i) {
      if (i > 0) line += "  ";
      const std::string padding(widths[i] - width_of(cells[r][i]), ' ');
      line += i == 0 ? cells[r][i] + padding : padding + cells[r][i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    say(line);
    if (r == 0) say(std::string(width_of(line), '-'));
  }
}

ProgressBar::ProgressBar() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::clear() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
  drawn_ = false;
}

Progress ProgressBar::progress(const std::atomic<bool>* cancel) {
  if (!is_terminal_) return {.cancel = cancel};
  return {.report = [this](std::string_view phase, std::int64_t done, std::int64_t total) { draw(phase, done, total); },
          .cancel = cancel};
}

void ProgressBar::draw(std::string_view phase, std::int64_t done, std::int64_t total) {
  constexpr double kInterval_s = 0.1;
  constexpr int kWidth = 30;
  const double now = now_s();
  if (now - last_s_ < kInterval_s && done < total) return;
  last_s_ = now;
  drawn_ = true;
  const int filled = total > 0 ? static_cast<int>(std::min<std::int64_t>(kWidth, kWidth * done / total)) : 0;
  fmt::print(stderr, "\r\033[K{} [{}{}] {}/{}", phase, std::string(static_cast<std::size_t>(filled), '#'),
             std::string(static_cast<std::size_t>(kWidth - filled), '.'), done, total);
  std::fflush(stderr);
}

void print_warning(const std::string& text) { print_line(stderr, "warning: " + text); }

std::string percent(double fraction) { return fmt::format("{:.2f} %", fraction * 100); }

std::string bytes(double count) {
  if (count < 1e3) return fmt::format("{:.0f} B", count);
  if (count < 1e6) return fmt::format("{:.1f} kB", count / 1e3);
  if (count < 1e9) return fmt::format("{:.2f} MB", count / 1e6);
  return fmt::format("{:.2f} GB", count / 1e9);
}

std::string duration(double microseconds) {
  if (microseconds < 1e3) return fmt::format("{:.1f} us", microseconds);
  if (microseconds < 1e6) return fmt::format("{:.2f} ms", microseconds / 1e3);
  return fmt::format("{:.2f} s", microseconds / 1e6);
}

std::string size_change(double before, double after) {
  const bool is_larger = after > before;
  return fmt::format("{} -> {} ({:.2f}x {})", bytes(before), bytes(after), is_larger ? after / before : before / after,
                     is_larger ? "larger" : "smaller");
}

std::string speed_change(double before_us, double after_us) {
  const bool is_slower = after_us > before_us;
  return fmt::format("{} -> {} ({:.2f}x {})", duration(before_us), duration(after_us),
                     is_slower ? after_us / before_us : before_us / after_us, is_slower ? "slower" : "faster");
}

std::string count(double n) {
  if (n < 1e4) return fmt::format("{:.0f}", n);
  if (n < 1e6) return fmt::format("{:.1f} k", n / 1e3);
  if (n < 1e9) return fmt::format("{:.2f} M", n / 1e6);
  return fmt::format("{:.2f} G", n / 1e9);
}

nlohmann::ordered_json finite(double x) {
  if (!std::isfinite(x)) return nullptr;
  return x;
}

std::int64_t file_bytes(const std::string& path) { return onnx_file_bytes(path); }

}  // namespace bitfold::cli
