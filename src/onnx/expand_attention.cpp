// Attention layers of com.microsoft become matrix products and a Softmax, which the planner quantizes.
//
//   scores = query key' scale + masks, [batch, head, query, key]
//   output = Softmax(scores) value, with the heads side by side again
#include <cmath>
#include <limits>

#include "base/check.h"
#include "onnx/expansion.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;
using Reason = std::optional<std::string>;

constexpr std::int64_t kInt64 = 7;  // TensorProto.DataType

std::string cast(Expansion& e, const std::string& x, std::int64_t type) { return e.add("Cast", {x}, {{"to", type}}); }
std::string transpose(Expansion& e, const std::string& x, const Ints& perm) {
  return e.add("Transpose", {x}, {{"perm", perm}});
}
std::string reshape(Expansion& e, const std::string& x, const Ints& shape) {
  return e.add("Reshape", {x, e.list(shape)});
}
std::string concat(Expansion& e, const std::string& a, const std::string& b, std::int64_t axis) {
  return e.add("Concat", {a, b}, {{"axis", axis}});
}
std::string unsqueeze(Expansion& e, const std::string& x, const Ints& axes) {
  return e.add("Unsqueeze", {x, e.list(axes)});
}
/// The size of an axis, as a scalar.
std::string size_of(Expansion& e, const std::string& x, std::int64_t axis) {
  const std::string vector = e.add("Shape", {x}, {{"start", axis}, {"end", axis + 1}});
  return e.add("Squeeze", {vector, e.list({0})});
}
std::string range(Expansion& e, const std::string& from, const std::string& to) {
  return e.add("Range", {from, to, e.number(std::int64_t{1})});
}
std::string range_to(Expansion& e, const std::string& to) { return range(e, e.number(std::int64_t{0}), to); }

/// [batch, length, heads * size] -> [batch, heads, length, size]
std::string split_heads(Expansion& e, const std::string& x, std::int64_t heads) {
  return transpose(e, reshape(e, x, {0, 0, heads, -1}), {0, 2, 1, 3});
}

/// Numbers to add to scores: 0 where `allowed` is true, otherwise `filter`.
std::string penalty(Expansion& e, const std::string& allowed, float filter) {
  return e.add("Where", {allowed, e.number(0.0F), e.number(filter)});
}

struct Layer {
  std::string query, key, value;  ///< [batch, heads, length, size]
  float scale = 1;
  float softcap = 0;  ///< 0: none
  std::vector<std::string> penalties = {};
};

/// Gives output 0: [batch, length, heads * size].
void give_attention(Expansion& e, const Layer& layer) {
  std::string scores = e.add("MatMul", {layer.query, transpose(e, layer.key, {0, 1, 3, 2})});
  scores = e.add("Mul", {scores, e.number(layer.scale)});
  if (layer.softcap > 0) {
    const std::string cap = e.number(layer.softcap);
    scores = e.add("Mul", {e.add("Tanh", {e.add("Div", {scores, cap})}), cap});
  }
  for (const std::string& penalty : layer.penalties) scores = e.add("Add", {scores, penalty});
  const std::string weights = e.add("Softmax", {scores}, {{"axis", std::int64_t{-1}}});
  const std::string y = transpose(e, e.add("MatMul", {weights, layer.value}), {0, 2, 1, 3});
  e.give(0, "Reshape", {y, e.list({0, 0, -1})});
}

/// Query s sees key t if t <= last, with last = s + (number of keys - number of queries), and t > last - window if
/// there is a window.
std::string causal(Expansion& e, const Layer& layer, float filter, std::int64_t window = 0) {
  const std::string keys = size_of(e, layer.key, 2), queries = size_of(e, layer.query, 2);
  const std::string last = unsqueeze(e, range(e, e.add("Sub", {keys, queries}), keys), {1});
  const std::string key = range_to(e, keys);
  std::string allowed = e.add("LessOrEqual", {key, last});
  if (window > 0) allowed = e.add("And", {allowed, e.add("Greater", {key, e.add("Sub", {last, e.number(window)})})});
  return penalty(e, allowed, filter);
}

/// mask_index: [batch] numbers of valid keys, or 0 and 1 for keys: [batch, keys] or [batch, queries, keys].
Reason add_mask(Expansion& e, int slot, float filter, Layer& layer) {
  const std::optional<Shape> shape = e.shape(slot);
  if (!shape) return "the rank of its mask is unknown";
  const std::string mask = e.input(slot);
  std::string allowed;
  if (shape->size() == 1) {
    const std::optional<Shape> batch = e.shape(0);
    if (!batch || (*batch)[0] < 0 || (*shape)[0] != (*batch)[0]) return "its mask is not one length for each sequence";
    const std::string lengths = unsqueeze(e, cast(e, mask, kInt64), {1});
    allowed = unsqueeze(e, e.add("Less", {range_to(e, size_of(e, layer.key, 2)), lengths}), {1, 2});
  } else if (shape->size() == 2 || shape->size() == 3) {
    const std::string is_valid = e.add("Greater", {cast(e, mask, kInt64), e.number(std::int64_t{0})});
    allowed = unsqueeze(e, is_valid, shape->size() == 2 ? Ints{1, 2} : Ints{1});
  } else {
    return fmt::format("its mask has {} axes", shape->size());
  }
  layer.penalties.push_back(penalty(e, allowed, filter));
  return std::nullopt;
}

/// The scale of scores; 1 / sqrt(size) if the file gives none.
float scale_of(const Expansion& e, std::int64_t size) {
  const float given = e.real("scale", 0);
  return given != 0 ? given : 1 / std::sqrt(static_cast<float>(size));
}
std::int64_t positive(const Expansion& e, const char* name) {
  const std::int64_t value = e.integer(name, 0);
  check(value > 0 && value < (1 << 20), "attribute '{}' is {}", name, value);
  return value;
}

// Attention, QAttention -----------------------------------------------------------------------------------------------

struct AttentionSlots {
  int mask, past, attention_bias;
};

/// `projected`: query, key and value side by side, [batch, length, hidden sizes]
Reason attention_of(Expansion& e, const std::string& projected, const Ints& hidden, const AttentionSlots& slots) {
  const std::int64_t heads = positive(e, "num_heads");
  for (const std::int64_t size : hidden)
    check(size > 0 && size % heads == 0, "{} elements cannot be divided into {} heads", size, heads);
  if (e.integer("do_rotary", 0) != 0) return "it rotates its queries";
  if (e.integer("past_present_share_buffer", 0) != 0) return "past and present share memory";
  const auto parts = e.add("Split", {projected, e.list(hidden)}, 3, {{"axis", std::int64_t{-1}}});
  Layer layer{.query = split_heads(e, parts[0], heads),
              .key = split_heads(e, parts[1], heads),
              .value = split_heads(e, parts[2], heads),
              .scale = scale_of(e, hidden[0] / heads)};
  if (e.has(slots.past)) {
    // [2, batch, heads, length, size]
    const auto past = [&](std::int64_t i) { return e.add("Gather", {e.input(slots.past), e.number(i)}); };
    layer.key = concat(e, past(0), layer.key, 2);
    layer.value = concat(e, past(1), layer.value, 2);
  }
  if (e.gives(1))
    e.give(1, "Concat", {unsqueeze(e, layer.key, {0}), unsqueeze(e, layer.value, {0})}, {{"axis", std::int64_t{0}}});
  const float filter = e.real("mask_filter_value", -10000);
  if (e.has(slots.mask))
    if (auto reason = add_mask(e, slots.mask, filter, layer)) return reason;
  if (e.integer("unidirectional", 0) != 0) layer.penalties.push_back(causal(e, layer, filter));
  if (slots.attention_bias >= 0 && e.has(slots.attention_bias))
    layer.penalties.push_back(e.input(slots.attention_bias));
  give_attention(e, layer);
  return std::nullopt;
}

/// input [batch, length, n], weights [n, hidden], [bias], [mask_index], [past], [attention_bias], ...
Reason attention(Expansion& e) {
  if (e.has(6)) return "past and present share memory";
  const std::optional<Shape> weights = e.shape(1);
  if (!weights || weights->size() != 2 || (*weights)[1] < 0) return "the shape of its weights is unknown";
  Ints hidden = e.integers("qkv_hidden_sizes");
  if (hidden.empty()) hidden.assign(3, (*weights)[1] / 3);
  check(hidden.size() == 3 && hidden[0] + hidden[1] + hidden[2] == (*weights)[1],
        "weights have {} columns, which are not query, key and value", (*weights)[1]);
  std::string projected = e.add("MatMul", {e.input(0), e.input(1)});
  if (e.has(2)) projected = e.add("Add", {projected, e.input(2)});
  return attention_of(e, projected, hidden, {.mask = 3, .past = 4, .attention_bias = 5});
}

/// input, weights, bias, their scales, [mask_index], [zero points of input and weights], [past]
Reason q_attention(Expansion& e) {
  const std::optional<Shape> weights = e.shape(1), scale = e.shape(4);
  if (!weights || weights->size() != 2 || (*weights)[1] < 0) return "the shape of its weights is unknown";
  if (!scale) return "the shape of its scales is unknown";
  const bool is_one = is_static(*scale) && element_count(*scale) == 1;
  const std::string x = e.add("DequantizeLinear", {e.input(0), e.input(3), e.input(6)});
  const std::string w = e.add("DequantizeLinear", {e.input(1), e.input(4), e.input(7)},
                              is_one ? Expansion::Attributes{} : Expansion::Attributes{{"axis", std::int64_t{1}}});
  const std::string projected = e.add("Add", {e.add("MatMul", {x, w}), e.input(2)});
  return attention_of(e, projected, Ints(3, (*weights)[1] / 3), {.mask = 5, .past = 8, .attention_bias = -1});
}

// MultiHeadAttention --------------------------------------------------------------------------------------------------

/// query, [key], [value], [bias], [key_padding_mask], [attention_bias], [past_key], [past_value]
Reason multi_head_attention(Expansion& e) {
  const std::int64_t heads = positive(e, "num_heads");
  if (e.has(8) || e.has(9)) return "past and present share memory";
  if (e.gives(3)) return "its scores are used";
  const std::optional<Shape> query = e.shape(0), key = e.shape(1), value = e.shape(2);
  if (!query || query->back() < 0) return "the shape of its query is unknown";
  if ((e.has(1) && !key) || (e.has(2) && !value)) return "the rank of its key is unknown";
  const bool is_packed = query->size() == 5, has_packed_keys = key && key->size() == 5;
  if (query->size() != 3 && !is_packed) return fmt::format("its query has {} axes", query->size());
  const std::int64_t size = is_packed ? query->back() : query->back() / heads;
  check(size > 0 && (is_packed || query->back() % heads == 0),
        "query has {} elements, which cannot be divided among {} heads", query->back(), heads);
  Layer layer{.scale = scale_of(e, size)};
  const auto part = [&](const std::string& packed, std::int64_t i) {  // [batch, length, heads, parts, size]
    return transpose(e, e.add("Gather", {packed, e.number(i)}, {{"axis", std::int64_t{3}}}), {0, 2, 1, 3});
  };
  if (is_packed) {
    if (e.has(3)) return "it has packed queries and a bias";
    layer.query = part(e.input(0), 0);
    layer.key = part(e.input(0), 1);
    layer.value = part(e.input(0), 2);
  } else if (!e.has(1)) {
    return "it has no key";
  } else {
    std::string q = e.input(0), k = e.input(1), v = e.input(2);
    if (e.has(3)) {
      if (!value || value->size() != 3 || key->size() != 3 || value->back() < 0) return "it has a bias for packed keys";
      const Ints sizes{query->back(), query->back(), value->back()};
      const auto bias = e.add("Split", {e.input(3), e.list(sizes)}, 3, {{"axis", std::int64_t{0}}});
      q = e.add("Add", {q, bias[0]});
      k = e.add("Add", {k, bias[1]});
      v = e.add("Add", {v, bias[2]});
    }
    layer.query = split_heads(e, q, heads);
    layer.key = has_packed_keys ? part(k, 0) : key->size() == 4 ? k : split_heads(e, k, heads);
    layer.value = has_packed_keys ? part(e.input(1), 1) : value && value->size() == 4 ? v : split_heads(e, v, heads);
  }
  if (e.has(6) && e.has(7)) {
    layer.key = concat(e, e.input(6), layer.key, 2);
    layer.value = concat(e, e.input(7), layer.value, 2);
  }
  if (e.gives(1)) e.give(1, "Identity", {layer.key});
  if (e.gives(2)) e.give(2, "Identity", {layer.value});
  const float filter = e.real("mask_filter_value", -10000);
  if (e.has(4))
    if (auto reason = add_mask(e, 4, filter, layer)) return reason;
  if (e.integer("unidirectional", 0) != 0) layer.penalties.push_back(causal(e, layer, filter));
  if (e.has(5)) layer.penalties.push_back(e.input(5));
  give_attention(e, layer);
  return std::nullopt;
}

// Rotation of queries and keys by their positions ---------------------------------------------------------------------

struct Rotation {
  std::string cosines, sines;   ///< [positions, size / 2]
  std::string positions;        ///< [length] or [batch, length]
  std::int64_t size = 0;        ///< Elements of a head that are rotated; 0: all.
  bool is_interleaved = false;  ///< Whether element 2 i pairs with 2 i + 1, not with i + size / 2.
};

/// x and the result: [batch, heads, length, size]
std::string rotated(Expansion& e, const std::string& x, const Rotation& r) {
  const Expansion::Attributes last{{"axis", std::int64_t{-1}}, {"num_outputs", std::int64_t{2}}};
  const auto factors = [&](const std::string& cache) {
    return unsqueeze(e, e.add("Gather", {cache, r.positions}), {-3});
  };
  std::string turned = x, rest;
  if (r.size > 0) {
    const std::string all = e.add("Shape", {x}, {{"start", std::int64_t{3}}});
    const std::string sizes = concat(e, e.list({r.size}), e.add("Sub", {all, e.list({r.size})}), 0);
    const auto parts = e.add("Split", {x, sizes}, 2, {{"axis", std::int64_t{-1}}});
    turned = parts[0];
    rest = parts[1];
  }
  if (r.is_interleaved) turned = reshape(e, turned, {0, 0, 0, -1, 2});
  auto halves = e.add("Split", {turned}, 2, last);
  if (r.is_interleaved)
    for (std::string& half : halves) half = e.add("Squeeze", {half, e.list({-1})});
  const std::string cosine = factors(r.cosines), sine = factors(r.sines);
  std::string first = e.add("Sub", {e.add("Mul", {halves[0], cosine}), e.add("Mul", {halves[1], sine})});
  std::string second = e.add("Add", {e.add("Mul", {halves[1], cosine}), e.add("Mul", {halves[0], sine})});
  std::string y;
  if (r.is_interleaved)
    y = reshape(e, concat(e, unsqueeze(e, first, {-1}), unsqueeze(e, second, {-1}), -1), {0, 0, 0, -1});
  else
    y = concat(e, first, second, -1);
  return rest.empty() ? y : concat(e, y, rest, -1);
}

/// input, position ids, cosines, sines
Reason rotary_embedding(Expansion& e) {
  const auto rank = e.rank(0), position_rank = e.rank(1);
  if (!rank || !position_rank) return "the rank of its input is unknown";
  if (e.real("scale", 1) != 1) return "it scales its positions";
  if (e.integer("is_packed_batching", 0) != 0) return "its sequences are packed";
  Rotation rotation{.cosines = e.input(2),
                    .sines = e.input(3),
                    .positions = e.input(1),
                    .size = e.integer("rotary_embedding_dim", 0),
                    .is_interleaved = e.integer("interleaved", 0) != 0};
  std::string x = e.input(0);
  if (*rank == 3) {
    std::int64_t heads = e.integer("num_heads", 0);
    const std::optional<Shape> cache = e.shape(2), shape = e.shape(0);
    if (heads == 0) {
      if (!cache || cache->back() <= 0 || shape->back() < 0) return "its number of heads is unknown";
      heads = shape->back() / (2 * cache->back());
    }
    check(heads > 0, "has {} heads", heads);
    x = split_heads(e, x, heads);
  }
  if (*position_rank == 1) {  // the position of the first token
    const std::string first = e.add("Squeeze", {cast(e, e.input(1), kInt64), e.list({0})});
    rotation.positions = range(e, first, e.add("Add", {first, size_of(e, x, 2)}));
  }
  const std::string y = rotated(e, x, rotation);
  if (*rank == 3)
    e.give(0, "Reshape", {transpose(e, y, {0, 2, 1, 3}), e.list({0, 0, -1})});
  else
    e.give(0, "Identity", {y});
  return std::nullopt;
}

// GroupQueryAttention -------------------------------------------------------------------------------------------------

/// query, [key], [value], [past_key], [past_value], last positions, total length, [cosines], [sines], [position ids],
/// [attention_bias], ...
Reason group_query_attention(Expansion& e) {
  const std::int64_t heads = positive(e, "num_heads"), kv_heads = positive(e, "kv_num_heads");
  check(heads % kv_heads == 0, "num_heads is {}, which is not a multiple of kv_num_heads, {}", heads, kv_heads);
  for (int slot = 11; slot < e.node().input_size(); ++slot)
    if (e.has(slot)) return fmt::format("its input {} is given", slot);
  if (e.gives(3)) return "its scores are used";
  if (e.integer("smooth_softmax", 0) != 0) return "its softmax is smooth";
  if (e.integer("sliding_window_cache", 0) != 0 || e.integer("causal", 1) == 0) return "it is not causal";
  const std::optional<Shape> query = e.shape(0);
  if (!query || query->size() != 3 || query->back() < 0) return "the shape of its query is unknown";
  // Sequences of a batch may have pasts of different lengths, which end at different rows of past_key.
  if (e.has(3) && (*query)[0] != 1) return "its sequences may have pasts of different lengths";
  const bool is_packed = !e.has(1);
  const std::int64_t all_heads = is_packed ? heads + 2 * kv_heads : heads, size = query->back() / all_heads;
  check(size > 0 && query->back() % all_heads == 0, "query has {} elements, which cannot be divided among {} heads",
        query->back(), all_heads);
  std::string q = e.input(0), k = e.input(1), v = e.input(2);
  if (is_packed) {
    const Ints sizes{heads * size, kv_heads * size, kv_heads * size};
    const auto parts = e.add("Split", {q, e.list(sizes)}, 3, {{"axis", std::int64_t{-1}}});
    q = parts[0];
    k = parts[1];
    v = parts[2];
  }
  Layer layer{.query = split_heads(e, q, heads),
              .key = split_heads(e, k, kv_heads),
              .value = split_heads(e, v, kv_heads),
              .scale = scale_of(e, size),
              .softcap = e.real("softcap", 0)};
  const std::string total = e.add("Squeeze", {cast(e, e.input(6), kInt64)});
  const std::string past = e.add("Sub", {total, size_of(e, layer.query, 2)});
  if (e.integer("do_rotary", 0) != 0) {
    const Rotation rotation{.cosines = e.input(7),
                            .sines = e.input(8),
                            .positions = e.has(9) ? e.input(9) : range(e, past, total),
                            .is_interleaved = e.integer("rotary_interleaved", 0) != 0};
    const std::optional<Shape> cache = e.shape(7);
    if (!cache || cache->back() != size / 2) return "it rotates a part of each head";
    layer.query = rotated(e, layer.query, rotation);
    layer.key = rotated(e, layer.key, rotation);
  }
  if (e.has(3) && e.has(4)) {
    // past_key may be a buffer with room for more.
    const std::string length = unsqueeze(e, past, {0});
    const auto joined = [&](int slot, const std::string& present) {
      return concat(e, e.add("Slice", {e.input(slot), e.list({0}), length, e.list({2})}), present, 2);
    };
    layer.key = joined(3, layer.key);
    layer.value = joined(4, layer.value);
  }
  if (e.gives(1)) e.give(1, "Identity", {layer.key});
  if (e.gives(2)) e.give(2, "Identity", {layer.value});
  layer.penalties.push_back(causal(e, layer, std::numeric_limits<float>::lowest(),
                                   std::max<std::int64_t>(e.integer("local_window_size", -1), 0)));
  if (e.has(10)) layer.penalties.push_back(e.input(10));
  if (const std::int64_t group = heads / kv_heads; group > 1)
    for (std::string* shared : {&layer.key, &layer.value}) {
      const std::string repeated = e.add("Expand", {unsqueeze(e, *shared, {2}), e.list({1, 1, group, 1, 1})});
      *shared = reshape(e, repeated, {0, heads, -1, size});
    }
  give_attention(e, layer);
  return std::nullopt;
}

}  // namespace

std::vector<ExpansionRow> attention_expansions() {
  return {{kMicrosoft, "Attention", attention},
          {kMicrosoft, "QAttention", q_attention},
          {kMicrosoft, "MultiHeadAttention", multi_head_attention},
          {kMicrosoft, "RotaryEmbedding", rotary_embedding},
          {kMicrosoft, "GroupQueryAttention", group_query_attention}};
}

}  // namespace bitfold
