// Fuzzes the TOML readers: any bytes either throw Error or give a recipe, and likewise for preprocessing.
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "bitfold/quantize.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bitfold::fuzz::MemoryFile file;
  file.put(data, size);
  try {
    bitfold::load_recipe(file.path());
  } catch (const bitfold::Error&) {
  }
  try {
    bitfold::load_preprocess(file.path());
  } catch (const bitfold::Error&) {
  }
  return 0;
}
