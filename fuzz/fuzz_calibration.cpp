// Fuzzes load_calibration(): any bytes either throw Error or give statistics that survive saving and loading.
#include "bitfold/calibrate.h"
#include "bitfold/error.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bitfold::fuzz::MemoryFile file, saved;
  file.put(data, size);
  saved.put(nullptr, 0);
  bitfold::Calibration calibration;
  try {
    calibration = bitfold::load_calibration(file.path());
  } catch (const bitfold::Error&) {
    return 0;
  }
  bitfold::save_calibration(calibration, saved.path());
  if (!(bitfold::load_calibration(saved.path()) == calibration)) std::abort();
  return 0;
}
