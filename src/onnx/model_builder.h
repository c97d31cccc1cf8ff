// For tests: builds ONNX files piece by piece, including invalid ones.
#pragma once

#include <onnx/onnx_pb.h>

#include <string>
#include <vector>

#include "bitfold/onnx.h"
#include "onnx/wire.h"

namespace bitfold::testing {

struct ModelBuilder {
  onnx::ModelProto model;

  explicit ModelBuilder(std::int64_t opset = 21) {
    model.set_ir_version(8);
    model.add_opset_import()->set_version(opset);
    model.mutable_graph()->set_name("test");
  }

  onnx::GraphProto& graph() { return *model.mutable_graph(); }

  static void set_type(onnx::ValueInfoProto& info, const std::string& name, const Shape& shape,
                       int type = onnx::TensorProto::FLOAT) {
    info.set_name(name);
    info.mutable_type()->mutable_tensor_type()->set_elem_type(type);
    auto& dims = *info.mutable_type()->mutable_tensor_type()->mutable_shape();
    for (std::int64_t dim : shape) dims.add_dim()->set_dim_value(dim);
  }
  ModelBuilder& input(const std::string& name, const Shape& shape, int type = onnx::TensorProto::FLOAT) {
    set_type(*graph().add_input(), name, shape, type);
    return *this;
  }
  ModelBuilder& output(const std::string& name) {
    graph().add_output()->set_name(name);
    return *this;
  }
  ModelBuilder& constant(const std::string& name, const Tensor& tensor) {
    *graph().add_initializer() = write_tensor(name, tensor);
    return *this;
  }
  onnx::NodeProto& node(const std::string& type, const std::string& name, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs) {
    onnx::NodeProto& added = *graph().add_node();
    added.set_op_type(type);
    added.set_name(name);
    for (const auto& input : inputs) added.add_input(input);
    for (const auto& output : outputs) added.add_output(output);
    return added;
  }

  Graph load(const std::string& folder = ".") const {
    const std::string bytes = model.SerializeAsString();
    return parse_onnx(std::as_bytes(std::span(bytes)), "test.onnx", folder);
  }
};

inline Tensor floats(const Shape& shape, std::vector<float> values) { return Tensor::from(shape, values); }

}  // namespace bitfold::testing
