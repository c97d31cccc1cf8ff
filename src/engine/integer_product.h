// An integer convolution or matrix product in one form: its geometry, and its weights from the session's cache.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/lowering.h"
#include "engine/steps/integer_conv.h"
#include "ops/operator.h"

namespace bitfold::engine {

/// A Conv, Gemm or MatMul with constant weights in one common form.
struct Product {
  ConvFilter filter;
  std::int64_t kernel_h = 1;  ///< Before the image form folds rows.
  ConvImages images;
  IntegerConvStep::Padding padding;
  ImageForm form;
  ValueId x, w, bias = ValueId::none, y;
  ops::WeightMatrix weights;  ///< Without the products that an image form adds.
  /// Index into the weight tensor of product k of output channel c: c * weights.output_stride + k_index[k]. A negative
  /// index means 0.
  std::vector<std::int64_t> k_index;  ///< Set when weights are decoded.
  const Conv* conv = nullptr;         ///< Null for matrix products.
};

/// Adds the geometry to a product whose x, y, weights and, of a convolution, conv are set. Empty if it does not run in
/// integers. `pads_in_advance`: the image is padded by a copy, even if the kernels could pad it as they read it.
std::optional<Product> conv_product(const Lowering& lowering, Product product, bool pads_in_advance);
std::optional<Product> matrix_product(const Lowering& lowering, Product product);
/// Sets k_index.
void index_products(const Lowering& lowering, Product& product);

/// Empty for other nodes, and for products that do not run in integers.
std::optional<Product> product_of(const Lowering& lowering, const Node& node);

/// The value that the accumulators become.
struct ProductOutput {
  ValueId value = ValueId::none;  ///< The output of the step.
  std::optional<CodeGrid> grid;   ///< The grid of the output's codes; absent if the output is reals.
};

/// The weights of one product. Facts and packed forms come from the session's cache; weights are decoded only if the
/// cache lacks them.
class ProductWeights {
 public:
  ProductWeights(Lowering& lowering, NodeId id, Product& product);

  std::shared_ptr<const ProductFacts> facts();
  std::shared_ptr<const IntegerFilter> filter(const ProductFacts& facts, const ProductOutput& target,
                                              const ConvOutput& output);

 private:
  Refusal decode(std::vector<float>& scales);

  Lowering& l_;
  Product& p_;
  ProductKey key_;
  std::vector<std::int8_t> codes_;
};

}  // namespace bitfold::engine
