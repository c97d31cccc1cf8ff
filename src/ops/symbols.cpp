// Operators that map or count symbols, which are strings or integers: LabelEncoder, TfIdfVectorizer.

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <unordered_map>

#include "ops/operands.h"
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

// ---- LabelEncoder ---------------------------------------------------------------------------------------------------

template <class T>
Tensor vector_of(const std::vector<T>& values) {
  return Tensor::from<T>({std::ssize(values)}, values);
}
template <class T>
Tensor scalar_of(const T& value) {
  return Tensor::from<T>({}, std::span<const T>(&value, 1));
}

/// The keys or the values that are given. Throws Error unless exactly one list is.
Tensor one_list(const char* what, const std::vector<std::string>& strings, const std::vector<std::int64_t>& integers,
                const std::vector<float>& reals, const std::optional<Tensor>& tensor) {
  const int given = (strings.empty() ? 0 : 1) + (integers.empty() ? 0 : 1) + (reals.empty() ? 0 : 1) + (tensor ? 1 : 0);
  check(given == 1, "has {} lists of {}, expected 1", given, what);
  if (tensor) return *tensor;
  if (!strings.empty()) return vector_of(strings);
  return integers.empty() ? vector_of(reals) : vector_of(integers);
}
Tensor keys_of(const LabelEncoder& op) {
  return one_list("keys", op.string_keys, op.int64_keys, op.float_keys, op.tensor_keys);
}
Tensor values_of(const LabelEncoder& op) {
  return one_list("values", op.string_values, op.int64_values, op.float_values, op.tensor_values);
}

/// The value of all other keys, in the type of the values. Empty if that type has no default.
Tensor default_of(const LabelEncoder& op, DataType type) {
  if (op.tensor_default) return *op.tensor_default;
  if (type == DataType::string) return scalar_of(op.string_default);
  if (type == DataType::int64) return scalar_of(op.int64_default);
  if (type == DataType::float32) return scalar_of(op.float_default);
  if (type == DataType::int32) return scalar_of(static_cast<std::int32_t>(op.int64_default));
  if (type == DataType::int16) return scalar_of(static_cast<std::int16_t>(op.int64_default));
  return Tensor(type, {0});
}

std::optional<std::string> settle_encoder(Op& any, const Inputs&) {
  const auto& op = std::get<LabelEncoder>(any);
  const Tensor keys = keys_of(op), values = values_of(op);
  check(keys.size() == values.size(), "has {} keys and {} values", keys.size(), values.size());
  const Tensor other = default_of(op, values.dtype());
  check(other.dtype() == values.dtype() && other.size() == 1, "its values are {}, but its default is {} {}",
        to_string(values.dtype()), to_string(other.dtype()), to_string(other.shape()));
  return std::nullopt;
}

Outputs infer_encoder(const Inputs& in) {
  const auto& op = std::get<LabelEncoder>(in.node.op);
  const DataType keys = keys_of(op).dtype(), type = in[0].dtype;
  check(type == keys || !kItem.contains(type), "its input is {}, but its keys are {}", to_string(type),
        to_string(keys));
  return {{.dtype = values_of(op).dtype(), .shape = in.shape(0)}};
}

/// Calls f with a key of the type; key() makes it comparable.
template <class F>
void with_key_type(DataType type, F f) {
  if (type == DataType::float32) return f(float{});
  with_moved_type(type, f);
}
template <class T>
const T& key(const T& x) {
  return x;
}
/// -0 equals 0, and NaN equals NaN.
std::uint32_t key(float x) { return std::bit_cast<std::uint32_t>(std::isnan(x) ? NAN : x == 0 ? 0.0F : x); }

void encode(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<LabelEncoder>(node.op);
  const Tensor keys = keys_of(op), values = values_of(op), other = default_of(op, values.dtype());
  const std::size_t bytes = element_bytes(values.dtype());
  with_key_type(keys.dtype(), [&](auto zero) {
    using T = decltype(zero);
    std::unordered_map<std::decay_t<decltype(key(zero))>, std::size_t> places;
    const T* known = reinterpret_cast<const T*>(keys.bytes());
    for (std::size_t i = 0; i < static_cast<std::size_t>(keys.size()); ++i) places.try_emplace(key(known[i]), i);
    for (std::size_t i = 0; i < static_cast<std::size_t>(in[0].size()); ++i) {
      const auto found = places.find(key(in[0].as<T>()[i]));
      const std::byte* from = found == places.end() ? other.bytes() : values.bytes() + found->second * bytes;
      copy_run(values.dtype(), from, out[0].data + i * bytes, bytes);
    }
  });
}

// ---- TfIdfVectorizer ------------------------------------------------------------------------------------------------

bool counts_strings(const TfIdfVectorizer& op) { return !op.string_pool.empty(); }

std::optional<std::string> settle_vectorizer(Op& any, const Inputs&) {
  const auto& op = std::get<TfIdfVectorizer>(any);
  check(op.string_pool.empty() || op.int64_pool.empty(), "has a pool of strings and one of integers");
  const std::int64_t pool = std::ssize(op.string_pool) + std::ssize(op.int64_pool);
  check(op.min_gram <= op.max_gram, "min_gram_length is {}, max_gram_length is {}", op.min_gram, op.max_gram);
  check(op.max_gram <= std::ssize(op.counts), "ngram_counts has {} entries, but max_gram_length is {}",
        op.counts.size(), op.max_gram);
  std::int64_t grams = 0;
  for (std::size_t i = 0; i < op.counts.size(); ++i) {
    const std::int64_t begin = op.counts[i], end = i + 1 < op.counts.size() ? op.counts[i + 1] : pool;
    const auto length = static_cast<std::int64_t>(i) + 1;
    check(begin >= 0 && begin <= end && end <= pool && (end - begin) % length == 0,
          "ngram_counts: {}-grams from {} to {} in a pool of {} symbols", length, begin, end, pool);
    grams += (end - begin) / length;
  }
  check(std::ssize(op.indexes) == grams, "ngram_indexes has {} entries for {} n-grams", op.indexes.size(), grams);
  check(op.weights.empty() || std::ssize(op.weights) == grams, "has {} weights for {} n-grams", op.weights.size(),
        grams);
  for (const std::int64_t index : op.indexes) check(index >= 0, "ngram_indexes contains {}", index);
  return std::nullopt;
}

Outputs infer_vectorizer(const Inputs& in) {
  const auto& op = std::get<TfIdfVectorizer>(in.node.op);
  const DataType type = in[0].dtype;
  check(!(kIndex | kString).contains(type) || (type == DataType::string) == counts_strings(op),
        "its input is {}, but its pool has {}", to_string(type), counts_strings(op) ? "strings" : "integers");
  const std::int64_t width = op.indexes.empty() ? 0 : *std::ranges::max_element(op.indexes) + 1;
  if (!in.shape(0)) return {{.dtype = DataType::float32, .shape = {}}};
  Shape shape = *in.shape(0);
  check(shape.size() == 1 || shape.size() == 2, "its input has shape {}, expected 1 or 2 dimensions", to_string(shape));
  shape.back() = width;
  return {{.dtype = DataType::float32, .shape = shape}};
}

/// The number of each n-gram by its symbols.
template <class Symbol>
std::map<std::vector<Symbol>, std::vector<std::size_t>> grams_of(const TfIdfVectorizer& op,
                                                                 const std::vector<Symbol>& pool) {
  std::map<std::vector<Symbol>, std::vector<std::size_t>> grams;
  std::size_t number = 0;
  for (std::size_t i = 0; i < op.counts.size(); ++i) {
    const std::int64_t end = i + 1 < op.counts.size() ? op.counts[i + 1] : std::ssize(pool);
    const auto length = static_cast<std::int64_t>(i) + 1;
    for (std::int64_t at = op.counts[i]; at < end; at += length, ++number)
      if (length >= op.min_gram && length <= op.max_gram)
        grams[{pool.begin() + at, pool.begin() + at + length}].push_back(number);
  }
  return grams;
}

template <class Symbol>
void count_row(const TfIdfVectorizer& op, const std::map<std::vector<Symbol>, std::vector<std::size_t>>& grams,
               const std::vector<Symbol>& row, float* out) {
  std::vector<std::int64_t> counts(op.indexes.size());
  const std::int64_t size = std::ssize(row);
  std::vector<Symbol> gram;
  for (std::int64_t length = op.min_gram; length <= std::min(op.max_gram, size); ++length)
    for (std::int64_t skip = 0; skip <= (length == 1 ? 0 : std::min(op.max_skip, size)); ++skip)
      for (std::int64_t begin = 0; begin + (length - 1) * (skip + 1) < size; ++begin) {
        gram.clear();
        for (std::int64_t k = 0; k < length; ++k) gram.push_back(row[static_cast<std::size_t>(begin + k * (skip + 1))]);
        if (const auto found = grams.find(gram); found != grams.end())
          for (const std::size_t number : found->second) ++counts[number];
      }
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const float weight = op.mode == TfIdfMode::tf || op.weights.empty() ? 1 : op.weights[i];
    const auto count = op.mode == TfIdfMode::idf ? std::min<std::int64_t>(counts[i], 1) : counts[i];
    out[op.indexes[i]] += static_cast<float>(count) * weight;
  }
}

void count_grams(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<TfIdfVectorizer>(node.op);
  std::fill_n(out[0].as<float>(), out[0].size(), 0.0F);
  const std::int64_t columns = in[0].shape.back(), width = out[0].shape.back();
  const std::int64_t rows = in[0].shape.size() == 2 ? in[0].shape[0] : 1;
  const auto count = [&]<class Symbol>(const std::vector<Symbol>& pool, const auto& symbol) {
    const auto grams = grams_of(op, pool);
    std::vector<Symbol> row;
    for (std::int64_t r = 0; r < rows; ++r) {
      row.clear();
      for (std::int64_t c = 0; c < columns; ++c) row.push_back(symbol(r * columns + c));
      count_row(op, grams, row, out[0].as<float>() + r * width);
    }
  };
  if (counts_strings(op))
    count(op.string_pool, [&](std::int64_t i) { return in[0].as<std::string>()[i]; });
  else
    count(op.int64_pool, [&](std::int64_t i) { return integer_at(in[0], i); });
}

}  // namespace

std::vector<OperatorInfo> symbol_operators() {
  return {
      {.name = "LabelEncoder",
       .domain = "ai.onnx.ml",
       .since = 2,
       .prototype = LabelEncoder{},
       .inputs = {{"X", kItem}},
       .outputs = {{"Y", kItem}},
       .fields =
           {field("keys_strings", &LabelEncoder::string_keys), field("keys_int64s", &LabelEncoder::int64_keys),
            field("keys_floats", &LabelEncoder::float_keys), field("keys_tensor", &LabelEncoder::tensor_keys),
            field("values_strings", &LabelEncoder::string_values), field("values_int64s", &LabelEncoder::int64_values),
            field("values_floats", &LabelEncoder::float_values), field("values_tensor", &LabelEncoder::tensor_values),
            field("default_string", &LabelEncoder::string_default),
            field("default_int64", &LabelEncoder::int64_default), field("default_float", &LabelEncoder::float_default),
            field("default_tensor", &LabelEncoder::tensor_default)},
       .infer = infer_encoder,
       .evaluate = encode,
       .settle = settle_encoder,
       .traits = {.elementwise = true}},
      {.name = "TfIdfVectorizer",
       .since = 9,
       .prototype = TfIdfVectorizer{},
       .inputs = {{"X", kIndex | kString}},
       .outputs = {{"Y", kReal}},
       .fields = {required(field("mode", &TfIdfVectorizer::mode,
                                 std::vector<Word<TfIdfMode>>{
                                     {"TF", TfIdfMode::tf}, {"IDF", TfIdfMode::idf}, {"TFIDF", TfIdfMode::tfidf}})),
                  required(field("min_gram_length", &TfIdfVectorizer::min_gram, kPositive)),
                  required(field("max_gram_length", &TfIdfVectorizer::max_gram, kPositive)),
                  required(field("max_skip_count", &TfIdfVectorizer::max_skip, kNonNegative)),
                  required(field("ngram_counts", &TfIdfVectorizer::counts)),
                  required(field("ngram_indexes", &TfIdfVectorizer::indexes)),
                  field("pool_int64s", &TfIdfVectorizer::int64_pool),
                  field("pool_strings", &TfIdfVectorizer::string_pool), field("weights", &TfIdfVectorizer::weights)},
       .infer = infer_vectorizer,
       .evaluate = count_grams,
       .settle = settle_vectorizer}};
}

}  // namespace bitfold::ops
