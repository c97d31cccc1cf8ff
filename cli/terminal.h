// Text for the user: names from files are printed without control characters; losing standard output is an error.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace bitfold::cli {

/// `text` with control characters and bytes that are not UTF-8 written as \n, \t or \xNN.
std::string printable(std::string_view text);

/// Writes `line`, made printable, and a newline. A failure is recorded for finish_standard_output, and work continues.
void print_line(std::FILE* to, std::string_view line);
/// Writes text for other programs, without changes.
void print_raw(std::FILE* to, std::string_view text);

/// Flushes standard output. Throws Error when anything that was written to it has been lost.
void finish_standard_output();

/// Occupies closed standard descriptors, so that no other file gets their numbers. Reading or writing them still fails.
void occupy_standard_descriptors();

}  // namespace bitfold::cli
