// Repeats a notebook on quantization with Bitfold, cell by cell.
//
// The notebook quantizes a 4x4 tensor, a layer and a LeNet, folds a BatchNorm and times the fused block. Its first half
// teaches the basics but contains instructive mistakes. This program prints its results beside Bitfold's and explains
// the differences. docs/internals/arithmetic.md derives the formulas.
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
