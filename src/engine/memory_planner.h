// Places buffers of known size and lifetime into one arena so that no two live ones overlap.
//
// Greedy by size: the largest block first, each into the smallest gap that holds it among the blocks already placed
// whose lifetimes meet its own. Where that misses the lower bound, what stuck out is placed first in another attempt,
// and so on; the best one counts. Convolutional networks and transformers reach the bound, or nearly. Source: Pisarchyk
// and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5 (offset calculation, greedy by
// size).
//
// Threads share out the rows of a value: what lies on one side of its middle is one core's, on the other side
// another's. A core that writes lines which were the other's last waits for each of them. So for several threads a
// block is placed around the middle of a larger one where that is free, unless the arena grows by more than a tenth for
// it:
//
//        [       value a       ]       a
//            [   value c   ]           its middle is a's, and so its lines stay with their cores
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
