// Writing results to files, as the tool and the library do it.
#pragma once

#include <string>
#include <string_view>

namespace bitfold {

/// Writes `text` to `path`. A regular file is replaced at once: the text is written under a temporary name in the same
/// folder and renamed. A symbolic link is followed, and stays. A device or a pipe is written in place, and the names of
/// open descriptors (/dev/stdout, /dev/fd/N) write to them. Throws Error naming the path and the reason.
void write_file(const std::string& path, std::string_view text);

/// The descriptor that `path` names: 1 for /dev/stdout, N for /dev/fd/N, and links to them; -1 for every other path.
int descriptor_of(const std::string& path);

/// Whether both paths name one file, existing or not, or one open descriptor.
bool is_same_file(const std::string& a, const std::string& b);

/// Throws Error, as write_file would, when `path` cannot be written. Leaves it as it is.
void check_can_write(const std::string& path);

/// Makes SIGINT, SIGTERM and SIGHUP remove the files that are being written before they end the process. Signals that
/// are ignored stay ignored. For programs: the library itself never installs a handler.
void remove_unfinished_files_on_signals();

}  // namespace bitfold
