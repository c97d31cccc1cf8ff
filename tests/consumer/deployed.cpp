// The deployed part of a product: loads and runs a network, without the quantizer.
#include <bitfold/error.h>
#include <bitfold/onnx.h>
#include <bitfold/session.h>

#include <cstdio>

int main(int argc, char** argv) {
  try {
    bitfold::Session session(bitfold::load_onnx(argc > 1 ? argv[1] : "missing.onnx"));
    std::printf("arena %zu bytes\n", session.arena_bytes());
  } catch (const bitfold::Error& e) {
    std::printf("refused: %s\n", e.what());
  }
  return 0;
}
