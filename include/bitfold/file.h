// Writes result files, for the tool and the library.
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

/// Whether both paths name the same file (it need not exist) or the same open descriptor.
bool is_same_file(const std::string& a, const std::string& b);

/// Throws the Error that write_file would throw if `path` cannot be written. Does not change the file.
void check_can_write(const std::string& path);

/// Makes SIGINT, SIGTERM and SIGHUP remove the files that are being written before they end the process. Ignored
/// signals stay ignored. Only programs should call this; the library never installs a handler by itself.
void remove_unfinished_files_on_signals();

}  // namespace bitfold
