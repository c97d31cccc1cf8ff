// oneDNN primitives that are prepared once and run many times: fixed shapes, weights packed in the primitive's layout,
// channels-last activations, scratch memory supplied by the caller.
//
// Measured on Zen 4 with oneDNN 2.6 and one thread: channels-last f32 convolutions (brgconv) are as fast as blocked
// layouts on ResNet-20 (676 and 675 us) and on Tiny Darknet (8.83 and 8.97 ms), first layers included. So blocked
// layouts are not used.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace bitfold::onednn {

/// A window over the two spatial axes.
struct Window2d {
  std::int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
};

/// Activations [batch, height, width, channels], dense.
struct Image {
  std::int64_t batch = 1, channels = 1, height = 1, width = 1;
};

/// As the ONNX operators of these names; gelu_tanh is Gelu with approximate = "tanh".
enum class Activation { none, relu, leaky_relu, clip, swish, hard_swish, mish, gelu, gelu_tanh };

/// Applied to the sum of products in this order: + bias, + residual (of the output's shape), activation.
struct Epilogue {
  bool has_bias = false, has_residual = false;
  Activation activation = Activation::none;
  /// leaky_relu: alpha is the slope; clip: alpha and beta are the bounds; swish: alpha is the factor in the sigmoid.
  float alpha = 0, beta = 0;
};

/// Addresses for one run; arguments that the primitive does not use are ignored.
struct Arguments {
  const void* source = nullptr;
  const void* weights = nullptr;
  const float* bias = nullptr;
  const float* residual = nullptr;
  void* destination = nullptr;
  void* scratch = nullptr;
};

/// Identifies a layout of packed weights: oneDNN's descriptor of it, byte by byte.
struct PackedLayout {
  std::string descriptor;
  auto operator<=>(const PackedLayout&) const = default;
};

/// A float primitive. Made under the thread count it will run with (omp_set_num_threads): oneDNN divides the work
/// when the primitive is made.
class Primitive {
 public:
  /// Weights [oc, ic / groups, kh, kw]. Throws Error if oneDNN has no implementation.
  static Primitive convolution(const Image& input, const Image& output, const Window2d& window, std::int64_t groups,
                               const Epilogue& epilogue);
  /// Whether a convolution with these dimensions has an implementation that can add a residual.
  static bool adds_residual(const Image& input, const Image& output, const Window2d& window, std::int64_t groups,
                            bool has_bias);
  /// [rows, depth] x [depth, columns]. The weights passed to pack() are [columns, depth] if `transposed`.
  static Primitive matmul(std::int64_t rows, std::int64_t depth, std::int64_t columns, bool transposed,
                          const Epilogue& epilogue);
  /// `count` products of a [rows, depth] by b [depth, columns]. Both are passed to each run, b as the weights. A factor
  /// that is shared by all products is given once.
  struct Batch {
    std::int64_t count = 1;
    bool shares_a = false, shares_b = false;
  };
  static Primitive batched_matmul(const Batch& batch, std::int64_t rows, std::int64_t depth, std::int64_t columns);
  /// Softmax over each of `rows` rows, or its logarithm.
  static Primitive softmax(std::int64_t rows, std::int64_t columns, bool log);
  /// LayerNormalization over each of `rows` rows. The scale is passed as the weights, the shift as the bias.
  static Primitive layer_norm(std::int64_t rows, std::int64_t columns, float epsilon);
  enum class Pool { max, average, average_with_padding };
  /// Dilation is not supported.
  static Primitive pool(const Image& input, const Image& output, const Window2d& window, Pool kind);

  ~Primitive();
  Primitive(Primitive&&) noexcept;
  Primitive& operator=(Primitive&&) noexcept;

  const std::string& implementation() const;  ///< "brgconv:avx512_core"
  std::size_t scratch_bytes() const;
  std::size_t packed_bytes() const;  ///< 0 for a pool.
  /// Equal for primitives that read the same packed weights.
  const PackedLayout& packed_layout() const;
  /// `plain` is row-major as documented at the factory function; `packed` is aligned to 64 bytes.
  void pack(const float* plain, void* packed) const;

  /// Throws Error when oneDNN fails, as when memory runs out.
  void run(const Arguments& arguments);

 private:
  struct Impl;
  explicit Primitive(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitfold::onednn
