// Progress reports and cancellation of long calls.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "bitfold/error.h"

namespace bitfold {

/// Thrown by a call that was cancelled through its Progress.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

/// The progress and cancel options of a long call. The default reports nothing and never cancels.
struct Progress {
  /// Called by one thread at a time with the name of the phase ("calibrating"), the work done and the total. It may
  /// throw to end the call.
  std::function<void(std::string_view phase, std::int64_t done, std::int64_t total)> report;
  /// Ends the call when it becomes true; another thread or a signal handler may set it. A measurement or search then
  /// returns what it has so far; every other call throws Cancelled. May be null.
  const std::atomic<bool>* cancel = nullptr;

  bool is_cancelled() const { return cancel != nullptr && cancel->load(); }
  /// Reports without cancelling.
  void notify(std::string_view phase, std::int64_t done, std::int64_t total) const {
    if (report) report(phase, done, total);
  }
  /// Reports, and throws Cancelled after cancel was set.
  void operator()(std::string_view phase, std::int64_t done, std::int64_t total) const {
    notify(phase, done, total);
    if (is_cancelled()) throw Cancelled();
  }
};

/// Receives warnings: problems that do not end a call. The library itself prints nothing. An empty function discards
/// warnings.
using WarningFunction = std::function<void(const std::string& text)>;

}  // namespace bitfold
