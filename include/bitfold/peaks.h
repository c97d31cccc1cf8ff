// Measured peak multiply rate of one core; the efficiency of kernels is relative to it. Each call measures again,
// because clock rates change, and takes a millisecond or two. All functions throw Error if the CPU lacks the
// instruction set.
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// Runs a fixed number of products of 8-bit integers (16-bit with AVX2) in the fastest unit of the instruction set:
/// pairs of tiles, vpdpbusd, or vpmaddwd with its sum; for Isa::portable, a small matrix product in plain C++. Operands
/// are in registers. Returns the number of multiply-accumulates.
std::int64_t multiply_integers(Isa isa);

/// Multiply-accumulates per second of multiply_integers(), the best of a few runs; 0 for Isa::portable.
double integer_peak(Isa isa);

/// Fused multiply-adds of floats per second with the widest vectors of the instruction set; 0 for Isa::portable.
double float_peak(Isa isa);

}  // namespace bitfold
