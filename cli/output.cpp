#include "output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "bitfold/error.h"
#include "bitfold/onnx.h"

namespace bitfold::cli {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Output::Output(CLI::App& verb) {
  verb.add_option("--json", path_, "Write the result as JSON to this file, or to standard output with -")
      ->type_name("FILE|-");
}

void Output::say(const std::string& line) const { fmt::print(path_ == "-" ? stderr : stdout, "{}\n", line); }

void Output::say_all(const std::vector<std::string>& lines) const {
  for (const auto& line : lines) say(line);
}

void Output::write(const nlohmann::ordered_json& result) const {
  if (path_.empty()) return;
  const std::string text = result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (path_ == "-") {
    fmt::print("{}", text);
    std::fflush(stdout);
    return;
  }
  write_text(path_, text);
}

void Output::table(const std::vector<std::vector<std::string>>& rows) const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      if (i > 0) line += "  ";
      line += i == 0 ? fmt::format("{:<{}}", rows[r][i], widths[i]) : fmt::format("{:>{}}", rows[r][i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    say(line);
    if (r == 0) say(std::string(line.size(), '-'));
  }
}

ProgressBar::ProgressBar(std::string label) : label_(std::move(label)), is_terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

Progress ProgressBar::progress() {
  if (!is_terminal_) return {};
  return {.report = &ProgressBar::draw, .context = this};
}

void ProgressBar::draw(void* self, std::int64_t done, std::int64_t total) {
  constexpr double kInterval_s = 0.1;
  constexpr int kWidth = 30;
  auto* bar = static_cast<ProgressBar*>(self);
  const double now = now_s();
  if (now - bar->last_s_ < kInterval_s && done < total) return;
  bar->last_s_ = now;
  bar->drawn_ = true;
  const int filled = total > 0 ? static_cast<int>(std::min<std::int64_t>(kWidth, kWidth * done / total)) : 0;
  fmt::print(stderr, "\r{} [{}{}] {}/{}", bar->label_, std::string(static_cast<std::size_t>(filled), '#'),
             std::string(static_cast<std::size_t>(kWidth - filled), '.'), done, total);
  std::fflush(stderr);
}

void write_text(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  std::error_code code;
  if (file) std::filesystem::rename(temporary, path, code);
  if (!file || code) {
    std::filesystem::remove(temporary, code);
    throw Error(fmt::format("{}: cannot be written", path));
  }
}

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
