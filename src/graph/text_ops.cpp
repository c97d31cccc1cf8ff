// Every operator's fields by name. A new operator is a line in kPrototypes and, where it has fields, one `fields`
// overload.
#include "base/check.h"
#include "graph/text_fields.h"

namespace bitfold::text {
namespace {

// What an operator's word does not say.
template <class F>
void fields(Window& w, F& f) {
  f("kernel", w.kernel), f("strides", w.strides), f("dilations", w.dilations), f("pads", w.pads),
      f("auto_pad", w.auto_pad);
}
template <class F>
void fields(Conv& op, F& f) {
  fields(op.window, f), f("group", op.group);
}
template <class F>
void fields(ConvTranspose& op, F& f) {
  fields(op.window, f), f("group", op.group), f("output_padding", op.output_padding),
      f("output_shape", op.output_shape);
}
template <class F>
void fields(Gemm& op, F& f) {
  f("alpha", op.alpha), f("beta", op.beta), f("trans_a", op.trans_a), f("trans_b", op.trans_b);
}
template <class F>
void fields(BatchNorm& op, F& f) {
  f("epsilon", op.epsilon);
}
template <class F>
void fields(InstanceNorm& op, F& f) {
  f("epsilon", op.epsilon);
}
template <class F>
void fields(LayerNorm& op, F& f) {
  f("axis", op.axis), f("epsilon", op.epsilon);
}
template <class F>
void fields(Lrn& op, F& f) {
  f("size", op.size), f("alpha", op.alpha), f("beta", op.beta), f("bias", op.bias);
}
template <class F>
void fields(Parametric& op, F& f) {
  f("alpha", op.alpha), f("beta", op.beta);
}
template <class F>
void fields(Pool& op, F& f) {
  fields(op.window, f), f("ceil_mode", op.ceil_mode), f("count_include_pad", op.count_include_pad);
}
template <class F>
void fields(Reduce& op, F& f) {
  f("keepdims", op.keepdims), f("noop_with_empty_axes", op.noop_with_empty_axes);
}
template <class F>
void fields(ArgReduce& op, F& f) {
  f("axis", op.axis), f("keepdims", op.keepdims), f("select_last_index", op.select_last_index);
}
template <class F>
void fields(Softmax& op, F& f) {
  f("axis", op.axis), f("flattened", op.flattened);
}
template <class F>
void fields(Concat& op, F& f) {
  f("axis", op.axis);
}
template <class F>
void fields(Split& op, F& f) {
  f("axis", op.axis);
}
template <class F>
void fields(Flatten& op, F& f) {
  f("axis", op.axis);
}
template <class F>
void fields(Reshape& op, F& f) {
  f("allow_zero", op.allow_zero);
}
template <class F>
void fields(Transpose& op, F& f) {
  f("perm", op.perm);
}
template <class F>
void fields(Gather& op, F& f) {
  f("axis", op.axis);
}
template <class F>
void fields(Pad& op, F& f) {
  f("mode", op.mode);
}
template <class F>
void fields(ShapeOf& op, F& f) {
  f("start", op.start), f("end", op.end);
}
template <class F>
void fields(ConstantOfShape& op, F& f) {
  f("value", op.value);
}
template <class F>
void fields(Cast& op, F& f) {
  f("to", op.to);
}
template <class F>
void fields(Resize& op, F& f) {
  f("mode", op.mode), f("coordinates", op.coordinates), f("nearest", op.nearest), f("cubic_coeff_a", op.cubic_coeff_a);
}
template <class F>
void fields(DepthToSpace& op, F& f) {
  f("block_size", op.block_size), f("column_row_depth", op.column_row_depth);
}
template <class F>
void fields(Opaque& op, F& f) {
  f("domain", op.domain), f("type", op.type), f("attributes", op.attributes);
}
template <class Plain, class F>
void fields(Plain&, F&) {}

/// Every kind of operator; members of a family one by one.
std::vector<Op> prototypes() {
  std::vector<Op> all{Conv{},
                      ConvTranspose{},
                      Gemm{},
                      MatMul{},
                      BatchNorm{},
                      InstanceNorm{},
                      LayerNorm{},
                      Lrn{},
                      Clip{},
                      PRelu{},
                      Where{},
                      Pool{PoolKind::max},
                      Pool{PoolKind::average},
                      GlobalPool{PoolKind::max},
                      GlobalPool{PoolKind::average},
                      ArgReduce{.is_max = true},
                      ArgReduce{.is_max = false},
                      Softmax{.log = false},
                      Softmax{.log = true},
                      Concat{},
                      Split{},
                      Flatten{},
                      Reshape{},
                      Transpose{},
                      Squeeze{},
                      Unsqueeze{},
                      Slice{},
                      Gather{},
                      Pad{},
                      Expand{},
                      Tile{},
                      ShapeOf{},
                      ConstantOfShape{},
                      Range{},
                      Cast{},
                      Resize{},
                      DepthToSpace{},
                      Requantize{},
                      Opaque{}};
  for (int i = 0; i <= static_cast<int>(UnaryKind::logical_not); ++i)
    all.emplace_back(Unary{static_cast<UnaryKind>(i)});
  for (int i = 0; i <= static_cast<int>(ParametricKind::thresholded_relu); ++i)
    all.emplace_back(Parametric{.kind = static_cast<ParametricKind>(i)});
  for (int i = 0; i <= static_cast<int>(BinaryKind::logical_xor); ++i)
    all.emplace_back(Binary{static_cast<BinaryKind>(i)});
  for (int i = 0; i <= static_cast<int>(VariadicKind::mean); ++i)
    all.emplace_back(Variadic{static_cast<VariadicKind>(i)});
  for (int i = 0; i <= static_cast<int>(ReduceKind::sum_square); ++i)
    all.emplace_back(Reduce{.kind = static_cast<ReduceKind>(i)});
  return all;
}

struct Printer {
  std::string out = "{";

  template <class T>
  void operator()(const char* name, const T& value) {
    out += fmt::format("{}{}={}", out.size() > 1 ? " " : "", name, form(value));
  }
  static std::string form(const std::vector<std::int64_t>& v) { return print(v); }
  static std::string form(const std::string& v) { return quoted(v); }
  static std::string form(const std::optional<std::int64_t>& v) { return v ? fmt::format("{}", *v) : "none"; }
  static std::string form(DataType v) { return std::string(to_string(v)); }
  static std::string form(const std::vector<std::string>& v) {
    std::string out = "[";
    for (const std::string& s : v) out += (out.size() > 1 ? "," : "") + quoted(s);
    return out + "]";
  }
  static std::string form(const Tensor& v) {
    return fmt::format("{} {} {}", to_string(v.dtype()), print(v.shape()), print_elements(v));
  }
  template <class T>
  static std::string form(const T& v) {
    if constexpr (std::is_enum_v<T>)
      return fmt::format("{}", static_cast<int>(v));
    else
      return fmt::format("{:}", v);
  }
};

struct Reader {
  Cursor& line;

  template <class T>
  void operator()(const char* name, T& value) {
    line.expect(name);
    line.expect("=");
    read(value);
  }
  void read(std::int64_t& v) { v = line.integer(); }
  void read(float& v) { v = static_cast<float>(line.real()); }
  void read(std::vector<std::int64_t>& v) { v = line.integers(); }
  void read(std::string& v) { v = line.quoted(); }
  void read(DataType& v) { v = parse_dtype(line.word()); }
  void read(bool& v) {
    const std::string word = line.word();
    check(word == "true" || word == "false", "'{}' is neither true nor false", word);
    v = word == "true";
  }
  void read(std::optional<std::int64_t>& v) {
    v.reset();
    if (!line.accept("none")) v = line.integer();
  }
  void read(std::vector<std::string>& v) {
    line.expect("[");
    for (v.clear(); !line.accept("]");) {
      if (!v.empty()) line.expect(",");
      v.push_back(line.quoted());
    }
  }
  void read(Tensor& v) {
    const DataType dtype = parse_dtype(line.word());
    Shape shape = line.integers();
    check(is_static(shape) && element_count(shape) == 1, "one element expected, shape is {}", to_string(shape));
    v = Tensor(dtype, std::move(shape));
    read_elements(line, v);
  }
  template <class Enum>
  void read(Enum& v) {
    constexpr std::int64_t kMostEnumerators = 4;  // of any field's type
    const std::int64_t number = line.integer();
    check(number >= 0 && number < kMostEnumerators, "{} is out of range", number);
    v = static_cast<Enum>(number);
  }
};

}  // namespace

std::string op_word(const Op& op) { return std::holds_alternative<Opaque>(op) ? "Opaque" : op_name(op); }

std::string print_attributes(const Op& op) {
  Printer printer;
  Op copy = op;  // `fields` serves reading too
  std::visit([&](auto& o) { fields(o, printer); }, copy);
  return printer.out + "}";
}

Op read_op(const std::string& word, Cursor& line) {
  static const std::vector<Op> kPrototypes = prototypes();
  for (const Op& prototype : kPrototypes) {
    if (op_word(prototype) != word) continue;
    Op op = prototype;
    Reader reader{line};
    line.expect("{");
    std::visit([&](auto& o) { fields(o, reader); }, op);
    line.expect("}");
    return op;
  }
  fail("there is no operator '{}'", word);
}

}  // namespace bitfold::text
