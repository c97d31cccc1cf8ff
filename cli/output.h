// What every verb prints with: JSON, tables, progress, notes.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitfold/batch.h"

namespace bitfold::cli {

/// The --json option of a verb. With "-" the JSON goes to standard output and everything said to people to
/// standard error, so that a pipe gets JSON alone.
class Output {
 public:
  explicit Output(CLI::App& verb);

  /// A line for people.
  void say(const std::string& line) const;
  void say_all(const std::vector<std::string>& lines) const;
  /// Writes the verb's result where --json says; nothing without it. Throws Error when the file cannot be written.
  void write(const nlohmann::ordered_json& result) const;
  /// A table with aligned columns: the first row is the header; numbers (all but column 0) are right-aligned.
  void table(const std::vector<std::vector<std::string>>& rows) const;

 private:
  std::string path_;
};

/// A bar on standard error while it lives, when that is a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  Progress progress();

 private:
  static void draw(void* self, std::int64_t done, std::int64_t total);
  std::string label_;
  bool is_terminal_;
  bool drawn_ = false;
  double last_s_ = 0;
};

/// Writes a file under a temporary name and renames it. Throws Error when it cannot be written.
void write_text(const std::string& path, const std::string& text);

/// "99.18 %"
std::string percent(double fraction);
/// "1.2 MB"; decimal units.
std::string bytes(double count);
/// "341.2 us", "3.41 ms", "1.2 s"
std::string duration(double microseconds);
/// "41.2 M"
std::string count(double n);
/// A number JSON can hold: null for infinities and NaN.
nlohmann::ordered_json finite(double x);
/// Size of a model on disk in bytes, external data included. Throws Error when it cannot be read.
std::int64_t file_bytes(const std::string& path);

}  // namespace bitfold::cli
