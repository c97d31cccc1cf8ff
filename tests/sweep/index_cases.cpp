// Operators that find, sample or rearrange elements.
#include "sweep/case.h"

namespace bitfold::testing {
namespace {

using Ints = std::vector<std::int64_t>;

Operand indices(Shape shape, const Ints& values) { return fixed(Tensor::from<std::int64_t>(std::move(shape), values)); }
Operand reals(Shape shape, const std::vector<float>& values) {
  return fixed(Tensor::from<float>(std::move(shape), values));
}
Operand number(std::int64_t value) { return indices({}, {value}); }
/// Whole numbers, so that some are equal.
Operand whole(Shape shape, double low = -2, double high = 2) {
  return {.shape = std::move(shape), .low = low, .high = high, .is_whole = true};
}

Window window(Ints kernel, Ints strides, Ints dilations, Ints pads) {
  return {std::move(kernel), std::move(strides), std::move(dilations), std::move(pads)};
}

class Cases {
 public:
  explicit Cases(std::vector<Case>& cases) : cases_(cases) {}
  Case& add(Op op, std::vector<Operand> inputs, int outputs = 1) {
    return cases_.emplace_back(Case{.op = std::move(op), .inputs = std::move(inputs), .outputs = outputs});
  }

 private:
  std::vector<Case>& cases_;
};

void add_scatters(Cases cases) {
  cases.add(GatherElements{1}, {data({3, 17}), data({3, 5}, 0, 16)});
  cases.add(GatherElements{0}, {data({3, 2}), indices({1, 2}, {-1, 1})});
  cases.add(GatherElements{0}, {data({3, 0}), indices({2, 0}, {})});
  cases.add(GatherNd{}, {data({3, 17}), indices({2, 1}, {-1, 0})});
  cases.add(GatherNd{1}, {data({2, 3, 5}), data({2, 4, 1}, 0, 2)});
  cases.add(GatherNd{}, {data({3, 0}), indices({2, 1}, {0, 2})});
  for (ScatterReduction reduction : {ScatterReduction::none, ScatterReduction::add, ScatterReduction::mul,
                                     ScatterReduction::min, ScatterReduction::max}) {
    const auto scatter = [&](std::int64_t axis, std::vector<Operand> inputs) {
      Case& c = cases.add(ScatterElements{axis, reduction}, std::move(inputs));
      if (reduction != ScatterReduction::none) c.types = ops::kNumber;
    };
    scatter(1, {data({3, 17}), data({3, 5}, 0, 16), data({3, 5})});
    scatter(-2, {data({3, 2}), indices({2, 2}, {0, -1, 0, 1}), constant({2, 2})});
    scatter(0, {data({3, 0}), indices({2, 0}, {}), data({2, 0})});
  }
  cases.add(TensorScatter{}, {data({2, 3, 7, 5}), data({2, 3, 2, 5}), data({2}, 0, 5)});
  cases.add(TensorScatter{.axis = 1, .circular = true}, {data({2, 7}), data({2, 5}), vector({6, 0})});
  cases.add(TensorScatter{.axis = 1}, {data({2, 7, 1}), data({2, 7, 1})});
}

void add_selections(Cases cases) {
  for (bool largest : {true, false}) {
    cases.add(TopK{.largest = largest}, {whole({3, 17}), vector({5})}, 2);
    cases.add(TopK{.axis = 1, .largest = largest}, {whole({2, 5, 3}), data({1}, 2, 2)}, 2);
    cases.add(TopK{.axis = 0, .largest = largest}, {data({4}), vector({0})}, 1);
  }
  cases.add(OneHot{}, {whole({2, 3}, -4, 4), number(3), data({2})});
  cases.add(OneHot{.axis = 0}, {data({5}, 0, 2), data({}, 3, 3), constant({2})});
  cases.add(OneHot{.axis = 1}, {data({2, 0}, 0, 2), number(3), data({2})});
  for (const Shape& shape : std::vector<Shape>{{}, {17}, {3, 2, 5}, {0, 3}}) {
    cases.add(NonZero{}, {whole(shape)});
    cases.add(Unique{}, {whole(shape)}, 4);
    cases.add(Unique{.sorted = false}, {whole(shape)}, 4);
  }
  cases.add(Unique{.axis = -1}, {whole({2, 17}, -1, 1)}, 4);
  cases.add(Unique{.axis = 0, .sorted = false}, {whole({9, 2}, -1, 1)}, 4);
  cases.add(Compress{}, {data({3, 5}), data({15}, 0, 1)});
  cases.add(Compress{.axis = 1}, {data({2, 5, 3}), data({4}, 0, 1)});
  cases.add(Compress{.axis = 0}, {data({0, 3}), data({2}, 0, 1)});
}

void add_boxes(Cases cases) {
  for (bool centered : {false, true}) {
    cases.add(NonMaxSuppression{centered},
              {data({2, 17, 4}, 0, 4), data({2, 3, 17}), vector({5}), reals({1}, {0.3F}), reals({1}, {-1})});
    cases.add(NonMaxSuppression{centered}, {data({1, 5, 4}, 0, 4), data({1, 1, 5}), data({1}, 3, 3)});
    cases.add(NonMaxSuppression{centered}, {data({1, 5, 4}, 0, 4), data({1, 1, 5})});
  }
  for (RoiMode mode : {RoiMode::average, RoiMode::max})
    for (std::int64_t ratio : {0, 2}) {
      Case& c = cases.add(RoiAlign{mode, ratio == 0, 2, 3, ratio, 0.5F},
                          {data({2, 3, 7, 9}), data({4, 4}, 0, 16), data({4}, 0, 1)});
      c.terms = 100;
      c.term = 4;
    }
  cases.add(MaxRoiPool{{2, 3}, 0.5F}, {data({1, 3, 7, 9}), reals({2, 5}, {0, 0, 0, 16, 12, 0, 3, 4, 5, 6})});
}

void add_samples(Cases cases) {
  for (SampleMode mode : {SampleMode::linear, SampleMode::nearest, SampleMode::cubic})
    for (SamplePadding padding : {SamplePadding::zeros, SamplePadding::border, SamplePadding::reflection})
      for (bool align_corners : {false, true}) {
        const auto add = [&](Shape x, Shape grid) {
          Case& c = cases.add(GridSample{mode, padding, align_corners},
                              {data(std::move(x)), data(std::move(grid), -1.5, 1.5)});
          c.terms = 64;
          c.term = 8;
        };
        add({2, 3, 5, 7}, {2, 4, 3, 2});
        add({1, 1, 1, 1}, {1, 2, 2, 2});
        add({1, 2, 3, 4, 5}, {1, 2, 3, 2, 3});
      }
  for (bool align_corners : {false, true}) {
    cases.add(AffineGrid{align_corners}, {data({2, 2, 3}), vector({2, 3, 5, 7})});
    cases.add(AffineGrid{align_corners}, {data({1, 3, 4}), vector({1, 1, 2, 1, 3})});
  }
  Case& whole_kernel = cases.add(DeformConv{.window = window({3, 3}, {1, 2}, {1, 1}, {1, 1, 1, 1})},
                                 {data({1, 2, 5, 7}), constant({3, 2, 3, 3}), data({1, 18, 5, 4}, -2, 2), constant({3}),
                                  data({1, 9, 5, 4}, 0, 1)});
  whole_kernel.terms = 18;
  Case& grouped =
      cases.add(DeformConv{.window = window({2, 2}, {1, 1}, {2, 1}, {0, 0, 0, 0}), .group = 2, .offset_group = 2},
                {data({2, 4, 5, 5}), data({2, 2, 2, 2}), data({2, 16, 3, 4}, -2, 2)});
  grouped.terms = 8;
  cases.add(Col2Im{}, {data({1, 8, 4}), vector({3, 3}), vector({2, 2})});
  cases.add(Col2Im{.dilations = {1, 2}, .pads = {1, 0, 0, 1}, .strides = {2, 1}},
            {data({2, 12, 2}), vector({4, 4}), vector({2, 3})});
  cases.add(Col2Im{}, {data({1, 2, 4}), vector({5}), vector({2})});
}

void add_arrangements(Cases cases) {
  for (bool column_row_depth : {false, true})
    for (const Shape& x : std::vector<Shape>{{1, 1, 2, 2}, {2, 17, 4, 6}, {0, 3, 2, 2}})
      cases.add(SpaceToDepth{2, column_row_depth}, {data(x)});
  cases.add(ReverseSequence{}, {data({5, 3, 17}), data({3}, 0, 5)});
  cases.add(ReverseSequence{.batch_axis = 0, .time_axis = 2}, {data({2, 3, 4}), vector({4, 1})});
  cases.add(CenterCropPad{}, {data({3, 17}), vector({5, 4})});
  cases.add(CenterCropPad{{-1, 0}}, {data({3, 2, 5}), vector({8, 1})});
  for (bool upper : {true, false}) {
    cases.add(Trilu{upper}, {data({2, 3, 17})});
    cases.add(Trilu{upper}, {data({3, 3}), number(-1)});
    cases.add(Trilu{upper}, {data({3, 5}), data({}, 1, 2)});
  }
  cases.add(Pad{PadMode::wrap}, {data({2, 5}), vector({1, 7, 0, -1})});
  cases.add(SizeOf{}, {data({3, 17})});
  cases.add(SizeOf{}, {data({0, 3})});
  cases.add(EyeLike{}, {data({3, 5})}).types = ops::kNumber | ops::kBoolean;
  cases.add(EyeLike{DataType::float32, 1}, {data({3, 5})});
  cases.add(EyeLike{DataType::boolean, -2}, {data({3, 1})});
}

void add_images(Cases cases) {
  const auto add = [&](Resize op, Shape x, Operand roi, Operand scales, Operand sizes) {
    Case& c = cases.add(std::move(op), {data(std::move(x)), std::move(roi), std::move(scales), std::move(sizes)});
    c.terms = 256;
    c.term = 4;
  };
  for (ResizeMode mode : {ResizeMode::nearest, ResizeMode::linear, ResizeMode::cubic}) {
    add({.mode = mode, .coordinates = ResizeCoordinates::half_pixel_symmetric}, {1, 3, 5, 7}, absent(),
        reals({4}, {1, 1, 0.7F, 1.3F}), absent());
    add({.mode = mode, .coordinates = ResizeCoordinates::tf_crop_and_resize, .extrapolation_value = 3, .axes = {2, 3}},
        {1, 3, 5, 7}, reals({4}, {0.1F, -0.2F, 0.9F, 0.8F}), absent(), vector({4, 4}));
    add({.mode = mode, .exclude_outside = true, .policy = ResizePolicy::not_smaller, .axes = {-1, 2}}, {2, 1, 5, 7},
        absent(), absent(), vector({4, 10}));
    if (mode != ResizeMode::nearest)
      add({.mode = mode, .antialias = true}, {1, 2, 7, 9}, absent(), reals({4}, {1, 1, 0.4F, 1.5F}), absent());
  }
}

void add_accumulations(Cases cases) {
  for (CumulativeKind kind : {CumulativeKind::sum, CumulativeKind::product})
    for (bool exclusive : {false, true})
      for (bool reverse : {false, true}) {
        cases.add(Cumulative{kind, exclusive, reverse}, {data({3, 17}, -1, 2), number(1)});
        cases.add(Cumulative{kind, exclusive, reverse}, {data({2, 3, 5}, -1, 2), data({}, 1, 1)});
        cases.add(Cumulative{kind, exclusive, reverse}, {data({0, 3}), number(-1)});
      }
  for (std::int64_t axis : {0, 1, -1}) cases.add(Hardmax{axis}, {whole({2, 17, 3})});
  cases.add(Hardmax{.axis = 1, .flattened = true}, {whole({2, 5, 3})});
}

void add_pools(Cases cases) {
  const std::vector<std::pair<Shape, Window>> windows{
      {{1, 2, 9}, window({3}, {2}, {1}, {1, 1})},
      {{2, 3, 7, 9}, window({2, 3}, {2, 1}, {1, 2}, {1, 0, 1, 2})},
      {{1, 2, 4, 5, 6}, window({2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {0, 1, 0, 0, 0, 0})}};
  for (const auto& [shape, w] : windows)
    for (bool flag : {false, true}) {
      cases.add(Pool{.window = w, .ceil_mode = flag, .column_major_indices = flag}, {whole(shape)}, 2);
      Case& c = cases.add(LpPool{.window = w, .p = flag ? 3 : 2, .ceil_mode = flag}, {data(shape)});
      c.terms = 8;
      c.term = 64;
    }
  for (std::int64_t p : {1, 2, 3}) {
    Case& c = cases.add(GlobalLpPool{p}, {data({2, 3, 5, 7})});
    c.terms = 35;
    c.term = 64;
  }
  const Operand found = indices({1, 1, 2, 2}, {5, 2, 8, 15});
  const MaxUnpool unpool{{.kernel = {2, 2}, .strides = {2, 2}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  cases.add(unpool, {data({1, 1, 2, 2}), found});
  cases.add(unpool, {data({1, 1, 2, 2}), found, vector({1, 1, 4, 5})});
}

}  // namespace

std::vector<Case> index_cases() {
  std::vector<Case> cases;
  for (auto* add : {add_scatters, add_selections, add_boxes, add_samples, add_arrangements, add_images,
                    add_accumulations, add_pools})
    add(Cases(cases));
  return cases;
}

}  // namespace bitfold::testing
