// Custom operators: checks what their functions return, and decodes the attributes of their nodes.
#include "bitfold/custom_ops.h"

#include <dlfcn.h>

#include <filesystem>

#include "base/check.h"
#include "onnx/attributes.h"
#include "ops/custom.h"
#include "ops/type_set.h"

namespace bitfold {
namespace {

constexpr const char* kEntry = "bitfold_register_operators";

struct ToPublic {
  template <class T>
  CustomAttribute operator()(T value) const {
    return value;
  }
  CustomAttribute operator()(const Tensor& tensor) const {
    check(!holds_objects(tensor.dtype()), "has an attribute that is a tensor of strings");
    return TensorAttribute{tensor.dtype(), tensor.shape(), {tensor.bytes(), tensor.bytes() + tensor.size_bytes()}};
  }
  CustomAttribute operator()(DataType type) const { return static_cast<std::int64_t>(type); }
};

CustomNode described(const Node& node) {
  CustomNode made{.name = node.name, .attributes = {}, .output_count = node.outputs.size()};
  for (const std::string& bytes : std::get<Opaque>(node.op).attributes) {
    onnx::AttributeProto attribute;
    check(attribute.ParseFromString(bytes), "has an attribute that cannot be read");
    auto value = read_attribute(attribute, "");
    check(value.has_value(), "attribute '{}' has a type that custom operators cannot have", attribute.name());
    made.attributes.emplace(attribute.name(), std::visit(ToPublic{}, std::move(*value)));
  }
  return made;
}

void check_counts(const CustomOperator& op, const Node& node) {
  const std::size_t count = node.inputs.size();
  check(count >= op.min_inputs && count <= op.max_inputs, "has {} inputs, but accepts {}", count,
        op.max_inputs == CustomOperator::kAnyNumber ? fmt::format("{} or more", op.min_inputs)
        : op.min_inputs == op.max_inputs            ? fmt::format("{}", op.min_inputs)
                                                    : fmt::format("{} to {}", op.min_inputs, op.max_inputs));
  check(node.outputs.size() <= op.output_count, "has {} outputs, but produces {}", node.outputs.size(),
        op.output_count);
}

ops::Outputs infer(const CustomOperator& op, const ops::Inputs& in) {
  check_counts(op, in.node);
  ops::Outputs outputs;
  try {
    outputs = op.infer(described(in.node), in.infos);
  } catch (const std::exception& e) {
    fail("{}", e.what());
  }
  check(outputs.size() == op.output_count, "its shape rule returned {} outputs; it was registered with {}",
        outputs.size(), op.output_count);
  return outputs;
}

void evaluate(const CustomOperator& op, const Node& node, std::span<const TensorView> inputs,
              std::span<const TensorView> outputs) {
  try {
    op.evaluate(described(node), inputs, outputs);
  } catch (const std::exception& e) {
    fail("{} {}", where(node), e.what());
  }
}

class Registry final : public OperatorRegistry {
 public:
  void add(CustomOperator added) override {
    check(!added.name.empty(), "a custom operator has no name");
    check(added.infer && added.evaluate, "operator {}.{} lacks its function infer or evaluate", added.domain,
          added.name);
    check(added.min_inputs <= added.max_inputs && added.output_count > 0,
          "operator {}.{} has {} to {} inputs and {} outputs; expected an ascending range and at least one output",
          added.domain, added.name, added.min_inputs, added.max_inputs, added.output_count);
    const auto op = std::make_shared<const CustomOperator>(std::move(added));
    ops::add_custom(op->domain, op->name,
                    {.infer = [op](const ops::Inputs& in) { return infer(*op, in); },
                     .evaluate = [op](const Node& node, std::span<const TensorView> inputs,
                                      std::span<const TensorView> outputs) { evaluate(*op, node, inputs, outputs); }});
  }
};

}  // namespace

OperatorRegistry& custom_operators() {
  static Registry made;
  return made;
}

void load_custom_operators(const std::string& path) {
  // dlopen() searches system folders for a name without a slash.
  const std::string absolute = std::filesystem::absolute(path).string();
  void* library = ::dlopen(absolute.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    fail("{}: cannot be loaded: {}", path, reason == nullptr ? "" : reason);
  }
  using Entry = void (*)(OperatorRegistry*);
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, kEntry));
  check(entry != nullptr, "{}: does not export the function {}", path, kEntry);
  try {
    entry(&custom_operators());
  } catch (const std::exception& e) {
    fail("{}: {}", path, e.what());
  }
}

}  // namespace bitfold
