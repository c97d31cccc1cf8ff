#include "onnx/expansion.h"

#include <map>

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"

namespace bitfold {

Expansion::Expansion(const onnx::NodeProto& node, Context context) : node_(node), context_(std::move(context)) {}

bool Expansion::gives(int slot) const {
  return slot < node_.output_size() && !node_.output(slot).empty() && context_.is_read(node_.output(slot));
}

std::optional<std::int64_t> Expansion::rank(int slot) const {
  const std::optional<Shape> known = shape(slot);
  if (!known) return std::nullopt;
  return std::ssize(*known);
}

template <class T>
std::optional<T> Expansion::attribute(std::string_view name) const {
  const onnx::AttributeProto* found = find_attribute(node_, name);
  if (found == nullptr) return std::nullopt;
  const std::optional<ops::AttributeValue> value = read_attribute(*found, context_.folder);
  const T* typed = value ? std::get_if<T>(&*value) : nullptr;
  check(typed != nullptr, "attribute '{}' has another type than expected", name);
  return *typed;
}

std::int64_t Expansion::integer(std::string_view name, std::int64_t otherwise) const {
  return attribute<std::int64_t>(name).value_or(otherwise);
}
float Expansion::real(std::string_view name, float otherwise) const {
  return attribute<float>(name).value_or(otherwise);
}
std::string Expansion::word(std::string_view name, std::string_view otherwise) const {
  return attribute<std::string>(name).value_or(std::string(otherwise));
}
std::vector<std::int64_t> Expansion::integers(std::string_view name) const {
  return attribute<std::vector<std::int64_t>>(name).value_or(std::vector<std::int64_t>{});
}
std::vector<float> Expansion::reals(std::string_view name) const {
  return attribute<std::vector<float>>(name).value_or(std::vector<float>{});
}

Expansion::Attributes Expansion::attributes(std::initializer_list<std::string_view> names) const {
  Attributes found;
  for (const onnx::AttributeProto& attribute : node_.attribute())
    for (const std::string_view name : names)
      if (attribute.name() == name)
        if (auto value = read_attribute(attribute, context_.folder)) found.emplace_back(name.data(), std::move(*value));
  return found;
}

void Expansion::fill(onnx::NodeProto& made, const char* type, Names inputs, const Attributes& attributes) {
  made.set_op_type(type);
  while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
  for (std::string& name : inputs) made.add_input(std::move(name));
  for (const auto& [name, value] : attributes) set_attribute(made, name, value);
}

Expansion::Names Expansion::add(const char* type, Names inputs, int count, const Attributes& attributes) {
  const std::string owner = node_.name().empty() && node_.output_size() > 0 ? node_.output(0) : node_.name();
  onnx::NodeProto& made = nodes_.emplace_back();
  fill(made, type, std::move(inputs), attributes);
  Names outputs;
  for (int i = 0; i < count; ++i) {
    outputs.push_back(context_.fresh(owner + "/" + type));
    made.add_output(outputs.back());
  }
  made.set_name(outputs.front());
  return outputs;
}

std::string Expansion::add(const char* type, Names inputs, const Attributes& attributes) {
  return add(type, std::move(inputs), 1, attributes).front();
}

void Expansion::give(int slot, const char* type, Names inputs, const Attributes& attributes) {
  onnx::NodeProto& made = nodes_.emplace_back();
  fill(made, type, std::move(inputs), attributes);
  made.add_output(node_.output(slot));
  made.set_name(slot == 0 ? node_.name() : node_.output(slot));
}

std::string Expansion::add_constant(const Tensor& tensor) { return add("Constant", {}, {{"value", tensor}}); }
std::string Expansion::number(float value) { return add_constant(float_scalar(value)); }
std::string Expansion::number(std::int64_t value) {
  return add_constant(Tensor::from<std::int64_t>({}, std::span<const std::int64_t>(&value, 1)));
}
std::string Expansion::list(const std::vector<std::int64_t>& values) { return add_constant(int64_vector(values)); }

ExpandNode find_expansion(std::string_view domain, std::string_view type) {
  static const auto table = [] {
    std::map<std::pair<std::string_view, std::string_view>, ExpandNode> all;
    for (auto* family : {quantized_expansions, fused_expansions, attention_expansions, recurrent_expansions})
      for (const ExpansionRow& row : family()) all[{row.domain, row.type}] = row.expand;
    return all;
  }();
  const auto it = table.find({domain, type});
  return it == table.end() ? ExpandNode(nullptr) : it->second;
}

}  // namespace bitfold
