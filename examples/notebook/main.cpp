// A notebook on quantization, walked cell by cell with Bitfold.
//
// The notebook quantizes a 4x4 tensor, a layer and a LeNet, folds a BatchNorm and times the fused block. Its first half
// is right enough to learn from, and wrong in ways worth seeing; this program computes both, its result and ours, and
// says why they differ. docs/quantization.md derives what is only said here.
#include <cstdio>

#include "bitfold/bitfold.h"
#include "cells.h"

int main() {
  try {
    notebook::walk_tensor();
    notebook::walk_schemes();
    notebook::walk_layer();
    notebook::walk_network();
    notebook::walk_folding();
    notebook::walk_fused();
  } catch (const bitfold::Error& error) {
    std::fprintf(stderr, "notebook: %s\n", error.what());
    return 1;
  }
  return 0;
}
