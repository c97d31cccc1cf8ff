// Descriptions of operator attributes. The text form, the ONNX reader and writer, and the fingerprint of a network all
// use them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"
#include "bitfold/ops.h"

namespace bitfold::ops {

/// The value of an attribute, in ONNX's types. A DataType is a number in a file and a word in the text form.
using AttributeValue = std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>, std::vector<float>,
                                    std::vector<std::string>, Tensor, DataType>;

struct Field {
  std::string_view name;  ///< ONNX's name: "kernel_shape".
  /// Empty if a file does not need the attribute.
  std::function<std::optional<AttributeValue>(const Op& op)> get;
  /// Throws Error on a wrong type or a value out of range. Returns the reason if Bitfold has no operator with that
  /// value.
  std::function<std::optional<std::string>(Op& op, const AttributeValue& value)> set;
  bool is_required = false;  ///< Whether a file without it is malformed.
  bool is_internal = false;  ///< Used in the text form only; ONNX has no such attribute.
  /// The type accepted by set(), as an index into AttributeValue.
  std::size_t type = 0;
  /// Whether a file omits this value although it differs from the prototype's; null means never.
  bool (*is_implied)(const AttributeValue& value) = nullptr;
};

/// A word in a file and its enumerator.
template <class E>
struct Word {
  std::string_view word;
  E value;
};

struct Interval {
  std::int64_t min = std::numeric_limits<std::int64_t>::min(), max = std::numeric_limits<std::int64_t>::max();
};
/// Sizes and counts.
inline constexpr Interval kPositive{1, std::numeric_limits<std::int32_t>::max()};
inline constexpr Interval kNonNegative{0, std::numeric_limits<std::int32_t>::max()};

namespace detail {

template <class T>
struct Stored {
  using Type = T;
};
template <>
struct Stored<bool> {
  using Type = std::int64_t;
};
template <class T>
struct Stored<std::optional<T>> {
  using Type = T;
};

template <class T>
constexpr std::size_t type_index() {
  using S = typename Stored<T>::Type;
  return AttributeValue(S{}).index();
}

template <class T>
const T& as(std::string_view name, const AttributeValue& value) {
  const T* typed = std::get_if<T>(&value);
  check(typed != nullptr, "attribute '{}' has another type than expected", name);
  return *typed;
}

inline void check_range(std::string_view name, std::int64_t value, Interval range) {
  check(value >= range.min && value <= range.max, "attribute '{}' has the invalid value {}", name, value);
}

template <class T>
std::optional<AttributeValue> to_value(const T& member) {
  if constexpr (std::is_same_v<T, bool>)
    return AttributeValue(std::int64_t{member ? 1 : 0});
  else
    return AttributeValue(member);
}
template <class T>
std::optional<AttributeValue> to_value(const std::optional<T>& member) {
  if (!member) return std::nullopt;
  return AttributeValue(*member);
}

template <class T>
void from_value(std::string_view name, const AttributeValue& value, Interval range, T& member) {
  const auto& stored = as<typename Stored<T>::Type>(name, value);
  if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::optional<std::int64_t>>)
    check_range(name, stored, range);
  if constexpr (std::is_same_v<T, std::vector<std::int64_t>>)
    for (std::int64_t entry : stored)
      check(entry >= range.min && entry <= range.max, "attribute '{}' has the invalid entry {}", name, entry);
  if constexpr (std::is_same_v<T, bool>)
    member = stored != 0;
  else
    member = stored;
}

}  // namespace detail

/// An attribute that is a member of the operator's struct. Entries of lists must also be in `range`.
template <class O, class T>
Field field(std::string_view name, T O::*member, Interval range = {}) {
  return {.name = name,
          .get = [member](const Op& op) { return detail::to_value(std::get<O>(op).*member); },
          .set = [=](Op& op, const AttributeValue& value) -> std::optional<std::string> {
            detail::from_value(name, value, range, std::get<O>(op).*member);
            return std::nullopt;
          },
          .type = detail::type_index<T>()};
}
/// A member of a member, such as an entry of a Window.
template <class O, class S, class T>
Field field(std::string_view name, S O::*part, T S::*member, Interval range = {}) {
  return {.name = name,
          .get = [=](const Op& op) { return detail::to_value((std::get<O>(op).*part).*member); },
          .set = [=](Op& op, const AttributeValue& value) -> std::optional<std::string> {
            detail::from_value(name, value, range, (std::get<O>(op).*part).*member);
            return std::nullopt;
          },
          .type = detail::type_index<T>()};
}

/// An enumeration written as words in files. Other words are forms that Bitfold lacks.
template <class E, class Get>
Field word_field(std::string_view name, Get member_of, std::vector<Word<E>> words) {
  return {.name = name,
          .get = [=](const Op& op) -> std::optional<AttributeValue> {
            Op copy = op;
            for (const Word<E>& w : words)
              if (w.value == member_of(copy)) return AttributeValue(std::string(w.word));
            fail("attribute '{}' has a value without a name", name);
          },
          .set = [=](Op& op, const AttributeValue& value) -> std::optional<std::string> {
            const auto& given = detail::as<std::string>(name, value);
            for (const Word<E>& w : words)
              if (w.word == given) {
                member_of(op) = w.value;
                return std::nullopt;
              }
            return fmt::format("attribute '{}' is '{}'", name, given);
          },
          .type = AttributeValue(std::string()).index()};
}
template <class O, class E>
Field field(std::string_view name, E O::*member, std::vector<Word<E>> words) {
  return word_field<E>(
      name, [member](Op& op) -> E& { return std::get<O>(op).*member; }, std::move(words));
}
template <class O, class S, class E>
Field field(std::string_view name, S O::*part, E S::*member, std::vector<Word<E>> words) {
  return word_field<E>(
      name, [=](Op& op) -> E& { return (std::get<O>(op).*part).*member; }, std::move(words));
}

/// Makes an attribute mandatory.
inline Field required(Field field) {
  field.is_required = true;
  return field;
}
/// A list that files omit if it is empty.
inline Field omitted_when_empty(Field field) {
  field.get = [get = field.get](const Op& op) {
    std::optional<AttributeValue> value = get(op);
    const auto* list = value ? std::get_if<std::vector<std::int64_t>>(&*value) : nullptr;
    return list != nullptr && list->empty() ? std::nullopt : value;
  };
  return field;
}
/// A member that is not an attribute in files.
template <class O, class T>
Field internal(std::string_view name, T O::*member) {
  Field made = field(name, member);
  made.is_internal = true;
  return made;
}
/// An attribute without effect on inference; it is read and dropped.
template <class T>
Field ignored(std::string_view name) {
  return {.name = name,
          .get = [](const Op&) -> std::optional<AttributeValue> { return std::nullopt; },
          .set = [](Op&, const AttributeValue&) -> std::optional<std::string> { return std::nullopt; },
          .type = detail::type_index<T>()};
}
/// An attribute of which Bitfold supports a single value.
template <class T>
Field only(std::string_view name, T value) {
  return {.name = name,
          .get = [](const Op&) -> std::optional<AttributeValue> { return std::nullopt; },
          .set = [=](Op&, const AttributeValue& given) -> std::optional<std::string> {
            if (detail::as<T>(name, given) == value) return std::nullopt;
            return fmt::format("attribute '{}' is not {}", name, value);
          },
          .type = detail::type_index<T>()};
}

/// Whether all entries are 1, the default of dilations. ONNX Runtime's quantized pools reject even explicit ones.
inline bool is_all_ones(const AttributeValue& value) {
  const auto* list = std::get_if<std::vector<std::int64_t>>(&value);
  return list != nullptr && std::ranges::all_of(*list, [](std::int64_t entry) { return entry == 1; });
}
inline Field implied_when(Field field, bool (*is_implied)(const AttributeValue& value)) {
  field.is_implied = is_implied;
  return field;
}

/// The attributes of Op::window of a convolution or pool.
template <class O>
std::vector<Field> window_fields() {
  return {omitted_when_empty(field("kernel_shape", &O::window, &Window::kernel, kPositive)),
          omitted_when_empty(field("strides", &O::window, &Window::strides, kPositive)),
          implied_when(omitted_when_empty(field("dilations", &O::window, &Window::dilations, kPositive)), is_all_ones),
          omitted_when_empty(field("pads", &O::window, &Window::pads, kNonNegative)),
          field<O>("auto_pad", &O::window, &Window::auto_pad,
                   std::vector<Word<AutoPad>>{{"NOTSET", AutoPad::none},
                                              {"SAME_UPPER", AutoPad::same_upper},
                                              {"SAME_LOWER", AutoPad::same_lower},
                                              {"VALID", AutoPad::valid}})};
}

/// Window attributes without those that the operator lacks.
inline std::vector<Field> without(std::vector<Field> fields, std::initializer_list<std::string_view> names) {
  std::erase_if(fields, [&](const Field& f) { return std::ranges::find(names, f.name) != names.end(); });
  return fields;
}

inline std::vector<Field> operator+(std::vector<Field> a, std::vector<Field> b) {
  a.insert(a.end(), std::make_move_iterator(b.begin()), std::make_move_iterator(b.end()));
  return a;
}

}  // namespace bitfold::ops
