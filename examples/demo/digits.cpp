// Each digit is one to three strokes, given by points in the unit square (x right, y down). A sample jitters the
// points, draws smooth curves through them (Catmull-Rom), applies a random affine transform, and inks every pixel by
// its distance to the nearest stroke. Noise, gaps and stray marks limit a good network to about 98 %, so that a loss
// from quantization is visible.
#include "digits.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace bitfold::demo {
namespace {

constexpr int kSize = 28;  // pixels, as in MNIST

struct Point {
  double x, y;
};
using Stroke = std::vector<Point>;

/// PCG32 (O'Neill 2014, XSH-RR output function): small, and identical on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) { next(); }
  std::uint32_t next() {
    const std::uint64_t old = state_;
    state_ = old * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto shifted = static_cast<std::uint32_t>(((old >> 18U) ^ old) >> 27U);
    const auto turn = static_cast<std::uint32_t>(old >> 59U);
    return (shifted >> turn) | (shifted << ((32U - turn) & 31U));
  }
  /// In [low, high), on a grid of 2^-24: exact in double.
  double uniform(double low, double high) { return low + (high - low) * (next() >> 8U) / 16777216.0; }
  /// Sum of three uniform numbers: bell-shaped, standard deviation `sigma`.
  double bell(double sigma) { return (uniform(-1, 1) + uniform(-1, 1) + uniform(-1, 1)) * sigma; }

 private:
  std::uint64_t state_;
};

/// The strokes of each digit; some digits have two forms.
const std::vector<std::vector<Stroke>>& shapes_of(int digit) {
  static const std::array<std::vector<std::vector<Stroke>>, 10> kShapes{{
      {{{{.5, .1}, {.25, .25}, {.2, .55}, {.35, .85}, {.6, .87}, {.78, .6}, {.75, .3}, {.5, .1}}}},
      {{{{.5, .1}, {.5, .5}, {.5, .9}}},
       {{{.3, .3}, {.5, .1}, {.52, .5}, {.52, .9}}},
       {{{.3, .28}, {.52, .1}, {.52, .9}}, {{.3, .9}, {.72, .9}}}},
      {{{{.25, .3}, {.4, .12}, {.65, .15}, {.72, .35}, {.5, .6}, {.25, .88}, {.5, .86}, {.78, .88}}},
       {{{.25, .28}, {.45, .1}, {.7, .22}, {.6, .5}, {.3, .8}, {.35, .9}, {.5, .78}, {.8, .9}}}},
      {{{{.25, .2}, {.5, .1}, {.7, .25}, {.6, .43}, {.42, .47}, {.68, .55}, {.72, .75}, {.5, .9}, {.25, .8}}}},
      {{{{.35, .1}, {.28, .35}, {.25, .55}, {.5, .56}, {.8, .53}}, {{.65, .12}, {.63, .5}, {.6, .9}}},
       {{{.6, .1}, {.4, .35}, {.2, .62}, {.5, .62}, {.82, .6}}, {{.62, .1}, {.62, .5}, {.62, .92}}}},
      {{{{.72, .12}, {.5, .12}, {.33, .13}, {.3, .45}, {.5, .4}, {.72, .55}, {.7, .78}, {.45, .9}, {.25, .8}}},
       {{{.35, .12}, {.3, .45}, {.55, .42}, {.73, .62}, {.6, .85}, {.27, .84}}, {{.35, .12}, {.55, .13}, {.75, .1}}}},
      {{{{.65, .1}, {.42, .25}, {.28, .55}, {.35, .85}, {.6, .88}, {.72, .68}, {.55, .53}, {.32, .65}}}},
      {{{{.22, .15}, {.5, .14}, {.75, .13}, {.6, .45}, {.45, .9}}},
       {{{.22, .15}, {.5, .14}, {.76, .13}, {.58, .5}, {.45, .9}}, {{.38, .5}, {.55, .5}, {.7, .49}}}},
      {{{{.68, .22},
         {.45, .1},
         {.3, .25},
         {.5, .45},
         {.7, .65},
         {.6, .88},
         {.35, .87},
         {.28, .68},
         {.5, .46},
         {.7, .25},
         {.66, .16}}}},
      {{{{.7, .3}, {.5, .1}, {.3, .25}, {.38, .48}, {.6, .45}, {.7, .25}, {.68, .6}, {.6, .9}}},
       {{{.68, .32}, {.48, .12}, {.3, .3}, {.45, .5}, {.68, .32}, {.7, .15}, {.68, .55}, {.48, .9}, {.3, .8}}}},
  }};
  return kShapes[static_cast<std::size_t>(digit)];
}

/// A Catmull-Rom curve through the points, with kSteps line segments per interval.
Stroke smooth(const Stroke& points) {
  constexpr int kSteps = 6;
  Stroke curve;
  const auto at = [&](std::ptrdiff_t i) {
    return points[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(i, 0, std::ssize(points) - 1))];
  };
  for (std::ptrdiff_t i = 0; i + 1 < std::ssize(points); ++i) {
    const Point a = at(i - 1), b = at(i), c = at(i + 1), d = at(i + 2);
    for (int s = 0; s < kSteps; ++s) {
      const double t = static_cast<double>(s) / kSteps;
      const auto blend = [t](double p, double q, double r, double u) {
        return 0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - u) * t * t + (3 * q - p - 3 * r + u) * t * t * t);
      };
      curve.push_back({blend(a.x, b.x, c.x, d.x), blend(a.y, b.y, c.y, d.y)});
    }
  }
  curve.push_back(points.back());
  return curve;
}

double squared_distance(Point p, Point a, Point b) {
  const double dx = b.x - a.x, dy = b.y - a.y;
  const double length = dx * dx + dy * dy;
  const double t = length == 0 ? 0 : std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length, 0.0, 1.0);
  const double ex = p.x - (a.x + t * dx), ey = p.y - (a.y + t * dy);
  return ex * ex + ey * ey;
}

/// Maps the unit square to pixels with random rotation, shear, scale and position.
struct Affine {
  double xx, xy, yx, yy, x, y;

  explicit Affine(Random& random) {
    const double turn = random.bell(0.13), shear = random.bell(0.13);
    const double width = random.uniform(15.0, 22.0), height = random.uniform(17.0, 23.0);
    // (1, turn) normalized: a rotation without sine or cosine.
    const double norm = 1.0 / std::sqrt(1 + turn * turn);
    xx = width * norm;
    xy = height * (shear - turn) * norm;
    yx = width * turn * norm;
    yy = height * norm;
    x = kSize / 2.0 + random.bell(0.9) - (xx + xy) / 2;
    y = kSize / 2.0 + random.bell(0.9) - (yx + yy) / 2;
  }
  Point operator()(Point p) const { return {xx * p.x + xy * p.y + x, yx * p.x + yy * p.y + y}; }
};

std::vector<Stroke> write(int digit, Random& random) {
  const auto& shapes = shapes_of(digit);
  const auto& shape = shapes[random.next() % shapes.size()];
  const Affine to_pixels(random);
  const double shake = random.uniform(0.015, 0.06);  // in units of the unit square
  std::vector<Stroke> strokes;
  for (const Stroke& given : shape) {
    Stroke jittered = given;
    for (Point& p : jittered) p = {p.x + random.bell(shake), p.y + random.bell(shake)};
    Stroke curve = smooth(jittered);
    for (Point& p : curve) p = to_pixels(p);
    strokes.push_back(std::move(curve));
  }
  // One sample in four has a stray mark.
  if (random.next() % 4 == 0) {
    const Point a{random.uniform(2, 26), random.uniform(2, 26)};
    strokes.push_back({a, {a.x + random.bell(3), a.y + random.bell(3)}});
  }
  return strokes;
}

void ink(const std::vector<Stroke>& strokes, Random& random, std::uint8_t* pixels) {
  const double half_width = random.uniform(0.7, 1.6);  // pixels
  const double brightness = random.uniform(90, 255);
  const double noise = random.uniform(0, 45);
  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x) {
      double nearest = 1e9;
      for (const Stroke& stroke : strokes)
        for (std::size_t i = 0; i + 1 < stroke.size(); ++i)
          nearest = std::min(nearest, squared_distance({x + 0.5, y + 0.5}, stroke[i], stroke[i + 1]));
      const double coverage = std::clamp(half_width + 0.5 - std::sqrt(nearest), 0.0, 1.0);
      const double value = coverage * brightness + std::max(0.0, random.bell(noise));
      pixels[y * kSize + x] = static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0));
    }
}

}  // namespace

Digits draw_digits(std::int64_t count, std::uint64_t seed) {
  Digits digits{.images = Tensor(DataType::uint8, {count, kSize, kSize}), .labels = {}};
  std::uint8_t* pixels = digits.images.mutable_data<std::uint8_t>().data();
  for (std::int64_t i = 0; i < count; ++i) {
    Random random(seed * 1000003 + static_cast<std::uint64_t>(i));
    const int digit = static_cast<int>(random.next() % 10);
    ink(write(digit, random), random, pixels + i * kSize * kSize);
    digits.labels.push_back(digit);
  }
  return digits;
}

}  // namespace bitfold::demo
