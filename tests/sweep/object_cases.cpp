// Operators on sequences, optionals and strings.
#include "sweep/case.h"

namespace bitfold::testing {
namespace {

using Strings = std::vector<std::string>;
using Ints = std::vector<std::int64_t>;

const ops::TypeSet kFloatSequence{DataType::float32, DataType::sequence};

void add_sequences(std::vector<Case>& cases) {
  const Operand three = sequence_of({{2, 3}, {1, 3}, {4, 3}});
  for (DataType type : {DataType::float32, DataType::int64, DataType::string})
    cases.push_back({.op = SequenceEmpty{type}, .inputs = {}});
  cases.push_back({.op = SequenceConstruct{}, .inputs = {data({2, 3}), data({4}), data({})}});
  cases.push_back({.op = SequenceInsert{}, .inputs = {three, data({5})}, .types = kFloatSequence});
  for (std::int64_t position : {0, 2, 3, -3})
    cases.push_back({.op = SequenceInsert{}, .inputs = {three, data({5}), number(position)}, .types = kFloatSequence});
  cases.push_back({.op = SequenceErase{}, .inputs = {three}});
  cases.push_back({.op = SequenceErase{}, .inputs = {three, number(-3)}});
  cases.push_back({.op = SequenceAt{}, .inputs = {three, number(1)}});
  cases.push_back({.op = SequenceAt{}, .inputs = {three, number(-1)}});
  cases.push_back({.op = SequenceLength{}, .inputs = {three}});
  for (bool keepdims : {true, false}) {
    cases.push_back({.op = SplitToSequence{.axis = 1, .keepdims = keepdims}, .inputs = {data({2, 3, 2})}});
    cases.push_back({.op = SplitToSequence{.axis = -1, .keepdims = keepdims}, .inputs = {data({3, 5}), number(2)}});
  }
  cases.push_back({.op = SplitToSequence{}, .inputs = {data({5, 3}), vector({1, 0, 4})}});
  cases.push_back({.op = ConcatFromSequence{}, .inputs = {three}});
  cases.push_back({.op = ConcatFromSequence{.axis = -1}, .inputs = {sequence_of({{2, 3}, {2, 1}})}});
  cases.push_back({.op = ConcatFromSequence{.axis = -1, .new_axis = true}, .inputs = {sequence_of({{2, 3}, {2, 3}})}});
}

void add_optionals(std::vector<Case>& cases) {
  cases.push_back({.op = MakeOptional{}, .inputs = {data({2, 3})}});
  cases.push_back({.op = MakeOptional{DataType::optional, DataType::int64}, .inputs = {}});
  cases.push_back({.op = MakeOptional{DataType::optional_sequence, DataType::string}, .inputs = {}});
  cases.push_back({.op = OptionalHasElement{}, .inputs = {data({2, 3})}});
  cases.push_back({.op = OptionalHasElement{}, .inputs = {}});
  cases.push_back({.op = OptionalGetElement{}, .inputs = {data({2, 3})}});
}

void add_texts(std::vector<Case>& cases) {
  cases.push_back({.op = StringConcat{}, .inputs = {data({3, 4}), data({4})}});
  cases.push_back({.op = StringSplit{}, .inputs = {data({3, 4})}, .outputs = 2});
  cases.push_back({.op = StringSplit{.delimiter = "-", .max_split = 1}, .inputs = {data({7})}, .outputs = 2});
  for (CaseChange change : {CaseChange::none, CaseChange::lower, CaseChange::upper})
    cases.push_back({.op = StringNormalizer{.case_change = change, .locale = {}, .stop_words = {"a", "MONDAY"}},
                     .inputs = {data({1, 9})}});
  cases.push_back({.op = RegexFullMatch{"[a-z -]*"}, .inputs = {data({3, 5})}});
}

void add_symbols(std::vector<Case>& cases) {
  const auto add = [&](const LabelEncoder& op, DataType keys, double low = 0, double high = 4) {
    cases.push_back({.op = op, .inputs = {data({3, 4}, low, high)}, .types = ops::TypeSet{keys}});
  };
  add({.string_keys = {"a", "b", ""}, .int64_values = {4, 5, 6}}, DataType::string);
  add({.string_values = {"one", "two"}, .int64_keys = {1, 2}}, DataType::int64);
  add({.int64_values = {7}, .float_keys = {0}}, DataType::float32, 0, 0);
  add({.tensor_keys = Tensor::from<std::int64_t>({3}, Ints{1, 2, 3}),
       .tensor_values = Tensor::from<std::string>({3}, Strings{"x", "y", "z"}),
       .tensor_default = Tensor::from<std::string>({1}, Strings{"?"})},
      DataType::int64);
  TfIdfVectorizer op{.min_gram = 1, .max_gram = 2, .max_skip = 1, .counts = {0, 2}, .indexes = {0, 1, 3, 2}};
  op.int64_pool = {1, 2, 1, 2, 2, 2};
  const ops::TypeSet integers{DataType::int32, DataType::int64};
  for (TfIdfMode mode : {TfIdfMode::tf, TfIdfMode::idf, TfIdfMode::tfidf}) {
    op.mode = mode;
    op.weights = {0.5F, 2, 3, 4};
    cases.push_back({.op = op, .inputs = {data({3, 7}, 0, 3)}, .types = integers});
  }
  op.int64_pool.clear();
  op.string_pool = {"a", "b", "a", "b", "b", "b"};
  cases.push_back({.op = op, .inputs = {data({9})}, .types = ops::TypeSet{DataType::string}});
}

}  // namespace

std::vector<Case> object_cases() {
  std::vector<Case> cases;
  add_sequences(cases);
  add_optionals(cases);
  add_texts(cases);
  add_symbols(cases);
  return cases;
}

}  // namespace bitfold::testing
