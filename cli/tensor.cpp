#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "bitfold/affine.h"
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "model.h"
#include "output.h"
#include "verbs.h"

namespace bitfold::cli {
namespace {

struct TensorFlags {
  std::string input, output_path, scheme = "asymmetric";
  int bits = 8, axis = -1;
  bool is_signed = false, is_unsigned = false;
  std::unique_ptr<Output> output;
};

struct Distortion {
  double max_abs = 0, sqnr_db = std::numeric_limits<double>::infinity();
};

Distortion error_of(const Tensor& x, const Tensor& y) {
  double signal = 0, noise = 0;
  Distortion e;
  const auto a = x.data<float>();
  const auto b = y.data<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    e.max_abs = std::max(e.max_abs, std::abs(d));
    signal += static_cast<double>(a[i]) * a[i];
    noise += d * d;
  }
  if (noise > 0) e.sqnr_db = 10 * std::log10(signal / noise);
  return e;
}

QuantParams choose(const TensorFlags& o, const Tensor& x) {
  const Scheme scheme = o.scheme == "symmetric" ? Scheme::symmetric : Scheme::asymmetric;
  // As in common practice, symmetric codes are signed and asymmetric codes unsigned by default.
  const bool is_signed = o.is_signed || (!o.is_unsigned && scheme == Scheme::symmetric);
  const GridSpec spec{.bits = o.bits, .is_signed = is_signed, .scheme = scheme};
  if (o.axis >= 0) return choose_params_per_channel(x, o.axis, spec);
  QuantParams params = choose_params_per_channel(x.reshaped({1, x.size()}), 0, spec);
  params.axis = -1;
  return params;
}

std::string code_text(const Tensor& codes, std::int64_t i) {
  const auto at = static_cast<std::size_t>(i);
  switch (codes.dtype()) {
    case DataType::int8:
      return std::to_string(codes.data<std::int8_t>()[at]);
    case DataType::uint8:
      return std::to_string(codes.data<std::uint8_t>()[at]);
    case DataType::int16:
      return std::to_string(codes.data<std::int16_t>()[at]);
    default:
      return std::to_string(codes.data<std::uint16_t>()[at]);
  }
}

/// Prints the first rows of a matrix, or the first elements of other tensors.
void print_codes(const Output& output, const Tensor& codes) {
  constexpr std::int64_t kMaxColumns = 12, kMaxRows = 8;
  const std::int64_t columns = codes.rank() > 0 ? codes.shape().back() : 1;
  const std::int64_t rows = columns > 0 ? codes.size() / columns : 0;
  for (std::int64_t r = 0; r < std::min(rows, kMaxRows); ++r) {
    std::string line;
    for (std::int64_t c = 0; c < std::min(columns, kMaxColumns); ++c)
      line += fmt::format("{:>6}", code_text(codes, r * columns + c));
    output.say(line + (columns > kMaxColumns ? " ..." : ""));
  }
  if (rows > kMaxRows) output.say("   ...");
}

void quantize_tensor(const TensorFlags& o) {
  const auto arrays = load_arrays(o.input);
  if (arrays.size() != 1) throw Error(fmt::format("{}: contains {} arrays, expected one", o.input, arrays.size()));
  const Tensor& x = arrays.front().tensor;
  if (x.dtype() != DataType::float32)
    throw Error(fmt::format("{}: has element type {}, expected float32", o.input, to_string(x.dtype())));
  if (x.size() == 0) throw Error(fmt::format("{}: is empty (shape {})", o.input, to_string(x.shape())));
  if (o.axis >= x.rank()) throw Error(fmt::format("--axis {}: the array has shape {}", o.axis, to_string(x.shape())));
  const QuantParams params = choose(o, x);
  const Tensor codes = quantize(x, params);
  const Distortion error = error_of(x, dequantize(codes, params));

  o.output->say(fmt::format("{} {}: {} bits, {}, codes {}..{}", o.input, to_string(x.shape()), o.bits, o.scheme,
                            params.qmin(), params.qmax()));
  constexpr std::size_t kMaxChannels = 16;
  for (std::size_t i = 0; i < std::min(params.scale.size(), kMaxChannels); ++i)
    o.output->say(fmt::format("{}scale {:.9g}  zero_point {}",
                              params.per_channel() ? fmt::format("channel {}: ", i) : "", params.scale[i],
                              params.zero_point[i]));
  if (params.scale.size() > kMaxChannels) o.output->say(fmt::format("... {} channels", params.scale.size()));
  print_codes(*o.output, codes);
  o.output->say(fmt::format("max error {:.6g}, SQNR {:.2f} dB", error.max_abs, error.sqnr_db));
  if (!o.output_path.empty()) save_npy(o.output_path, {{o.output_path.ends_with(".npy") ? "" : "codes", codes}});

  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (std::int64_t i = 0; i < codes.size(); ++i) list.push_back(std::stoi(code_text(codes, i)));
  o.output->write({{"input", o.input},
                   {"shape", x.shape()},
                   {"bits", o.bits},
                   {"scheme", o.scheme},
                   {"signed", params.is_signed},
                   {"axis", params.axis},
                   {"scale", params.scale},
                   {"zero_point", params.zero_point},
                   {"codes", list},
                   {"max_abs_error", error.max_abs},
                   {"sqnr_db", finite(error.sqnr_db)}});
}

}  // namespace

void add_tensor(CLI::App& app) {
  auto o = std::make_shared<TensorFlags>();
  CLI::App* verb = app.add_subcommand("tensor", "Quantize one array: scale, zero_point, codes, error");
  verb->add_option("input", o->input, "A float32 .npy file, also through a pipe (/dev/stdin)")->required();
  verb->add_option("--bits", o->bits, "Bits of the codes, 2 to 16 (default 8)");
  verb->add_option("--scheme", o->scheme, "Scheme of the grid: asymmetric (default) or symmetric")
      ->check(CLI::IsMember({"symmetric", "asymmetric"}));
  verb->add_option("--axis", o->axis, "One grid per index along this axis (default: one grid)")
      ->check(CLI::Range(0, 64));
  auto* is_signed = verb->add_flag("--signed", o->is_signed, "Signed codes (default when symmetric)");
  verb->add_flag("--unsigned", o->is_unsigned, "Unsigned codes (default when asymmetric)")->excludes(is_signed);
  verb->add_option("-o,--output", o->output_path, "Write the codes to .npy or .npz");
  o->output = std::make_unique<Output>(*verb);
  verb->footer("Example:  bitfold tensor x.npy --bits 8 --scheme symmetric");
  verb->callback([o] { quantize_tensor(*o); });
}

}  // namespace bitfold::cli
