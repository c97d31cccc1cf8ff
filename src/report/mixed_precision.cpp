// Searches for the cheapest mix of bit widths within a maximum loss of accuracy.
//
// Every layer has a list of choices, from the cheapest to the most expensive: few weight bits, more weight bits, 16-bit
// activations, float. Errors of different layers are small and nearly independent, so that their noise adds up at the
// output. The best mix for a given size is the one in which every step along a list removes the same noise per byte
// (the equal-slope condition of bit allocation: Shoham and Gersho, "Efficient bit allocation for an arbitrary set of
// quantizers", 1988). Sorting all steps by
//
//   (noise before - noise after) / (bytes after - bytes before)
//
// therefore gives one path from the cheapest mix to the float network, and each of its points is estimated to be the
// best of its size. Noise is measured for each layer alone (sensitivity.h). Noise does not determine accuracy, so
// accuracy is measured on the evaluation set at the points that a bisection of the path visits. Because noise is an
// estimate, every step taken is then tried in reverse, those with the least gain first, until none can be undone.
//
// Weights come first on the path. Wider activations and float cost time instead of bytes and are used only if 8 bits
// for all weights exceed the maximum loss. They are ordered by noise per multiply-accumulate.
#include "bitfold/mixed_precision.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/check.h"
#include "bitfold/onnx.h"
#include "bitfold/report.h"
#include "report/damage.h"
#include "report/judge.h"
#include "report/search_state.h"

namespace bitfold {
namespace {

using report::SearchState;
using report::WeightedLayer;

constexpr LayerChoice kFloat{0, 0};
constexpr double kTolerance = 1e-9;  // in points, for rounding errors of scores, which are fractions computed in double

struct Step {
  std::size_t layer;
  LayerChoice to;
  double gain;  // noise removed per byte, or per multiply-accumulate
};

class Search {
 public:
  Search(const Graph& graph, const Calibration& calibration, BatchSource& samples, BatchSource& evaluation,
         const Recipe& recipe, const MixedPrecisionOptions& options)
      : graph_(graph),
        calibration_(calibration),
        recipe_(recipe),
        options_(options),
        stop_(options.time_budget_s, options.progress),
        judge_(graph, evaluation, options.threads) {
    check(options.max_drop >= 0, "max_drop is {} points; it must be 0 or positive", options.max_drop);
    weight_bits_ = options.weight_bits;
    std::sort(weight_bits_.begin(), weight_bits_.end());
    weight_bits_.erase(std::unique(weight_bits_.begin(), weight_bits_.end()), weight_bits_.end());
    check(!weight_bits_.empty(), "mixed precision needs at least one weight bit width");
    for (int bits : weight_bits_) check_recipe({.weight_bits = bits});
    for (WeightedLayer& layer : report::weighted_layers(graph, recipe))
      if (!recipe.layers.contains(layer.node)) layers_.push_back(std::move(layer));
    state_.fingerprint = fingerprint(samples, evaluation);
    if (!options.state_path.empty())
      if (auto saved = report::load_state(options.state_path, state_.fingerprint)) state_ = std::move(*saved);
  }

  MixedPrecision run(BatchSource& samples) {
    measure_noise(samples);
    walk();
    return result();
  }

 private:
  using Mix = std::vector<LayerChoice>;

  std::string fingerprint(const BatchSource& samples, const BatchSource& evaluation) const;
  std::vector<LayerChoice> choices() const;
  void measure_noise(BatchSource& source);
  double noise(std::size_t layer, const LayerChoice& choice) const;
  std::vector<Step> weight_steps(std::size_t layer) const;
  std::vector<Step> path() const;
  Mix cheapest() const { return Mix(layers_.size(), {weight_bits_.front(), recipe_.activation_bits}); }
  Mix mix_at(const std::vector<Step>& path, std::size_t steps) const;

  Recipe recipe_of(const Mix& mix) const;
  Graph quantized(const Mix& mix);
  std::optional<bool> keeps_promise(const Mix& mix);
  void walk();
  void go_back(const std::vector<Step>& path, std::size_t steps, Mix mix);
  MixedPrecision result();
  double drop(const MixPoint& point) const { return 100 * (judge_.float_score() - point.score); }
  bool is_kept(const MixPoint& point) const { return drop(point) <= options_.max_drop + kTolerance; }
  void save() const {
    if (!options_.state_path.empty()) report::save_state(state_, options_.state_path);
  }

  const Graph& graph_;
  const Calibration& calibration_;
  const Recipe& recipe_;
  const MixedPrecisionOptions& options_;
  report::Stop stop_;
  report::Judge judge_;
  std::vector<int> weight_bits_;  // ascending
  std::vector<WeightedLayer> layers_;
  SearchState state_;
  std::vector<std::size_t> asked_;  // the points this search has visited, in order
  bool is_complete_ = true;
  std::int64_t expected_ = 1;  // expected number of evaluations, for the progress
};

std::string Search::fingerprint(const BatchSource& samples, const BatchSource& evaluation) const {
  std::string text = print_graph(graph_);
  for (const auto& [name, seen] : calibration_.values)
    text += fmt::format("\n{} {} {} {}", name, seen.min, seen.max, seen.count);
  text += "\n" + recipe_json(recipe_);
  text += fmt::format("\n{} {} {} {} {}", samples.description(), options_.sensitivity_samples, evaluation.description(),
                      judge_.sample_count(), options_.samples != nullptr ? options_.samples->description() : "");
  return report::hash_of(text);
}

std::vector<LayerChoice> Search::choices() const {
  std::vector<LayerChoice> choices;
  for (int bits : weight_bits_) choices.push_back({bits, recipe_.activation_bits});
  if (recipe_.activation_bits < 16) choices.push_back({weight_bits_.back(), 16});
  return choices;
}

void Search::measure_noise(BatchSource& source) {
  struct Wanted {
    std::size_t layer;
    LayerChoice choice;
  };
  std::vector<Wanted> wanted;
  std::vector<Recipe> recipes;
  for (const LayerChoice& choice : choices()) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      if (state_.noise.contains({layers_[l].node, choice})) continue;
      wanted.push_back({l, choice});
      recipes.push_back(report::alone(recipe_, layers_, l));
      auto& own = recipes.back().layers[layers_[l].node];
      own = {.weight_bits = choice.weight_bits, .activation_bits = choice.activation_bits};
    }
  }
  if (wanted.empty()) return;
  const report::SampleSet samples(graph_, source, options_.sensitivity_samples);
  std::int64_t done = 0;
  report::measure(graph_, calibration_, samples, recipes, options_.threads, stop_,
                  [&](std::size_t i, const Damage& damage) {
                    state_.noise[{layers_[wanted[i].layer].node, wanted[i].choice}] = damage.noise;
                    options_.progress.notify("measuring layers", ++done, static_cast<std::int64_t>(wanted.size()));
                  });
  save();
}

// Choices that were not measured in time get the largest noise, so that they are not used.
double Search::noise(std::size_t layer, const LayerChoice& choice) const {
  if (choice == kFloat) return 0;
  const auto it = state_.noise.find({layers_[layer].node, choice});
  return it == state_.noise.end() ? std::numeric_limits<float>::max() : it->second;
}

// The lower convex hull of (bytes, noise) over the weight bits: steps of decreasing gain, as the equal-slope condition
// requires. The last step always ends at the most bits.
std::vector<Step> Search::weight_steps(std::size_t layer) const {
  const auto bytes = [&](int bits) { return static_cast<double>(layers_[layer].weight_count) * (bits <= 4 ? 0.5 : 1); };
  std::vector<Step> steps;
  for (std::size_t at = 0; at + 1 < weight_bits_.size();) {
    std::size_t best = at + 1;
    double best_gain = -std::numeric_limits<double>::infinity();
    for (std::size_t next = at + 1; next < weight_bits_.size(); ++next) {
      const double bought = noise(layer, {weight_bits_[at], recipe_.activation_bits}) -
                            noise(layer, {weight_bits_[next], recipe_.activation_bits});
      // Divides by at least one byte, because different bit widths may take the same storage.
      const double gain = bought / std::max(1.0, bytes(weight_bits_[next]) - bytes(weight_bits_[at]));
      if (gain < best_gain) continue;
      best = next;
      best_gain = gain;
    }
    steps.push_back({layer, {weight_bits_[best], recipe_.activation_bits}, best_gain});
    at = best;
  }
  return steps;
}

std::vector<Step> Search::path() const {
  std::map<std::string, double> macs;
  for (const LayerSummary& layer : summarize(graph_)) macs[layer.name] = static_cast<double>(layer.mac_count);
  const auto by_gain = [](const Step& a, const Step& b) { return a.gain > b.gain; };
  const LayerChoice most{weight_bits_.back(), recipe_.activation_bits};
  const LayerChoice wide{weight_bits_.back(), 16};
  std::vector<Step> all, widen, to_float;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const std::vector<Step> steps = weight_steps(l);
    all.insert(all.end(), steps.begin(), steps.end());
    const double work = std::max(1.0, macs[layers_[l].node]);
    const double bought = recipe_.activation_bits < 16 ? noise(l, most) - noise(l, wide) : 0;
    if (bought > 0) widen.push_back({l, wide, bought / work});
    to_float.push_back({l, kFloat, noise(l, bought > 0 ? wide : most) / work});
  }
  std::stable_sort(all.begin(), all.end(), by_gain);
  std::stable_sort(widen.begin(), widen.end(), by_gain);
  std::stable_sort(to_float.begin(), to_float.end(), by_gain);
  all.insert(all.end(), widen.begin(), widen.end());
  all.insert(all.end(), to_float.begin(), to_float.end());
  return all;
}

Search::Mix Search::mix_at(const std::vector<Step>& path, std::size_t steps) const {
  Mix mix = cheapest();
  for (std::size_t s = 0; s < steps; ++s) mix[path[s].layer] = path[s].to;
  return mix;
}

Recipe Search::recipe_of(const Mix& mix) const {
  Recipe recipe = recipe_;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    LayerRecipe own;
    if (mix[l] == kFloat) {
      own.in_float = true;
    } else {
      if (mix[l].weight_bits != recipe_.weight_bits) own.weight_bits = mix[l].weight_bits;
      if (mix[l].activation_bits != recipe_.activation_bits) own.activation_bits = mix[l].activation_bits;
    }
    if (own != LayerRecipe{}) recipe.layers[layers_[l].node] = own;
  }
  return recipe;
}

// Quantizes the mix exactly as the final file. With samples this takes long, so it can stop between two layers.
Graph Search::quantized(const Mix& mix) {
  if (options_.samples == nullptr) return quantize(graph_, calibration_, recipe_of(mix)).graph;
  const Progress watched{.report = [this](std::string_view, std::int64_t, std::int64_t) {
    if (stop_()) throw Cancelled();
  }};
  return quantize(graph_, calibration_, recipe_of(mix), *options_.samples, watched).graph;
}

// Whether the mix is within the maximum drop; empty if the search must stop.
std::optional<bool> Search::keeps_promise(const Mix& mix) {
  const MixPoint* known = state_.find(mix);
  if (known == nullptr) {
    if (stop_()) {
      is_complete_ = false;
      return std::nullopt;
    }
    Graph candidate;
    try {
      candidate = quantized(mix);
    } catch (const Cancelled&) {
      is_complete_ = false;
      return std::nullopt;
    }
    state_.points.push_back({.choices = mix, .bytes = model_bytes(candidate), .score = judge_.score(candidate)});
    save();
    known = &state_.points.back();
  }
  const auto index = static_cast<std::size_t>(known - state_.points.data());
  if (std::find(asked_.begin(), asked_.end(), index) == asked_.end()) asked_.push_back(index);
  const auto done = static_cast<std::int64_t>(asked_.size());
  options_.progress.notify("searching", done, std::max(done, expected_));
  return is_kept(*known);
}

void Search::walk() {
  const std::vector<Step> steps = path();
  const auto is_weight_step = [&](const Step& s) {
    return s.to != kFloat && s.to.activation_bits == recipe_.activation_bits;
  };
  const auto weight_step_count = static_cast<std::size_t>(std::count_if(steps.begin(), steps.end(), is_weight_step));
  expected_ =
      2 + static_cast<std::int64_t>(std::log2(steps.size() + 1.0)) + static_cast<std::int64_t>(weight_step_count) / 2;
  // The most weight bits for all layers come first, so that a search that is stopped early has a result.
  std::size_t low = 0, high = weight_step_count;
  const auto first = keeps_promise(mix_at(steps, high));
  if (!first) return;
  if (!*first) {
    low = high + 1;
    high = steps.size();
  }
  // The end of the path is float, which always meets the limit; everything between low and high is undecided.
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    const auto kept = keeps_promise(mix_at(steps, middle));
    if (!kept) return;
    (*kept ? high : low) = *kept ? middle : middle + 1;
  }
  if (!keeps_promise(mix_at(steps, high))) return;
  go_back(steps, high, mix_at(steps, high));
}

// Tries to undo each step separately, and repeats, because undoing one step may allow undoing another.
void Search::go_back(const std::vector<Step>& path, std::size_t steps, Mix mix) {
  for (bool is_changed = true; is_changed;) {
    is_changed = false;
    expected_ = static_cast<std::int64_t>(asked_.size() + steps);
    for (std::size_t s = steps; s-- > 0;) {
      if (mix[path[s].layer] != path[s].to) continue;
      Mix lower = mix;
      lower[path[s].layer] = mix_at(path, s)[path[s].layer];
      const auto kept = keeps_promise(lower);
      if (!kept) return;
      if (!*kept) continue;
      mix = lower;
      is_changed = true;
    }
  }
}

MixedPrecision Search::result() {
  MixedPrecision result{.has_labels = judge_.has_labels(),
                        .float_score = judge_.float_score(),
                        .max_drop = options_.max_drop,
                        .evaluation_samples = judge_.sample_count(),
                        .is_complete = is_complete_,
                        .recipe = recipe_};
  for (const WeightedLayer& layer : layers_) result.layers.push_back(layer.node);
  for (std::size_t index : asked_) {
    MixPoint point = state_.points[index];
    point.drop = drop(point);
    result.points.push_back(std::move(point));
  }
  // At equal size, prefers fewer layers with slow choices.
  const auto cost = [&](const MixPoint& p) {
    const auto slow = std::count_if(p.choices.begin(), p.choices.end(), [&](const LayerChoice& c) {
      return c == kFloat || c.activation_bits > recipe_.activation_bits;
    });
    return std::pair(p.bytes, slow);
  };
  for (std::size_t i = 0; i < result.points.size(); ++i) {
    MixPoint& point = result.points[i];
    point.is_on_front = std::none_of(result.points.begin(), result.points.end(), [&](const MixPoint& other) {
      return other.bytes <= point.bytes && other.score >= point.score &&
             (other.bytes < point.bytes || other.score > point.score);
    });
    const bool is_better = result.best < 0 || cost(point) < cost(result.points[static_cast<std::size_t>(result.best)]);
    if (is_kept(point) && is_better) result.best = static_cast<int>(i);
  }
  if (result.best >= 0) result.recipe = recipe_of(result.points[static_cast<std::size_t>(result.best)].choices);
  return result;
}

}  // namespace

MixedPrecision search_mixed_precision(const Graph& graph, const Calibration& calibration,
                                      BatchSource& sensitivity_source, BatchSource& evaluation, const Recipe& recipe,
                                      const MixedPrecisionOptions& options) {
  return Search(graph, calibration, sensitivity_source, evaluation, recipe, options).run(sensitivity_source);
}

}  // namespace bitfold
