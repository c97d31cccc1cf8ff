// What every verb prints with: JSON, tables, progress, notes.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitfold/batch.h"

namespace bitfold::cli {

/// The --json option of a verb, and its messages to people. They go to standard output, or to standard error where a
/// result goes to standard output, so that a pipe gets the result alone.
class Output {
 public:
  /// Has the verb's files checked (paths.h) when the command line is parsed.
  explicit Output(CLI::App& verb);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// One line for people; control characters are escaped.
  void say(const std::string& line) const;
  void say_all(const std::vector<std::string>& lines) const;
  /// Writes the verb's result where --json says; nothing without it. Throws Error when the file cannot be written.
  void write(const nlohmann::ordered_json& result) const;
  /// A table with aligned columns: the first row is the header; numbers (all but column 0) are right-aligned.
  void table(const std::vector<std::vector<std::string>>& rows) const;

 private:
  std::string path_;
  std::FILE* people_ = stdout;
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
