// Fuzzes parse_npy() and parse_npz(): any bytes either throw Error or give arrays.
#include <cstdint>
#include <span>

#include "bitfold/error.h"
#include "data/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    bitfold::parse_npy(bytes, "fuzz.npy");
  } catch (const bitfold::Error&) {
  }
  try {
    bitfold::parse_npz(bytes, "fuzz.npz");
  } catch (const bitfold::Error&) {
  }
  return 0;
}
