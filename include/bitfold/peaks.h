// How much one core could multiply at the moment, whatever for: what speeds are held against. Measured when asked,
// because clocks change; it takes a millisecond or two. All throw Error where the CPU has no such instruction set.
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// A fixed number of products of 8-bit integers (16-bit ones with AVX2) in an instruction set's fastest unit: pairs of
/// tiles, vpdpbusd, vpmaddwd with its sum; a small matrix product in plain C++ where there is none. Operands are in
/// registers. Returns the multiply-accumulates done.
std::int64_t multiply_integers(Isa isa);

/// Multiply-accumulates per second of multiply_integers(), the best of a few times; 0 for Isa::portable, which has no
/// such unit.
double integer_peak(Isa isa);

/// Fused multiply-adds of floats per second, with the widest vectors of the instruction set; 0 for Isa::portable.
double float_peak(Isa isa);

}  // namespace bitfold
