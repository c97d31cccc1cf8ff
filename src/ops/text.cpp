// Operators on strings. Strings are UTF-8; lengths of text are in code points.
#include <locale.h>
#include <re2/re2.h>

#include <algorithm>
#include <cwctype>
#include <limits>

#include "base/utf8.h"
#include "ops/operands.h"
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

using Strings = std::vector<std::string>;

std::span<const std::string> strings_of(const TensorView& view) {
  return {view.as<const std::string>(), static_cast<std::size_t>(view.size())};
}

void concat_text(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  map<std::string, std::string, std::string>(in[0], in[1], out[0],
                                             [](const std::string& a, const std::string& b) { return a + b; });
}

// ---- StringSplit ----------------------------------------------------------------------------------------------------

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

Strings split_at_white_space(std::string_view text, std::int64_t max_split) {
  Strings parts;
  text = text.substr(0, text.find_last_not_of(kWhiteSpace) + 1);
  while (true) {
    const std::size_t begin = text.find_first_not_of(kWhiteSpace);
    if (begin == std::string_view::npos) return parts;
    text.remove_prefix(begin);
    const bool is_last = std::ssize(parts) >= max_split;
    const std::size_t end = is_last ? text.size() : std::min(text.find_first_of(kWhiteSpace), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

/// An empty string has no parts, as in ONNX Runtime.
Strings split_at(std::string_view text, std::string_view delimiter, std::int64_t max_split) {
  if (delimiter.empty()) return split_at_white_space(text, max_split);
  Strings parts;
  if (text.empty()) return parts;
  for (std::size_t end = 0; std::ssize(parts) < max_split; text.remove_prefix(end + delimiter.size())) {
    end = text.find(delimiter);
    if (end == std::string_view::npos) break;
    parts.emplace_back(text.substr(0, end));
  }
  parts.emplace_back(text);
  return parts;
}

Outputs infer_split_text(const Inputs& in) {
  ValueInfo parts = like(in[0], in.shape(0));
  if (parts.shape) parts.shape->push_back(kDynamic);
  return {parts, {.dtype = DataType::int64, .shape = in.shape(0)}};
}

std::vector<Tensor> split_text(const Node& node, std::span<const TensorView> in) {
  const auto& op = std::get<StringSplit>(node.op);
  Shape shape(in[0].shape.begin(), in[0].shape.end());
  Tensor counts(DataType::int64, shape);
  std::vector<Strings> all;
  std::int64_t most = 0;
  for (const std::string& text : strings_of(in[0])) {
    all.push_back(split_at(text, op.delimiter, op.max_split.value_or(std::numeric_limits<std::int64_t>::max())));
    counts.mutable_data<std::int64_t>()[all.size() - 1] = std::ssize(all.back());
    most = std::max(most, std::ssize(all.back()));
  }
  shape.push_back(most);
  Tensor parts(DataType::string, shape);
  std::string* to = parts.mutable_data<std::string>().data();
  for (Strings& own : all) {
    std::ranges::move(own, to);
    to += most;
  }
  return {std::move(parts), std::move(counts)};
}

// ---- StringNormalizer -----------------------------------------------------------------------------------------------

/// Upper and lower case of every alphabet; of ASCII only on systems without the locale.
std::string in_case(const std::string& text, CaseChange change) {
  if (change == CaseChange::none) return text;
  static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{});
  std::u32string points = from_utf8(text);
  for (char32_t& c : points) {
    const auto wide = static_cast<wint_t>(c);
    if (c < 0x80)
      c = static_cast<char32_t>(change == CaseChange::lower ? std::towlower(wide) : std::towupper(wide));
    else if (locale != locale_t{})
      c = static_cast<char32_t>(change == CaseChange::lower ? ::towlower_l(wide, locale) : ::towupper_l(wide, locale));
  }
  return to_utf8(points);
}

Outputs infer_normalizer(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  Shape shape = *in.shape(0);
  check(shape.size() == 1 || (shape.size() == 2 && fits(shape[0], 1)), "its input has shape {}, expected [C] or [1,C]",
        to_string(shape));
  shape.back() = kDynamic;
  return {like(in[0], shape)};
}

std::vector<Tensor> normalize(const Node& node, std::span<const TensorView> in) {
  const auto& op = std::get<StringNormalizer>(node.op);
  const auto comparable = [&](const std::string& text) {
    return op.is_case_sensitive ? text : in_case(text, CaseChange::lower);
  };
  Strings stop_words, kept;
  for (const std::string& word : op.stop_words) stop_words.push_back(comparable(word));
  std::ranges::sort(stop_words);
  for (const std::string& text : strings_of(in[0]))
    if (!std::ranges::binary_search(stop_words, comparable(text))) kept.push_back(in_case(text, op.case_change));
  if (kept.empty()) kept.emplace_back();
  Shape shape(in[0].shape.begin(), in[0].shape.end());
  check(shape.size() == 1 || (shape.size() == 2 && shape[0] == 1), "{} its input has shape {}, expected [C] or [1,C]",
        where(node), to_string(shape));
  shape.back() = std::ssize(kept);
  return {Tensor::from<std::string>(shape, kept)};
}

// ---- RegexFullMatch -------------------------------------------------------------------------------------------------

std::optional<std::string> settle_match(Op& op, const Inputs&) {
  const std::string& pattern = std::get<RegexFullMatch>(op).pattern;
  const RE2 regex(pattern, RE2::Quiet);
  if (regex.ok()) return std::nullopt;
  return fmt::format("pattern '{}': {}", pattern, regex.error());
}

Outputs infer_match(const Inputs& in) { return infer_elementwise(in, DataType::boolean); }

void match(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const RE2 regex(std::get<RegexFullMatch>(node.op).pattern, RE2::Quiet);
  check(regex.ok(), "{} pattern '{}': {}", where(node), regex.pattern(), regex.error());
  map<std::uint8_t, std::string>(
      in[0], out[0], [&](const std::string& text) -> std::uint8_t { return RE2::FullMatch(text, regex) ? 1 : 0; });
}

}  // namespace

std::vector<OperatorInfo> text_operators() {
  const Slot x{"X", kString};
  return {
      {.name = "StringConcat",
       .since = 20,
       .prototype = StringConcat{},
       .inputs = {x, {"Y", kString}},
       .outputs = {{"Z", kString}},
       .infer = infer_elementwise,
       .evaluate = concat_text,
       .traits = {.elementwise = true}},
      {.name = "StringSplit",
       .since = 20,
       .prototype = StringSplit{},
       .inputs = {x},
       .outputs = {{"Y", kString}, {"Z", kInt64}},
       .fields = {field("delimiter", &StringSplit::delimiter),
                  field("maxsplit", &StringSplit::max_split, Interval{.min = 0})},
       .infer = infer_split_text,
       .evaluate_dynamic = split_text},
      {.name = "StringNormalizer",
       .since = 10,
       .prototype = StringNormalizer{},
       .inputs = {x},
       .outputs = {{"Y", kString}},
       .fields = {field("case_change_action", &StringNormalizer::case_change,
                        std::vector<Word<CaseChange>>{
                            {"NONE", CaseChange::none}, {"LOWER", CaseChange::lower}, {"UPPER", CaseChange::upper}}),
                  field("is_case_sensitive", &StringNormalizer::is_case_sensitive),
                  field("locale", &StringNormalizer::locale), field("stopwords", &StringNormalizer::stop_words)},
       .infer = infer_normalizer,
       .evaluate_dynamic = normalize},
      {.name = "RegexFullMatch",
       .since = 20,
       .prototype = RegexFullMatch{},
       .inputs = {x},
       .outputs = {{"Y", kBoolean}},
       .fields = {field("pattern", &RegexFullMatch::pattern)},
       .infer = infer_match,
       .evaluate = match,
       .settle = settle_match,
       .traits = {.elementwise = true}}};
}

}  // namespace bitfold::ops
