// Places buffers of known size and lifetime in one arena so that no two live ones overlap.
//
// Blocks are placed in order of size, largest first, each in the smallest gap that fits among the placed blocks with
// overlapping lifetimes. If the arena is larger than the lower bound, the block that ends at its end is moved to the
// front of the order and all blocks are placed again; the best of these attempts is used. Source: Pisarchyk and Lee,
// "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5 (offset calculation, greedy by size).
//
// The work is bounded: the number of attempts decreases with the number of pairs of simultaneously live blocks. If
// there are millions of pairs, a single pass in the order of the steps gives each block the smallest free gap.
//
// Threads divide the rows of a value: the first half of its bytes belongs to one core, the second half to another. A
// core that writes cache lines last written by another core waits for each of them. So for several threads, a block is
// centred on the midpoint of a larger block if that place is free, unless this makes the arena more than a tenth
// larger:
//
//        [       value a       ]       a
//            [   value c   ]           shares the midpoint of a, so that its lines stay with their cores
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace bitfold::engine {

/// Offsets are multiples of this: a cache line, an AVX-512 vector.
inline constexpr std::size_t kArenaAlignment = 64;

/// A buffer that is live from step `first` to step `last`, inclusive.
struct Block {
  std::size_t bytes = 0;
  int first = 0, last = 0;
};

struct Placement {
  std::vector<std::size_t> offsets;  ///< One per block, in the given order.
  std::size_t arena_bytes = 0;
};

Placement place_blocks(std::span<const Block> blocks, int threads = 1);

/// The largest sum of (aligned) sizes live at one step; no placement can be smaller.
std::size_t arena_lower_bound(std::span<const Block> blocks);

}  // namespace bitfold::engine
