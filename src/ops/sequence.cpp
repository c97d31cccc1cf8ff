// Operators on sequences. A sequence shares the memory of its tensors.
#include <algorithm>

#include "ops/containers.h"

namespace bitfold::ops {
namespace {

// ---- Types ----------------------------------------------------------------------------------------------------------

/// The facts that hold for tensors of either type. Throws Error if their element types differ.
ItemType common_item(const ItemType& a, const ItemType& b) {
  const bool knows_both = kItem.contains(a.dtype) && kItem.contains(b.dtype);  // other types are refused by their slot
  check(!knows_both || a.dtype == b.dtype, "a sequence of {} cannot hold a tensor of {}", to_string(a.dtype),
        to_string(b.dtype));
  return {a.dtype == DataType::unknown ? b.dtype : a.dtype, common_shape(a.shape, b.shape)};
}

ValueInfo int64_scalar() { return {.dtype = DataType::int64, .shape = Shape{}}; }

Outputs infer_empty(const Inputs& in) { return {sequence_info({std::get<SequenceEmpty>(in.node.op).dtype, {}})}; }

Outputs infer_construct(const Inputs& in) {
  ItemType items = item_of(in[0]);
  for (std::size_t i = 1; i < in.size(); ++i) items = common_item(items, item_of(in[i]));
  return {sequence_info(std::move(items))};
}

Outputs infer_insert(const Inputs& in) { return {sequence_info(common_item(items_of(in[0]), item_of(in[1])))}; }
Outputs infer_erase(const Inputs& in) { return {sequence_info(items_of(in[0]))}; }
Outputs infer_at(const Inputs& in) { return {tensor_info(items_of(in[0]))}; }
Outputs infer_length(const Inputs&) { return {int64_scalar()}; }

Outputs infer_split_to_sequence(const Inputs& in) {
  const auto& op = std::get<SplitToSequence>(in.node.op);
  ItemType items = item_of(in[0]);
  if (!items.shape) return {sequence_info(std::move(items))};
  const auto axis = at(normalize_axis(op.axis, items.shape->size()));
  if (in.has(1))
    (*items.shape)[axis] = kDynamic;
  else if (op.keepdims)
    (*items.shape)[axis] = 1;
  else
    items.shape->erase(items.shape->begin() + static_cast<std::ptrdiff_t>(axis));
  return {sequence_info(std::move(items))};
}

Outputs infer_concat_from_sequence(const Inputs& in) {
  const auto& op = std::get<ConcatFromSequence>(in.node.op);
  ItemType items = items_of(in[0]);
  if (!items.shape) return {tensor_info(items)};
  if (op.new_axis) items.shape->insert(items.shape->begin() + normalize_axis(op.axis, items.shape->size() + 1), 0);
  (*items.shape)[at(normalize_axis(op.axis, items.shape->size()))] = kDynamic;
  return {tensor_info(items)};
}

// ---- Evaluation -----------------------------------------------------------------------------------------------------

Tensor sequence(std::vector<Tensor> items) { return Tensor::container(DataType::sequence, std::move(items)); }

/// The index that an operand gives, from `first` to `last`; negative ones count from the end.
std::ptrdiff_t position(const Node& node, const TensorView& operand, std::int64_t length, std::int64_t last) {
  check(operand.size() == 1, "{} its position has {} elements, expected 1", where(node), operand.size());
  const std::int64_t given = integer_at(operand, 0);
  check(given >= -length && given <= last, "{} position {} is outside a sequence of length {}", where(node), given,
        length);
  return given < 0 ? given + length : given;
}

std::vector<Tensor> make_empty(const Node&, std::span<const TensorView>) { return one(sequence({})); }

std::vector<Tensor> construct(const Node&, std::span<const TensorView> in) {
  std::vector<Tensor> items;
  for (const TensorView& view : in) items.push_back(tensor_of(view));
  return one(sequence(std::move(items)));
}

std::vector<Tensor> insert(const Node& node, std::span<const TensorView> in) {
  const auto before = items_of(in[0]);
  check(before.empty() || before.front().dtype() == in[1].dtype, "{} a sequence of {} cannot hold a tensor of {}",
        where(node), before.empty() ? "" : to_string(before.front().dtype()), to_string(in[1].dtype));
  std::vector<Tensor> items(before.begin(), before.end());
  const std::int64_t length = std::ssize(items);
  const std::ptrdiff_t at = is_given(in, 2) ? position(node, in[2], length, length) : length;
  items.insert(items.begin() + at, tensor_of(in[1]));
  return one(sequence(std::move(items)));
}

std::vector<Tensor> erase(const Node& node, std::span<const TensorView> in) {
  const auto before = items_of(in[0]);
  std::vector<Tensor> items(before.begin(), before.end());
  const std::int64_t length = std::ssize(items);
  check(length > 0, "{} its sequence is empty", where(node));
  items.erase(items.begin() + (is_given(in, 1) ? position(node, in[1], length, length - 1) : length - 1));
  return one(sequence(std::move(items)));
}

std::vector<Tensor> at_position(const Node& node, std::span<const TensorView> in) {
  const auto items = items_of(in[0]);
  const std::int64_t length = std::ssize(items);
  return one(items[static_cast<std::size_t>(position(node, in[1], length, length - 1))]);
}

void length(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  *out[0].as<std::int64_t>() = in[0].size();
}

/// The sizes of the parts along an axis of that size.
std::vector<std::int64_t> part_sizes(const Node& node, std::span<const TensorView> in, std::int64_t size) {
  if (!is_given(in, 1)) return std::vector<std::int64_t>(static_cast<std::size_t>(size), 1);
  const TensorView& split = in[1];
  std::vector<std::int64_t> sizes;
  std::int64_t sum = 0;
  if (split.shape.empty()) {
    const std::int64_t each = integer_at(split, 0);
    check(each > 0, "{} its parts have size {}; it must be at least 1", where(node), each);
    for (; sum < size; sum += sizes.back()) sizes.push_back(std::min(each, size - sum));
    return sizes;
  }
  for (std::int64_t i = 0; i < split.size(); ++i) {
    sizes.push_back(integer_at(split, i));
    check(sizes.back() >= 0 && sizes.back() <= size - sum, "{} part {} has size {}; {} are left of an axis of size {}",
          where(node), i, sizes.back(), size - sum, size);
    sum += sizes.back();
  }
  check(sum == size, "{} its parts add up to {}, but the axis has size {}", where(node), sum, size);
  return sizes;
}

std::vector<Tensor> split_to_sequence(const Node& node, std::span<const TensorView> in) {
  const auto& op = std::get<SplitToSequence>(node.op);
  const auto shape = in[0].shape;
  check(!shape.empty(), "{} its input is a scalar", where(node));
  const std::size_t axis = wrapped_axis(op.axis, shape.size());
  const AxisVectors vectors = axis_vectors(shape, op.axis, false);
  const std::size_t row = static_cast<std::size_t>(vectors.inner) * element_bytes(in[0].dtype);
  const bool drops_axis = !op.keepdims && !is_given(in, 1);
  std::vector<Tensor> items;
  std::size_t start = 0;
  for (const std::int64_t size : part_sizes(node, in, shape[axis])) {
    Shape part(shape.begin(), shape.end());
    part[axis] = size;
    Tensor item = Tensor::uninitialized(in[0].dtype, part);
    std::byte* to = item.mutable_bytes();
    const std::size_t bytes = static_cast<std::size_t>(size) * row;
    for (std::int64_t o = 0; o < vectors.outer; ++o, to += bytes)
      copy_run(in[0].dtype, in[0].data + static_cast<std::size_t>(o * vectors.n) * row + start, to, bytes);
    start += bytes;
    if (drops_axis) part.erase(part.begin() + static_cast<std::ptrdiff_t>(axis));
    items.push_back(drops_axis ? item.reshaped(part) : std::move(item));
  }
  return one(sequence(std::move(items)));
}

std::vector<Tensor> concat(const Node& node, std::span<const TensorView> in) {
  const auto& op = std::get<ConcatFromSequence>(node.op);
  const auto items = items_of(in[0]);
  check(!items.empty(), "{} its sequence is empty", where(node));
  const Tensor& first = items.front();
  const std::size_t rank = first.shape().size() + (op.new_axis ? 1 : 0);
  const std::size_t axis = wrapped_axis(op.axis, rank);
  Shape shape = first.shape();
  if (op.new_axis) shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 1);
  shape[axis] = 0;
  const auto size_of = [&](const Tensor& item) { return op.new_axis ? 1 : item.shape()[axis]; };
  for (const Tensor& item : items) {
    bool fits = item.dtype() == first.dtype() && item.shape().size() == first.shape().size();
    for (std::size_t i = 0; fits && i < first.shape().size(); ++i)
      fits = item.shape()[i] == first.shape()[i] || (i == axis && !op.new_axis);
    check(fits, "{} it joins tensors of {} {} and {} {} along axis {}", where(node), to_string(first.dtype()),
          to_string(first.shape()), to_string(item.dtype()), to_string(item.shape()), op.axis);
    shape[axis] += size_of(item);
  }
  Tensor y = Tensor::uninitialized(first.dtype(), shape);
  std::byte* to = y.mutable_bytes();
  const AxisVectors vectors = axis_vectors(shape, static_cast<std::int64_t>(axis), false);
  const std::size_t row = static_cast<std::size_t>(vectors.inner) * element_bytes(first.dtype());
  for (std::size_t o = 0; o < static_cast<std::size_t>(vectors.outer); ++o)
    for (const Tensor& item : items) {
      const std::size_t bytes = static_cast<std::size_t>(size_of(item)) * row;
      copy_run(first.dtype(), item.bytes() + o * bytes, to, bytes);
      to += bytes;
    }
  return one(std::move(y));
}

}  // namespace

std::vector<OperatorInfo> sequence_operators() {
  const auto position_slot = [](Presence presence) { return Slot{"position", kIndex, 0, presence, Use::parameter}; };
  const Slot sequence{"input_sequence", kSequence}, sequence_out{"output_sequence", kSequence}, tensor{"tensor", kItem};
  return {
      {.name = "SequenceEmpty",
       .since = 11,
       .prototype = SequenceEmpty{},
       .outputs = {{"output", kSequence}},
       .fields = {field("dtype", &SequenceEmpty::dtype)},
       .infer = infer_empty,
       .evaluate_dynamic = make_empty},
      {.name = "SequenceConstruct",
       .since = 11,
       .prototype = SequenceConstruct{},
       .inputs = {{"inputs", kItem, 'T', Presence::variadic}},
       .outputs = {sequence_out},
       .infer = infer_construct,
       .evaluate_dynamic = construct},
      {.name = "SequenceInsert",
       .since = 11,
       .prototype = SequenceInsert{},
       .inputs = {sequence, tensor, position_slot(Presence::optional)},
       .outputs = {sequence_out},
       .infer = infer_insert,
       .evaluate_dynamic = insert},
      {.name = "SequenceErase",
       .since = 11,
       .prototype = SequenceErase{},
       .inputs = {sequence, position_slot(Presence::optional)},
       .outputs = {sequence_out},
       .infer = infer_erase,
       .evaluate_dynamic = erase},
      {.name = "SequenceAt",
       .since = 11,
       .prototype = SequenceAt{},
       .inputs = {sequence, position_slot(Presence::required)},
       .outputs = {tensor},
       .infer = infer_at,
       .evaluate_dynamic = at_position},
      {.name = "SequenceLength",
       .since = 11,
       .prototype = SequenceLength{},
       .inputs = {sequence},
       .outputs = {{"length", kInt64}},
       .infer = infer_length,
       .evaluate = length},
      {.name = "SplitToSequence",
       .since = 11,
       .prototype = SplitToSequence{},
       .inputs = {{"input", kItem}, {"split", kIndex, 0, Presence::optional, Use::parameter}},
       .outputs = {sequence_out},
       .fields = {field("axis", &SplitToSequence::axis), field("keepdims", &SplitToSequence::keepdims)},
       .infer = infer_split_to_sequence,
       .evaluate_dynamic = split_to_sequence},
      {.name = "ConcatFromSequence",
       .since = 11,
       .prototype = ConcatFromSequence{},
       .inputs = {sequence},
       .outputs = {{"concat_result", kItem}},
       .fields = {required(field("axis", &ConcatFromSequence::axis)), field("new_axis", &ConcatFromSequence::new_axis)},
       .infer = infer_concat_from_sequence,
       .evaluate_dynamic = concat}};
}

}  // namespace bitfold::ops
