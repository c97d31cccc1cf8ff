// Output of every verb: JSON, tables, progress, notes.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bitfold/progress.h"

namespace bitfold::cli {

/// All output of a verb, including its --json option. Text goes to standard output. If a result goes there, text goes
/// to standard error, so that a pipe receives only the result.
class Output {
 public:
  /// Adds --json, and calls check_paths() once the command line is parsed.
  explicit Output(CLI::App& verb);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// One line for the user; control characters are escaped.
  void say(const std::string& line) const;
  void say_all(const std::vector<std::string>& lines) const;
  /// Writes the verb's result to the --json destination, if given. Throws Error if the file cannot be written.
  void write(const nlohmann::ordered_json& result) const;
  /// Prints a table with aligned columns. The first row is the header; all columns but the first are right-aligned.
  /// On a terminal, cells are cut so that lines fit.
  void table(const std::vector<std::vector<std::string>>& rows) const;

 private:
  std::string path_;
  std::FILE* people_ = stdout;
};

/// A progress bar on standard error, labelled with the current phase. It is drawn only if standard error is a terminal.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  /// The Progress that draws this bar, which must outlive it. Ctrl-C during a measurement or search sets `cancel`; if
  /// `cancel` is null, Ctrl-C ends the program.
  Progress progress(const std::atomic<bool>* cancel = nullptr);
  /// Removes the bar from the terminal.
  void clear();

 private:
  void draw(std::string_view phase, std::int64_t done, std::int64_t total);
  bool is_terminal_;
  bool drawn_ = false;
  double last_s_ = 0;
};

/// A library's warning, on standard error.
void print_warning(const std::string& text);

/// "99.18 %"
std::string percent(double fraction);
/// "1.2 MB"; decimal units.
std::string bytes(double count);
/// "341.2 us", "3.41 ms", "1.2 s"
std::string duration(double microseconds);
/// "12.0 kB -> 3.1 kB (3.87x smaller)", or larger.
std::string size_change(double before, double after);
/// "3.41 ms -> 1.20 ms (2.84x faster)", or slower.
std::string speed_change(double before_us, double after_us);
/// "41.2 M"
std::string count(double n);
/// A number valid in JSON: null for infinities and NaN.
nlohmann::ordered_json finite(double x);
/// Size of a model on disk in bytes, external data included. Throws Error when it cannot be read.
std::int64_t file_bytes(const std::string& path);

}  // namespace bitfold::cli
