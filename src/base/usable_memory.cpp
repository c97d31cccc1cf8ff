#include <algorithm>
#include <atomic>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>

#include "base/check.h"
#include "base/memory.h"
#include "bitfold/memory.h"

namespace bitfold {
namespace {

constexpr std::size_t kUnknown = std::numeric_limits<std::size_t>::max();
/// Smaller requests are always allowed, because reading the available memory takes some 30 us.
constexpr std::size_t kAlwaysAllowed = std::size_t{64} << 20;

std::atomic<std::size_t> memory_limit{0};

std::size_t available_on_machine() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(line.find(':') + 1)) * 1024;
  return kUnknown;
}

/// The number in a file of a control group; kUnknown if there is none, or if it is "max".
std::size_t number_in(const char* path) {
  std::ifstream file(path);
  std::size_t number = 0;
  return file >> number ? number : kUnknown;
}

std::size_t available_in_group() {
  const std::size_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  return limit - std::min(used, limit);
}

std::string in_words(std::size_t bytes) {
  const auto number = static_cast<double>(bytes);
  if (number >= 1e12) return fmt::format("{:.1f} TB", number * 1e-12);
  if (number >= 1e9) return fmt::format("{:.1f} GB", number * 1e-9);
  if (number >= 1e6) return fmt::format("{:.1f} MB", number * 1e-6);
  return fmt::format("{} bytes", bytes);
}

}  // namespace

std::size_t usable_memory() {
  const std::size_t limit = memory_limit;
  return limit > 0 ? limit : std::min(available_on_machine(), available_in_group());
}

void limit_memory(std::size_t bytes) { memory_limit = bytes; }

std::size_t fixed_memory_limit(std::size_t limit) { return limit > 0 ? limit : memory_limit.load(); }

void check_fits_memory(std::size_t bytes, std::size_t limit) {
  if (limit == 0 && memory_limit == 0 && bytes <= kAlwaysAllowed) return;
  if (limit == 0) limit = usable_memory();
  if (bytes > limit)
    fail("{}, more than the {} of memory that may be used (max_memory_bytes, --max-memory)", in_words(bytes),
         in_words(limit));
}

}  // namespace bitfold
