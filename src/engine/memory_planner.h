// Places buffers of known size and lifetime into one arena so that no two live ones overlap.
//
// The largest block is placed first, each block into the smallest gap that holds it among the blocks already placed
// whose lifetimes overlap its own. Where the arena is larger than the lower bound, the block that reaches its end is
// moved to the front of the order and all are placed again; the best of these attempts counts. Source: Pisarchyk and
// Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5 (offset calculation, greedy by
// size).
//
// The work is bounded: the number of attempts falls with the number of pairs of blocks that are alive together, and
// where these pairs are millions, one pass in the order of the steps gives each block the smallest free gap.
//
// Threads divide the rows of a value: the first half of its bytes belongs to one core, the second half to another.
// A core that writes cache lines last written by another core waits for each of them. So for several threads a block
// is centred on the middle of a larger block where that place is free, unless this makes the arena more than a tenth
// larger:
//
//        [       value a       ]       a
//            [   value c   ]           has the middle of a, so that its lines stay with their cores
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace bitfold::engine {

/// Offsets are multiples of this: one cache line, one AVX-512 vector.
inline constexpr std::size_t kArenaAlignment = 64;

/// A buffer that must exist from step `first` to step `last`, both included.
struct Block {
  std::size_t bytes = 0;
  int first = 0, last = 0;
};

struct Placement {
  std::vector<std::size_t> offsets;  ///< One per block, in the given order.
  std::size_t arena_bytes = 0;
};

Placement place_blocks(std::span<const Block> blocks, int threads = 1);

/// The largest sum of (aligned) sizes that live at one step: no placement can be smaller.
std::size_t arena_lower_bound(std::span<const Block> blocks);

}  // namespace bitfold::engine
