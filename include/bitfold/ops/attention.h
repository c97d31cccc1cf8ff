// Attention and its relatives.
#pragma once

#include <cstdint>
#include <optional>

namespace bitfold {

// Inputs in brackets are optional.

/// The product of queries and keys that Attention gives as its fourth output.
enum class AttentionScores { scaled, masked, capped, softmax };
/// q [batch,heads,queries,size] or [batch,queries,heads*size], k, v, [mask], [past key], [past value], [lengths of k]
/// -> y, [present key], [present value], [scores]
struct Attention {
  std::int64_t q_num_heads = 0, kv_num_heads = 0;  ///< For inputs of rank 3 only.
  std::optional<float> scale;                      ///< Empty means 1 / sqrt(size).
  bool is_causal = false;
  float softcap = 0;                                           ///< 0 means none.
  std::int64_t left_window_size = -1, right_window_size = -1;  ///< -1 means unbounded.
  AttentionScores scores = AttentionScores::scaled;
  bool operator==(const Attention&) const = default;
};
/// x [batch,heads,length,size] or [batch,length,heads*size], cos, sin, [positions [batch,length]]
struct RotaryEmbedding {
  bool interleaved = false;
  std::int64_t num_heads = 0;    ///< For inputs of rank 3 only.
  std::int64_t rotary_size = 0;  ///< The part of each head that rotates; 0 means all.
  bool operator==(const RotaryEmbedding&) const = default;
};
enum class LinearAttentionRule { linear, gated, delta, gated_delta };
/// q, k, v, [past state], [decay], [beta] -> y, present state
struct LinearAttention {
  std::int64_t q_num_heads = 0, kv_num_heads = 0;
  float scale = 0;  ///< 0 means 1 / sqrt(size).
  std::int64_t chunk_size = 64;
  LinearAttentionRule rule = LinearAttentionRule::gated_delta;
  bool operator==(const LinearAttention&) const = default;
};
/// x [batch,channels,length], w [channels,1,kernel], [bias], [past state] -> y, present state: a depthwise causal
/// convolution.
struct CausalConvWithState {
  bool silu = false;  ///< Whether y passes through x * sigmoid(x).
  bool operator==(const CausalConvWithState&) const = default;
};

}  // namespace bitfold
