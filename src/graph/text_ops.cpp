// Operators in the text form: every field of an operator's row, by name.
#include "base/check.h"
#include "graph/text_fields.h"
#include "ops/operator.h"

namespace bitfold::text {
namespace {

std::string form(std::int64_t v) { return fmt::format("{}", v); }
std::string form(float v) { return fmt::format("{}", v); }
std::string form(const std::string& v) { return quoted(v); }
std::string form(const std::vector<std::int64_t>& v) { return print(v); }
std::string form(const std::vector<float>& v) { return print(v); }
std::string form(const std::vector<std::string>& v) {
  std::string out = "[";
  for (const std::string& s : v) out += (out.size() > 1 ? "," : "") + quoted(s);
  return out + "]";
}
std::string form(const Tensor& v) {
  return fmt::format("{} {} {}", to_string(v.dtype()), print(v.shape()), print_elements(v));
}
std::string form(DataType v) { return std::string(to_string(v)); }

void read(Cursor& line, std::int64_t& v) { v = line.integer(); }
void read(Cursor& line, float& v) { v = static_cast<float>(line.real()); }
void read(Cursor& line, std::string& v) { v = line.quoted(); }
void read(Cursor& line, std::vector<std::int64_t>& v) { v = line.integers(); }
void read(Cursor& line, std::vector<float>& v) {
  for (double x : line.reals()) v.push_back(static_cast<float>(x));
}
void read(Cursor& line, std::vector<std::string>& v) {
  line.expect("[");
  while (!line.accept("]")) {
    if (!v.empty()) line.expect(",");
    v.push_back(line.quoted());
  }
}
void read(Cursor& line, Tensor& v) {
  const DataType dtype = parse_dtype(line.word());
  Shape shape = line.integers();
  constexpr std::int64_t kMaxElements = 1 << 16;  // limits the memory that a short text can request
  check(is_static(shape) && element_count(shape) <= kMaxElements && !is_container(dtype),
        "expected at most {} elements, found {} of shape {}", kMaxElements, to_string(dtype), to_string(shape));
  v = Tensor(dtype, std::move(shape));
  read_elements(line, v);
}
void read(Cursor& line, DataType& v) { v = parse_dtype(line.word()); }

/// A default-constructed Op that holds alternative number `index`.
template <std::size_t I = 0>
ops::AttributeValue value_of_type(std::size_t index) {
  if constexpr (I < std::variant_size_v<ops::AttributeValue>) {
    if (index == I) return ops::AttributeValue(std::in_place_index<I>);
    return value_of_type<I + 1>(index);
  }
  fail("attribute of type {}", index);
}

}  // namespace

std::string op_word(const Op& op) { return std::string(ops::info(op).name); }

std::string print_attributes(const Op& op) {
  std::string out = "{";
  for (const ops::Field& field : ops::info(op).fields)
    if (const auto value = field.get(op))
      out += fmt::format("{}{}={}", out.size() > 1 ? " " : "", field.name,
                         std::visit([](const auto& v) { return form(v); }, *value));
  return out + "}";
}

Op read_op(const std::string& word, Cursor& line) {
  const ops::OperatorInfo* row = ops::find_operator_named(word);
  check(row != nullptr, "unknown operator '{}'", word);
  Op op = row->prototype;
  line.expect("{");
  while (!line.accept("}")) {
    const std::string name = line.word();
    const auto field = std::ranges::find(row->fields, name, &ops::Field::name);
    check(field != row->fields.end(), "{} has no attribute '{}'", word, name);
    line.expect("=");
    ops::AttributeValue value = value_of_type(field->type);
    std::visit([&](auto& v) { read(line, v); }, value);
    const auto reason = field->set(op, value);
    check(!reason, "{}", reason.value_or(""));
  }
  return op;
}

}  // namespace bitfold::text
