// The table of all families, and queries that work the same for every operator.
#include <algorithm>
#include <array>
#include <map>

#include "base/check.h"
#include "ops/operator.h"

namespace bitfold {
namespace ops {
namespace {

// The kind of a member within its family.
template <class T>
int kind_of(const T& op) {
  if constexpr (requires { op.kind; })
    return static_cast<int>(op.kind);
  else
    return 0;
}
int kind_of(const ArgReduce& op) { return op.is_max ? 1 : 0; }
int kind_of(const Softmax& op) { return op.log ? 1 : 0; }
int kind_of(const MakeOptional&) { return 0; }  // its kind is a type

int kind_of(const Op& op) {
  return std::visit([](const auto& o) { return kind_of(o); }, op);
}

struct Table {
  std::vector<OperatorInfo> rows;
  // Indexed by the operator's index in Op, then by kind.
  std::array<std::vector<const OperatorInfo*>, std::variant_size_v<OpVariant>> by_kind;
  std::map<std::pair<std::string_view, std::string_view>, const OperatorInfo*> by_name;

  Table() {
    for (auto* family :
         {conv_operators,      matrix_operators,    normalize_operators, pool_operators,     lp_pool_operators,
          unary_operators,     cast_operators,      binary_operators,    reduce_operators,   join_operators,
          reshape_operators,   index_operators,     fill_operators,      resize_operators,   control_operators,
          scatter_operators,   select_operators,    box_operators,       sample_operators,   spectrum_operators,
          recurrent_operators, attention_operators, code_operators,      random_operators,   loss_operators,
          einsum_operators,    arrange_operators,   sequence_operators,  optional_operators, text_operators,
          symbol_operators,    internal_operators})
      for (OperatorInfo& row : family()) rows.push_back(std::move(row));
    for (const OperatorInfo& row : rows) {
      auto& kinds = by_kind[row.prototype.index()];
      const auto kind = static_cast<std::size_t>(kind_of(row.prototype));
      if (kinds.size() <= kind) kinds.resize(kind + 1);
      check(kinds[kind] == nullptr, "operator table: {} and {} have one row", row.name,
            kinds[kind] == nullptr ? "" : kinds[kind]->name);
      kinds[kind] = &row;
      if (row.other_name.empty()) by_name[{row.domain, row.name}] = &row;
    }
  }
};

const Table& table() {
  static const Table made;
  return made;
}

}  // namespace

const OperatorInfo& info(const Op& op) {
  const auto& kinds = table().by_kind[op.index()];
  const auto kind = static_cast<std::size_t>(kind_of(op));
  check(kind < kinds.size() && kinds[kind] != nullptr, "operator table: no row for operator {} of kind {}", op.index(),
        kind);
  return *kinds[kind];
}

std::span<const OperatorInfo> all_operators() { return table().rows; }

const OperatorInfo* find_operator(std::string_view domain, std::string_view name) {
  const auto it = table().by_name.find({domain, name});
  return it == table().by_name.end() ? nullptr : it->second;
}

const OperatorInfo* find_operator_named(std::string_view name) {
  const auto it = std::ranges::find(table().rows, name, &OperatorInfo::text_name);
  return it == table().rows.end() ? nullptr : &*it;
}

const Slot* slot_at(std::span<const Slot> slots, std::size_t index) {
  if (index < slots.size()) return &slots[index];
  return !slots.empty() && slots.back().presence == Presence::variadic ? &slots.back() : nullptr;
}

std::vector<ValueId> inputs_with(const Node& node, Use use) {
  const auto& slots = info(node.op).inputs;
  std::vector<ValueId> found;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const Slot* slot = slot_at(slots, i);
    if (slot != nullptr && slot->use == use && node.inputs[i] != ValueId::none) found.push_back(node.inputs[i]);
  }
  return found;
}

ValueId input_with(const Node& node, Use use) {
  const std::vector<ValueId> found = inputs_with(node, use);
  return found.empty() ? ValueId::none : found.front();
}

ValueId input_named(const Node& node, std::string_view name) {
  const auto& slots = info(node.op).inputs;
  const auto found = std::ranges::find(slots, name, &Slot::name);
  const auto i = static_cast<std::size_t>(found - slots.begin());
  return found == slots.end() || i >= node.inputs.size() ? ValueId::none : node.inputs[i];
}

const Window* window_of(const Op& op) {
  return std::visit(
      [](const auto& o) -> const Window* {
        if constexpr (requires { o.window; })
          return &o.window;
        else
          return nullptr;
      },
      op);
}

void check_slots(const Node& node) {
  const OperatorInfo& row = info(node.op);
  const bool is_opaque = std::holds_alternative<Opaque>(node.op);
  const std::size_t count = node.inputs.size();
  const auto required = static_cast<std::size_t>(
      std::ranges::count(row.inputs, Presence::required, [](const Slot& slot) { return slot.presence; }));
  const bool is_variadic = !row.inputs.empty() && row.inputs.back().presence == Presence::variadic;
  if (is_variadic) {
    const bool needs_one = row.inputs.size() == 1 && !is_opaque;
    check(count >= required + (needs_one ? 1 : 0), "has {} inputs, but needs at least {}", count,
          required + (needs_one ? 1 : 0));
  } else {
    const std::size_t most = row.inputs.size();
    check(count >= required && count <= most, "has {} inputs, but accepts {}", count,
          required == most ? fmt::format("{}", most) : fmt::format("{} to {}", required, most));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Slot& slot = *slot_at(row.inputs, i);
    const bool may_be_absent = slot.presence == Presence::optional || is_opaque;
    check(may_be_absent || node.inputs[i] != ValueId::none, "lacks input {} ('{}'), which is not optional", i,
          slot.name);
  }
  check(!node.outputs.empty(), "has no output");
  check(slot_at(row.outputs, node.outputs.size() - 1) != nullptr, "has {} outputs, but produces {}",
        node.outputs.size(), row.outputs.size());
  check(node.bodies.size() == row.bodies.size(), "has {} bodies, but needs {}", node.bodies.size(), row.bodies.size());
}

std::optional<std::string> why_not_accepted(const Node& node, std::span<const ValueInfo> inputs,
                                            std::span<const ValueInfo> outputs) {
  const OperatorInfo& row = info(node.op);
  std::map<char, std::pair<const Slot*, DataType>> groups;
  for (std::size_t i = 0; i < inputs.size() && i < node.inputs.size(); ++i) {
    if (node.inputs[i] == ValueId::none) continue;
    const Slot& slot = *slot_at(row.inputs, i);
    const DataType type = inputs[i].dtype;
    if (!slot.types.contains(type))
      return fmt::format("input '{}' is {}; accepted: {}", slot.name, to_string(type), to_string(slot.types));
    if (slot.group == 0) continue;
    const auto [first, is_new] = groups.try_emplace(slot.group, &slot, type);
    if (!is_new && first->second.second != type)
      return fmt::format("inputs '{}' and '{}' are {} and {}; they must have one type", first->second.first->name,
                         slot.name, to_string(first->second.second), to_string(type));
  }
  // A type given by an attribute, as in Cast and ConstantOfShape.
  for (std::size_t i = 0; i < outputs.size() && i < node.outputs.size(); ++i) {
    const Slot& slot = *slot_at(row.outputs, i);
    if (node.outputs[i] != ValueId::none && !slot.types.contains(outputs[i].dtype))
      return fmt::format("output '{}' is {}; accepted: {}", slot.name, to_string(outputs[i].dtype),
                         to_string(slot.types));
  }
  return std::nullopt;
}

std::string to_string(TypeSet types) {
  std::string text;
  for (int i = 0; i < static_cast<int>(DataType::unknown); ++i)
    if (types.contains(static_cast<DataType>(i)))
      text += fmt::format("{}{}", text.empty() ? "" : ", ", bitfold::to_string(static_cast<DataType>(i)));
  return text;
}

}  // namespace ops

std::string op_name(const Op& op) {
  if (const auto* opaque = std::get_if<Opaque>(&op))
    return opaque->domain.empty() ? opaque->type : opaque->domain + "." + opaque->type;
  const ops::OperatorInfo& row = ops::info(op);
  return row.domain.empty() || row.is_internal ? std::string(row.name) : fmt::format("{}.{}", row.domain, row.name);
}

std::string body_prefix(const Node& node, std::size_t body) { return fmt::format("{}.{}/", node.name, body); }

std::string where(const Node& node) { return fmt::format("[{} '{}']", op_name(node.op), node.name); }

}  // namespace bitfold
