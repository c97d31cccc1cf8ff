// Fuzzes parse_idx(): any bytes either throw Error or give an array (plain or gzipped).
#include <cstdint>
#include <span>

#include "bitfold/error.h"
#include "data/idx.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    bitfold::parse_idx(std::as_bytes(std::span(data, size)), "fuzz.idx");
  } catch (const bitfold::Error&) {
  }
  return 0;
}
