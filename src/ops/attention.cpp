// Attention and rotary embeddings. Products and Softmax are computed in double, row by row of the scores.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/attention_state.h"
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

// ---- Attention

enum : std::size_t { kQuery, kKey, kValue, kMask, kPastKey, kPastValue, kLengths };

/// A query, key or value as [batch, heads, length, size].
struct Heads {
  std::int64_t batch = 0, heads = 0, length = 0, size = 0;
};

Heads heads_of(std::span<const std::int64_t> shape, std::int64_t heads, std::string_view name) {
  check(shape.size() == 3 || shape.size() == 4, "{} has rank {}, expected 3 or 4", name, shape.size());
  if (shape.size() == 4) return {shape[0], shape[1], shape[2], shape[3]};
  check(heads > 0, "{} has rank 3, so the attribute with the number of its heads is needed", name);
  check(is_unknown(shape[2]) || shape[2] % heads == 0,
        "{} has {} columns, which cannot be divided equally among {} heads", name, shape[2], heads);
  return {shape[0], heads, shape[1], is_unknown(shape[2]) ? kDynamic : shape[2] / heads};
}

void expect_equal(std::int64_t a, std::int64_t b, std::string_view what) {
  check(fits(a, b), "{}: {} and {} must be equal", what, a, b);
}

std::int64_t length_sum(std::int64_t a, std::int64_t b) { return is_unknown(a) || is_unknown(b) ? kDynamic : a + b; }

Outputs infer_attention(const Inputs& in) {
  const auto& op = std::get<Attention>(in.node.op);
  Outputs outputs(in.node.outputs.size(), real({}));
  check(in.has(kPastKey) == in.has(kPastValue), "has only one of past_key and past_value; give both or neither");
  check(!in.has(kPastKey) || !in.has(kLengths), "has both past_key and nonpad_kv_seqlen; only one is allowed");
  for (std::size_t i : {kQuery, kKey, kValue})
    if (!in.shape(i)) return outputs;
  const Heads q = heads_of(*in.shape(kQuery), op.q_num_heads, "Q"), k = heads_of(*in.shape(kKey), op.kv_num_heads, "K"),
              v = heads_of(*in.shape(kValue), op.kv_num_heads, "V");
  check(in.shape(kQuery)->size() == in.shape(kKey)->size() && in.shape(kKey)->size() == in.shape(kValue)->size(),
        "Q, K and V have ranks {}, {} and {}; they must be equal", in.shape(kQuery)->size(), in.shape(kKey)->size(),
        in.shape(kValue)->size());
  expect_equal(q.batch, k.batch, "batch of Q and K");
  expect_equal(k.batch, v.batch, "batch of K and V");
  expect_equal(k.heads, v.heads, "heads of K and V");
  expect_equal(k.length, v.length, "length of K and V");
  expect_equal(q.size, k.size, "head size of Q and K");
  check(is_unknown(q.heads) || is_unknown(k.heads) || (k.heads > 0 && q.heads % k.heads == 0),
        "the {} heads of Q are not a multiple of the {} heads of K", q.heads, k.heads);
  std::int64_t total = k.length;
  if (in.has(kPastKey)) {
    if (!in.shape(kPastKey) || !in.shape(kPastValue)) return outputs;
    const Shape &past_k = *in.shape(kPastKey), &past_v = *in.shape(kPastValue);
    check(past_k.size() == 4 && past_v.size() == 4, "past_key and past_value have ranks {} and {}, expected 4",
          past_k.size(), past_v.size());
    const std::int64_t expected_k[] = {k.batch, k.heads, past_v[2], k.size},
                       expected_v[] = {v.batch, v.heads, past_k[2], v.size};
    for (std::size_t i = 0; i < 4; ++i) {
      expect_equal(past_k[i], expected_k[i], "axis of past_key");
      expect_equal(past_v[i], expected_v[i], "axis of past_value");
    }
    total = length_sum(k.length, past_k[2]);
  }
  if (in.has(kMask) && in.shape(kMask)) {
    const Shape& mask = *in.shape(kMask);
    check(!mask.empty() && mask.size() <= 4, "attn_mask has rank {}, expected 1 to 4", mask.size());
    const std::int64_t wide[] = {q.batch, q.heads, q.length};
    for (std::size_t i = 0; i + 1 < mask.size(); ++i)
      if (mask[i] != 1) expect_equal(mask[i], wide[i + 4 - mask.size()], "attn_mask and the scores");
    check(is_unknown(mask.back()) || is_unknown(total) || mask.back() <= total,
          "attn_mask covers {} keys, but there are only {}", mask.back(), total);
  }
  if (in.has(kLengths) && in.shape(kLengths)) {
    check(in.shape(kLengths)->size() == 1, "nonpad_kv_seqlen has shape {}, expected [batch]",
          to_string(*in.shape(kLengths)));
    expect_equal(in.shape(kLengths)->front(), q.batch, "batch of Q and nonpad_kv_seqlen");
  }
  const std::vector<Shape> shapes{in.shape(kQuery)->size() == 3 ? Shape{q.batch, q.length, multiply(q.heads, v.size)}
                                                                : Shape{q.batch, q.heads, q.length, v.size},
                                  {k.batch, k.heads, total, k.size},
                                  {v.batch, v.heads, total, v.size},
                                  {q.batch, q.heads, q.length, total}};
  for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i].shape = shapes[i];
  return outputs;
}

/// The vectors of one head, and the step from one to the next.
struct Rows {
  const float* first = nullptr;
  std::int64_t step = 0;
};
Rows rows_of(const TensorView& x, const Heads& h, std::int64_t batch, std::int64_t head) {
  if (x.shape.size() == 4) return {x.as<float>() + (batch * h.heads + head) * h.length * h.size, h.size};
  return {x.as<float>() + batch * h.length * h.heads * h.size + head * h.size, h.heads * h.size};
}

/// Keys or values: those of the past, then the present ones.
struct Cache {
  Rows past, present;
  std::int64_t past_length = 0;
  const float* operator[](std::int64_t i) const {
    return i < past_length ? past.first + i * past.step : present.first + (i - past_length) * present.step;
  }
};

class AttentionRun {
 public:
  AttentionRun(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out)
      : op_(std::get<Attention>(node.op)),
        in_(in),
        out_(out),
        q_(heads_of(in[kQuery].shape, op_.q_num_heads, "Q")),
        k_(heads_of(in[kKey].shape, op_.kv_num_heads, "K")),
        v_(heads_of(in[kValue].shape, op_.kv_num_heads, "V")),
        past_(is_given(in, kPastKey) ? in[kPastKey].shape[2] : 0),
        total_(past_ + k_.length),
        scale_(op_.scale ? static_cast<double>(*op_.scale) : 1 / std::sqrt(static_cast<double>(q_.size))),
        scores_(static_cast<std::size_t>(total_)),
        sums_(static_cast<std::size_t>(v_.size)) {
    for (std::int64_t b = 0; b < q_.batch && is_given(in, kLengths); ++b)
      check(valid(b) >= 0 && valid(b) <= total_, "{} nonpad_kv_seqlen of sample {} is {}, but there are {} keys",
            where(node), b, valid(b), total_);
  }

  void run() {
    for (std::int64_t b = 0; b < q_.batch; ++b) {
      for (std::int64_t head = 0; head < k_.heads; ++head) {
        store(1, cache(kPastKey, kKey, k_, b, head), k_, b, head);
        store(2, cache(kPastValue, kValue, v_, b, head), v_, b, head);
      }
      for (std::int64_t head = 0; head < q_.heads; ++head) {
        const std::int64_t shared = head / (q_.heads / k_.heads);
        const Cache keys = cache(kPastKey, kKey, k_, b, shared), values = cache(kPastValue, kValue, v_, b, shared);
        const Rows queries = rows_of(in_[kQuery], q_, b, head);
        for (std::int64_t i = 0; i < q_.length; ++i) attend(b, head, i, queries.first + i * queries.step, keys, values);
      }
    }
  }

 private:
  std::int64_t valid(std::int64_t b) const { return is_given(in_, kLengths) ? integer_at(in_[kLengths], b) : total_; }

  Cache cache(std::size_t past, std::size_t present, const Heads& h, std::int64_t b, std::int64_t head) const {
    Cache made{.past = {}, .present = rows_of(in_[present], h, b, head), .past_length = past_};
    const Heads old{h.batch, h.heads, past_, h.size};
    if (past_ > 0) made.past = rows_of(in_[past], old, b, head);
    return made;
  }

  void store(std::size_t output, const Cache& cache, const Heads& h, std::int64_t b, std::int64_t head) const {
    if (!is_given(out_, output)) return;
    float* to = out_[output].as<float>() + (b * h.heads + head) * total_ * h.size;
    for (std::int64_t i = 0; i < total_; ++i) std::copy_n(cache[i], h.size, to + i * h.size);
  }

  /// The number that the masks add to the score of query i and key j: 0, -infinity, or an element of the mask.
  double bias(std::int64_t b, std::int64_t head, std::int64_t i, std::int64_t j) const {
    constexpr double kNever = -std::numeric_limits<double>::infinity();
    if (j >= valid(b)) return kNever;
    const std::int64_t before = is_given(in_, kLengths) ? valid(b) - q_.length : past_;
    const std::int64_t position = before + i;
    if (op_.is_causal && j > position) return kNever;
    if (op_.left_window_size >= 0 && j < position - op_.left_window_size) return kNever;
    if (op_.right_window_size >= 0 && j - op_.right_window_size > position) return kNever;
    if (!is_given(in_, kMask)) return 0;
    const auto shape = in_[kMask].shape;
    if (j >= shape.back()) return kNever;  // a shorter mask leaves out the last keys
    const std::int64_t index[] = {b, head, i};
    std::int64_t at = 0;
    for (std::size_t axis = 0; axis + 1 < shape.size(); ++axis)
      at = at * shape[axis] + (shape[axis] == 1 ? 0 : index[axis + 4 - shape.size()]);
    at = at * shape.back() + j;
    if (in_[kMask].dtype == DataType::boolean) return in_[kMask].as<std::uint8_t>()[at] != 0 ? 0 : kNever;
    return in_[kMask].as<float>()[at];
  }

  void attend(std::int64_t b, std::int64_t head, std::int64_t i, const float* query, const Cache& keys,
              const Cache& values) {
    float* shown = is_given(out_, 3) ? out_[3].as<float>() + ((b * q_.heads + head) * q_.length + i) * total_ : nullptr;
    const auto show = [&](AttentionScores stage) {
      if (shown == nullptr || op_.scores != stage) return;
      std::ranges::transform(scores_, shown, [](double s) { return static_cast<float>(s); });
    };
    for (std::int64_t j = 0; j < total_; ++j) {
      const float* key = keys[j];
      double sum = 0;
      for (std::int64_t d = 0; d < q_.size; ++d) sum += static_cast<double>(query[d]) * key[d];
      scores_[at(j)] = scale_ * sum;
    }
    show(AttentionScores::scaled);
    if (op_.softcap != 0)
      for (double& s : scores_) s = op_.softcap * std::tanh(s / op_.softcap);
    show(AttentionScores::capped);
    bool is_masked = true;
    for (std::int64_t j = 0; j < total_; ++j) {
      const double added = bias(b, head, i, j);
      is_masked &= std::isinf(added) && added < 0;
      scores_[at(j)] += added;
    }
    show(AttentionScores::masked);
    softmax(is_masked);
    show(AttentionScores::softmax);
    if (!is_given(out_, 0)) return;
    std::ranges::fill(sums_, 0.0);
    for (std::int64_t j = 0; j < total_; ++j) {
      const double weight = scores_[at(j)];
      if (weight == 0) continue;  // masked keys may be infinite
      const float* value = values[j];
      for (std::size_t d = 0; d < sums_.size(); ++d) sums_[d] += weight * value[d];
    }
    Heads y = q_;
    y.size = v_.size;
    const Rows rows = rows_of(out_[0], y, b, head);
    float* to = out_[0].as<float>() + (rows.first - out_[0].as<float>()) + i * rows.step;
    std::ranges::transform(sums_, to, [](double s) { return static_cast<float>(s); });
  }

  /// A query that may attend to no key gives zeros.
  void softmax(bool is_masked) {
    if (is_masked) {
      std::ranges::fill(scores_, 0.0);
      return;
    }
    const double top = *std::ranges::max_element(scores_);
    double sum = 0;
    for (double& s : scores_) sum += s = std::exp(s - top);
    for (double& s : scores_) s /= sum;
  }

  const Attention& op_;
  std::span<const TensorView> in_, out_;
  Heads q_, k_, v_;
  std::int64_t past_, total_;
  double scale_;
  std::vector<double> scores_, sums_;
};

void attention(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  AttentionRun(node, in, out).run();
}

std::int64_t attention_macs(const Node& node, std::span<const Shape> in, std::span<const Shape>) {
  const auto& op = std::get<Attention>(node.op);
  if (in.size() < 3 || in[0].size() < 3 || in[1].size() < 3 || in[2].size() < 3) return 0;
  const Heads q = heads_of(in[0], op.q_num_heads, "Q"), k = heads_of(in[1], op.kv_num_heads, "K"),
              v = heads_of(in[2], op.kv_num_heads, "V");
  const std::int64_t past = in.size() > kPastKey && in[kPastKey].size() == 4 ? in[kPastKey][2] : 0;
  return q.batch * q.heads * q.length * (k.length + past) * (q.size + v.size);
}

/// In a file, this attribute is a number.
Field scores_field() {
  constexpr AttentionScores kModes[] = {AttentionScores::scaled, AttentionScores::capped, AttentionScores::masked,
                                        AttentionScores::softmax};
  return {.name = "qk_matmul_output_mode",
          .get = [=](const Op& op) -> std::optional<AttributeValue> {
            const auto* found = std::ranges::find(kModes, std::get<Attention>(op).scores);
            return AttributeValue(static_cast<std::int64_t>(found - std::begin(kModes)));
          },
          .set = [=](Op& op, const AttributeValue& value) -> std::optional<std::string> {
            const auto mode = detail::as<std::int64_t>("qk_matmul_output_mode", value);
            detail::check_range("qk_matmul_output_mode", mode, {.min = 0, .max = 3});
            std::get<Attention>(op).scores = kModes[mode];
            return std::nullopt;
          },
          .type = AttributeValue(std::int64_t{}).index()};
}

// ---- RotaryEmbedding

struct RotarySizes {
  std::int64_t batch = 0, heads = 0, length = 0, size = 0, half = 0;
};
RotarySizes rotary_sizes(const RotaryEmbedding& op, std::span<const std::int64_t> x) {
  const Heads h = heads_of(x, op.num_heads, "X");
  const std::int64_t rotated = op.rotary_size > 0 ? op.rotary_size : h.size;
  check(is_unknown(rotated) || (rotated % 2 == 0 && (is_unknown(h.size) || rotated <= h.size)),
        "{} of the {} columns of a head are rotated; expected an even number of at most all columns", rotated, h.size);
  return {h.batch, h.heads, h.length, h.size, is_unknown(rotated) ? kDynamic : rotated / 2};
}

Outputs infer_rotary(const Inputs& in) {
  if (!in.shape(0)) return infer_same(in);
  const RotarySizes s = rotary_sizes(std::get<RotaryEmbedding>(in.node.op), *in.shape(0));
  for (std::size_t i : {1U, 2U}) {
    if (!in.shape(i)) continue;
    const Shape& table = *in.shape(i);
    const std::string_view name = i == 1 ? "cos_cache" : "sin_cache";
    check(table.size() == (in.has(3) ? 2U : 3U), "{} has shape {}, expected {}", name, to_string(table),
          in.has(3) ? "[positions, half of the rotated columns]" : "[batch, length, half of the rotated columns]");
    expect_equal(table.back(), s.half, "columns of a table and half of the rotated columns");
    if (in.has(3)) continue;
    expect_equal(table[0], s.batch, "batch of X and of a table");
    expect_equal(table[1], s.length, "length of X and of a table");
  }
  if (in.shape(1) && in.shape(2)) expect_equal(in.shape(1)->front(), in.shape(2)->front(), "rows of the tables");
  if (in.has(3) && in.shape(3)) {
    const Shape& positions = *in.shape(3);
    check(positions.size() == 2, "position_ids has shape {}, expected [batch, length]", to_string(positions));
    expect_equal(positions[0], s.batch, "batch of X and position_ids");
    expect_equal(positions[1], s.length, "length of X and position_ids");
  }
  return infer_same(in);
}

/// Rotates pairs of columns that are kStep apart; the second ones of the pairs begin `second` columns after the first.
template <std::int64_t kStep>
void rotate(const float* __restrict x, const float* __restrict cosine, const float* __restrict sine, std::int64_t half,
            std::int64_t second, float* __restrict y_re, float* __restrict y_im) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float re = x[kStep * i], im = x[kStep * i + second];
    y_re[kStep * i] = cosine[i] * re - sine[i] * im;
    y_im[kStep * i] = sine[i] * re + cosine[i] * im;
  }
}

void rotary(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<RotaryEmbedding>(node.op);
  const RotarySizes s = rotary_sizes(op, in[0].shape);
  const bool has_positions = is_given(in, 3);
  const Heads h{s.batch, s.heads, s.length, s.size};
  for (std::int64_t b = 0; b < s.batch; ++b)
    for (std::int64_t t = 0; t < s.length; ++t) {
      std::int64_t row = b * s.length + t;
      if (has_positions) {
        const std::int64_t position = integer_at(in[3], row);
        if (position < 0 || position >= in[1].shape[0])
          fail("{} position {} of sample {} is {}, but the tables have {} rows", where(node), t, b, position,
               in[1].shape[0]);
        row = position;
      }
      const float *cosine = in[1].as<float>() + row * s.half, *sine = in[2].as<float>() + row * s.half;
      for (std::int64_t head = 0; head < s.heads; ++head) {
        const Rows rows = rows_of(in[0], h, b, head);
        const float* x = rows.first + t * rows.step;
        float* y = out[0].as<float>() + (x - in[0].as<float>());
        if (op.interleaved)
          rotate<2>(x, cosine, sine, s.half, 1, y, y + 1);
        else
          rotate<1>(x, cosine, sine, s.half, s.half, y, y + s.half);
        std::copy(x + 2 * s.half, x + s.size, y + 2 * s.half);
      }
    }
}

}  // namespace

std::vector<OperatorInfo> attention_operators() {
  const auto optional = [](std::string_view name, TypeSet types) { return Slot{name, types, 0, Presence::optional}; };
  constexpr Interval kWindow{.min = -1, .max = std::numeric_limits<std::int32_t>::max()};
  std::vector<OperatorInfo> rows{
      {.name = "Attention",
       .since = 25,
       .prototype = Attention{},
       .inputs = {{"Q", kReal, 'T'},
                  {"K", kReal, 'T'},
                  {"V", kReal, 'V'},
                  optional("attn_mask", kReal | kBoolean),
                  {"past_key", kReal, 'T', Presence::optional},
                  {"past_value", kReal, 'V', Presence::optional},
                  {"nonpad_kv_seqlen", kInt64, 0, Presence::optional, Use::parameter}},
       .outputs = {{"Y", kReal, 'T'},
                   {"present_key", kReal, 'T'},
                   {"present_value", kReal, 'V'},
                   {"qk_matmul_output", kReal, 'T'}},
       .fields = {field("is_causal", &Attention::is_causal),
                  field("kv_num_heads", &Attention::kv_num_heads, kNonNegative),
                  field("left_window_size", &Attention::left_window_size, kWindow),
                  field("q_num_heads", &Attention::q_num_heads, kNonNegative), scores_field(),
                  field("right_window_size", &Attention::right_window_size, kWindow), field("scale", &Attention::scale),
                  field("softcap", &Attention::softcap), ignored<std::int64_t>("softmax_precision")},
       .infer = infer_attention,
       .evaluate = attention,
       .macs = attention_macs},
      {.name = "RotaryEmbedding",
       .since = 23,
       .prototype = RotaryEmbedding{},
       .inputs = {{"X", kReal, 'T'},
                  {"cos_cache", kReal, 'T', Presence::required, Use::parameter},
                  {"sin_cache", kReal, 'T', Presence::required, Use::parameter},
                  {"position_ids", kInt64, 0, Presence::optional, Use::parameter}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields = {field("interleaved", &RotaryEmbedding::interleaved),
                  field("num_heads", &RotaryEmbedding::num_heads, kNonNegative),
                  field("rotary_embedding_dim", &RotaryEmbedding::rotary_size, kNonNegative)},
       .infer = infer_rotary,
       .evaluate = rotary},
  };
  for (OperatorInfo& row : state_operators()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace bitfold::ops
