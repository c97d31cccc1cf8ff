// Products named by an equation: Einsum, Det.
#include "ops/einsum.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

// ---- Einsum

struct Term {
  Labels labels;
  std::optional<std::size_t> ellipsis;  ///< The number of labels before it.
};

Term parse_term(std::string_view text) {
  Term term;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (text.substr(i, 3) == "...") {
      check(!term.ellipsis, "equation has two ellipses in the term '{}'", text);
      term.ellipsis = term.labels.size();
      i += 2;
      continue;
    }
    check(std::isalpha(static_cast<unsigned char>(text[i])) != 0, "equation has '{}' in the term '{}'", text[i], text);
    term.labels.push_back(static_cast<unsigned char>(text[i]));
  }
  return term;
}

struct Equation {
  std::vector<Term> inputs;
  std::optional<Term> output;  ///< None if the equation has no arrow.
};

Equation parse(std::string_view text) {
  Equation equation;
  const std::size_t arrow = text.find("->");
  std::string_view left = text.substr(0, arrow);
  while (true) {
    const std::size_t comma = left.find(',');
    equation.inputs.push_back(parse_term(left.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    left.remove_prefix(comma + 1);
  }
  if (arrow != std::string_view::npos) equation.output = parse_term(text.substr(arrow + 2));
  return equation;
}

/// The term's labels with its ellipsis, if it has one, as `count` axes.
Labels expanded(const Term& term, std::size_t count) {
  Labels labels = term.labels;
  if (!term.ellipsis) return labels;
  Labels axes;
  for (std::size_t i = 0; i < count; ++i) axes.push_back(static_cast<Label>(i) - static_cast<Label>(count));
  labels.insert(labels.begin() + static_cast<std::ptrdiff_t>(*term.ellipsis), axes.begin(), axes.end());
  return labels;
}

void merge_size(std::map<Label, std::int64_t>& sizes, Label label, std::int64_t size) {
  const auto [it, is_new] = sizes.try_emplace(label, size);
  std::int64_t& known = it->second;
  if (is_new || known == size || size == 1) return;
  if (known == 1 || (is_unknown(known) && !is_unknown(size))) {
    known = size;
  } else if (is_unknown(known)) {
    known = kDynamic;
  } else {
    check(is_unknown(size), "an index of the equation has the sizes {} and {}", known, size);
  }
}

}  // namespace

/// The explicit form: without an arrow, the output has the ellipsis, then the letters that occur once, in the order of
/// their codes.
Contraction contraction(const std::string& text, std::span<const Shape> shapes) {
  const Equation equation = parse(text);
  check(equation.inputs.size() == shapes.size(), "equation has {} terms, but the node has {} inputs",
        equation.inputs.size(), shapes.size());
  Contraction c;
  std::map<Label, int> occurrences;
  std::size_t most = 0;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const Term& term = equation.inputs[i];
    const std::size_t rank = shapes[i].size(), own = term.labels.size();
    check(term.ellipsis ? rank >= own : rank == own,
          "input {} has rank {}, but its term in the equation has {} indices", i, rank, own);
    if (term.ellipsis) most = std::max(most, rank - own);
    c.inputs.push_back(expanded(term, rank - own));
    std::map<Label, std::int64_t> of_term;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const Label label = c.inputs[i][axis];
      const auto [it, is_new] = of_term.try_emplace(label, shapes[i][axis]);
      check(is_new || it->second == shapes[i][axis] || is_unknown(it->second) || is_unknown(shapes[i][axis]),
            "input {} has sizes {} and {} along the diagonal", i, it->second, shapes[i][axis]);
      merge_size(c.sizes, label, shapes[i][axis]);
      ++occurrences[label];
    }
  }
  const bool has_ellipsis = std::ranges::any_of(equation.inputs, [](const Term& t) { return t.ellipsis.has_value(); });
  if (equation.output) {
    check(!has_ellipsis || equation.output->ellipsis, "equation has an ellipsis in an input and none in the output");
    c.output = expanded(*equation.output, most);
  } else {
    c.output = expanded(Term{{}, 0}, most);
    for (const auto& [label, count] : occurrences)
      if (label >= 0 && count == 1) c.output.push_back(label);
  }
  for (std::size_t i = 0; i < c.output.size(); ++i) {
    const Label label = c.output[i];
    const auto name = [&] { return label < 0 ? std::string("...") : std::string(1, static_cast<char>(label)); };
    check(c.sizes.contains(label), "the output's index '{}' is in no input", name());
    check(std::find(c.output.begin(), c.output.begin() + static_cast<std::ptrdiff_t>(i), label) ==
              c.output.begin() + static_cast<std::ptrdiff_t>(i),
          "the output has the index '{}' twice", name());
  }
  for (const auto& [label, size] : c.sizes)
    if (std::ranges::find(c.output, label) == c.output.end()) c.summed.push_back(label);
  return c;
}

namespace {

Outputs infer_einsum(const Inputs& in) {
  const auto& op = std::get<Einsum>(in.node.op);
  std::vector<Shape> shapes;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!in.shape(i)) return {like(in[0], {})};
    shapes.push_back(*in.shape(i));
  }
  const Contraction c = contraction(op.equation, shapes);
  Shape y;
  for (Label label : c.output) y.push_back(c.sizes.at(label));
  check_size(y, "output");
  return {like(in[0], y)};
}

/// Nested loops over some labels, with one offset for each input.
class Nest {
 public:
  Nest(const Contraction& c, const Labels& labels, std::span<const TensorView> in) : inputs_(in.size()) {
    for (Label label : labels) {
      sizes_.push_back(c.sizes.at(label));
      for (std::size_t i = 0; i < in.size(); ++i) {
        const Strides strides = dense_strides(in[i].shape);
        std::int64_t step = 0;  // a repeated index walks along the diagonal
        for (std::size_t axis = 0; axis < c.inputs[i].size(); ++axis)
          if (c.inputs[i][axis] == label && in[i].shape[axis] != 1) step += strides[axis];
        steps_.push_back(step);
      }
    }
    if (sizes_.empty()) {  // one iteration
      sizes_.push_back(1);
      steps_.assign(inputs_, 0);
    }
    offsets_.resize(inputs_);
    index_.assign(sizes_.size(), 0);
  }

  /// Calls f(offsets, count, steps) for each run along the last label, in row-major order. `start` is added to the
  /// offsets; null means zeros.
  template <class F>
  void for_each_run(const std::int64_t* start, F f) {
    if (std::ranges::find(sizes_, 0) != sizes_.end()) return;
    for (std::size_t i = 0; i < inputs_; ++i) offsets_[i] = start == nullptr ? 0 : start[i];
    const std::size_t last = sizes_.size() - 1;
    while (true) {
      f(offsets_.data(), sizes_[last], steps_.data() + last * inputs_);
      std::size_t level = last;
      while (true) {
        if (level == 0) return;
        --level;
        move(level, 1);
        if (++index_[level] < sizes_[level]) break;
        move(level, -sizes_[level]);
        index_[level] = 0;
      }
    }
  }

 private:
  void move(std::size_t level, std::int64_t times) {
    for (std::size_t i = 0; i < inputs_; ++i) offsets_[i] += steps_[level * inputs_ + i] * times;
  }

  std::size_t inputs_;
  std::vector<std::int64_t> sizes_, steps_, offsets_, index_;
};

/// The type of sums: double for reals; integers modulo 2^64.
template <class T>
using Sum = std::conditional_t<std::is_same_v<T, float>, double, std::uint64_t>;

void einsum(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  std::vector<Shape> shapes;
  for (const TensorView& x : in) shapes.emplace_back(x.shape.begin(), x.shape.end());
  const Contraction c = contraction(std::get<Einsum>(node.op).equation, shapes);
  Nest outer(c, c.output, in), inner(c, c.summed, in);
  with_number_type(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    std::vector<const T*> x;
    for (const TensorView& view : in) x.push_back(view.as<T>());
    const auto product_at = [&](const std::int64_t* offsets, std::int64_t i, const std::int64_t* steps) {
      Sum<T> term = 1;
      for (std::size_t k = 0; k < x.size(); ++k) term *= static_cast<Sum<T>>(x[k][offsets[k] + i * steps[k]]);
      return term;
    };
    T* y = out[0].as<T>();
    std::vector<std::int64_t> start(in.size());
    outer.for_each_run(nullptr, [&](const std::int64_t* first, std::int64_t count, const std::int64_t* step) {
      for (std::int64_t j = 0; j < count; ++j) {
        for (std::size_t k = 0; k < start.size(); ++k) start[k] = first[k] + j * step[k];
        Sum<T> sum = 0;
        inner.for_each_run(start.data(), [&](const std::int64_t* offsets, std::int64_t n, const std::int64_t* steps) {
          if (x.size() == 2) {
            const T *a = x[0] + offsets[0], *b = x[1] + offsets[1];
            for (std::int64_t i = 0; i < n; ++i)
              sum += static_cast<Sum<T>>(a[i * steps[0]]) * static_cast<Sum<T>>(b[i * steps[1]]);
          } else {
            for (std::int64_t i = 0; i < n; ++i) sum += product_at(offsets, i, steps);
          }
        });
        *y++ = static_cast<T>(sum);
      }
    });
  });
}

std::int64_t einsum_macs(const Node& node, std::span<const Shape> in, std::span<const Shape>) {
  std::int64_t count = 1;
  for (const auto& [label, size] : contraction(std::get<Einsum>(node.op).equation, in).sizes) count *= size;
  return in.size() > 1 ? count : 0;
}

std::optional<std::string> settle_einsum(Op& op, const Inputs&) {
  parse(std::get<Einsum>(op).equation);
  return std::nullopt;
}

// ---- Det

Outputs infer_det(const Inputs& in) {
  if (!in.shape(0)) return {real({})};
  const Shape& x = *in.shape(0);
  check(x.size() >= 2, "X has shape {}, expected square matrices", to_string(x));
  const std::int64_t rows = x[x.size() - 2], columns = x.back();
  check(is_unknown(rows) || is_unknown(columns) || rows == columns, "X has shape {}, expected square matrices",
        to_string(x));
  return {real(Shape(x.begin(), x.end() - 2))};
}

/// By elimination with the largest pivot of each column; changes `a`.
double determinant(std::vector<double>& a, std::size_t n) {
  double result = 1;
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    if (a[pivot * n + k] == 0) return 0;
    if (pivot != k) {
      std::swap_ranges(a.begin() + static_cast<std::ptrdiff_t>(k * n),
                       a.begin() + static_cast<std::ptrdiff_t>(k * n + n),
                       a.begin() + static_cast<std::ptrdiff_t>(pivot * n));
      result = -result;
    }
    result *= a[k * n + k];
    for (std::size_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / a[k * n + k];
      for (std::size_t j = k + 1; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
    }
  }
  return result;
}

void det(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::size_t n = at(in[0].shape.back());
  std::vector<double> matrix(n * n);
  for (std::int64_t i = 0; i < out[0].size(); ++i) {
    std::copy_n(in[0].as<float>() + i * static_cast<std::int64_t>(n * n), n * n, matrix.begin());
    out[0].as<float>()[i] = static_cast<float>(determinant(matrix, n));
  }
}

}  // namespace

std::vector<OperatorInfo> einsum_operators() {
  return {{.name = "Einsum",
           .since = 12,
           .prototype = Einsum{},
           .inputs = {{"Inputs", kNumber, 'T', Presence::variadic}},
           .outputs = {{"Output", kNumber, 'T'}},
           .fields = {required(field("equation", &Einsum::equation))},
           .infer = infer_einsum,
           .evaluate = einsum,
           .settle = settle_einsum,
           .macs = einsum_macs},
          {.name = "Det",
           .since = 11,
           .prototype = Det{},
           .inputs = {{"X", kReal, 'T'}},
           .outputs = {{"Y", kReal, 'T'}},
           .infer = infer_det,
           .evaluate = det}};
}

}  // namespace bitfold::ops
