// Operators on strings and symbols. Results are those of ONNX's reference and of ONNX Runtime 1.32.
#include "op_testing.h"
#include "ops/operator.h"

namespace bitfold::testing {
namespace {

Tensor texts(Shape shape, const std::vector<std::string>& values) {
  return Tensor::from<std::string>(std::move(shape), values);
}
Tensor texts(const std::vector<std::string>& values) { return texts({std::ssize(values)}, values); }

TEST(Strings, are_moved_like_numbers) {
  const Tensor x = texts({2, 3}, {"a", "b", "c", "d", "e", "f"});
  expect_op(Transpose{{1, 0}}, {x}, texts({3, 2}, {"a", "d", "b", "e", "c", "f"}));
  expect_op(Gather{.axis = 1}, {x, int64s({2, 0})}, texts({2, 2}, {"c", "a", "f", "d"}));
  expect_op(Concat{.axis = 1}, {x, texts({2, 1}, {"x", "y"})}, texts({2, 4}, {"a", "b", "c", "x", "d", "e", "f", "y"}));
  expect_op(Slice{}, {x, int64s({0, 2}), int64s({2, -4}), int64s({0, 1}), int64s({1, -1})},
            texts({2, 3}, {"c", "b", "a", "f", "e", "d"}));
  expect_op(Where{}, {booleans({2, 1}, {1, 0}), x, texts({1}, {"-"})}, texts({2, 3}, {"a", "b", "c", "-", "-", "-"}));
  expect_op(Binary{BinaryKind::equal}, {x, texts({1}, {"e"})}, booleans({2, 3}, {0, 0, 0, 0, 1, 0}));
  expect_op(Unary{UnaryKind::identity}, {x}, x);
}

TEST(Strings, are_refused_by_operators_on_numbers) {
  expect_op_error(Binary{BinaryKind::add}, {texts({"a"}), texts({"b"})}, "input 'A' is string");
}

TEST(StringConcat, broadcasts) {
  expect_op(StringConcat{}, {texts({2, 1}, {"a", "b"}), texts({"x", "", "\u00e4"})},
            texts({2, 3}, {"ax", "a", "a\u00e4", "bx", "b", "b\u00e4"}));
}

TEST(StringSplit, splits_at_a_delimiter_or_at_white_space) {
  const auto split = [](const StringSplit& op, const Tensor& x) { return run_op(op, {x}, 2); };
  auto parts = split({.delimiter = "-"}, texts({"", "a-b", "-"}));
  expect_equal(parts[0], texts({3, 2}, {"", "", "a", "b", "", ""}));
  expect_equal(parts[1], int64s({0, 2, 2}));
  parts = split({.max_split = 1}, texts({"  a  b  ", " ", "x y z"}));
  expect_equal(parts[0], texts({3, 2}, {"a", "b", "", "", "x", "y z"}));
  expect_equal(parts[1], int64s({2, 0, 2}));
}

TEST(StringNormalizer, drops_stop_words_and_changes_the_case) {
  const Tensor x = texts({"monday", "Tuesday", "MONDAY"});
  expect_op(StringNormalizer{.is_case_sensitive = true, .locale = {}, .stop_words = {"monday"}}, {x},
            texts({"Tuesday", "MONDAY"}));
  expect_op(StringNormalizer{.case_change = CaseChange::upper, .locale = {}, .stop_words = {"monday"}}, {x},
            texts({"TUESDAY"}));
  expect_op(StringNormalizer{.locale = {}, .stop_words = {"monday", "tuesday"}}, {x}, texts({""}));
  expect_op(StringNormalizer{.case_change = CaseChange::lower, .locale = {}, .stop_words = {}},
            {texts({1, 1}, {"\u00c4B"})}, texts({1, 1}, {"\u00e4b"}));
  expect_op_error(StringNormalizer{.locale = {}, .stop_words = {}}, {texts({2, 1}, {"a", "b"})}, "has shape 2x1");
}

TEST(RegexFullMatch, matches_whole_texts_only) {
  const std::string address = "(\\W|^)[\\w.\\-]{0,25}@(yahoo|gmail)\\.com(\\W|$)";
  expect_op(RegexFullMatch{address}, {texts({"account@gmail.com", "account@hotmail.com", "see account@gmail.com"})},
            booleans({3}, {1, 0, 0}));
  expect_op(RegexFullMatch{".."}, {texts({"\u00e4b", "ab\n", ""})}, booleans({3}, {1, 0, 0}));
  expect_op_error(RegexFullMatch{"(a"}, {texts({"a"})}, "pattern '(a'");
}

TEST(LabelEncoder, maps_keys_and_uses_the_default) {
  expect_op(LabelEncoder{.string_keys = {"a", "b"}, .int64_values = {7, 8}, .int64_default = 42},
            {texts({"b", "x", "a"})}, int64s({8, 42, 7}));
  expect_op(LabelEncoder{.string_values = {"none", "zero"}, .float_keys = {kNan, 0}}, {floats({3}, {-0.0F, kNan, 1})},
            texts({"zero", "none", "_Unused"}));
}

TEST(TfIdfVectorizer, counts_with_skips) {
  TfIdfVectorizer op{.min_gram = 2, .max_gram = 2, .max_skip = 5, .counts = {0, 4}, .indexes = {0, 1, 2, 3, 4, 5, 6}};
  op.int64_pool = {2, 3, 5, 4, 5, 6, 7, 8, 6, 7};
  expect_op(op, {int64s({1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8})}, floats({7}, {0, 0, 0, 0, 1, 3, 1}));
}

}  // namespace
}  // namespace bitfold::testing
