#include "bitfold/mixed_precision.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/file.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "bitfold/reference.h"
#include "bitfold/report.h"
#include "bitfold/sensitivity.h"
#include "quantize/recipe_changes.h"
#include "report/search_state.h"
#include "report/test_networks.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::calibration_of;
using testing::classifier;
using testing::samples;

// 400 samples labelled by the float network, with a wrong label for every tenth.
testing::Samples labelled(const Graph& graph) {
  auto source = samples(400, 7);
  std::vector<std::int64_t> labels;
  const Reference reference(graph);
  const Tensor scores = reference.run(source.next(400)->inputs).front();
  for (std::int64_t i = 0; i < 400; ++i) {
    const auto row = scores.data<float>().subspan(static_cast<std::size_t>(8 * i), 8);
    labels.push_back(i % 10 == 0 ? 0 : std::max_element(row.begin(), row.end()) - row.begin());
  }
  return testing::Samples(testing::uniform({400, 16}, 7), labels);
}

class Mixed : public ::testing::Test {
 protected:
  MixedPrecision search(const MixedPrecisionOptions& options, const Recipe& recipe = {}) {
    auto some = samples(32, 3);
    auto evaluation = labelled(graph);
    return search_mixed_precision(graph, calibration, some, evaluation, recipe, options);
  }
  double top1(const Graph& network) {
    auto evaluation = labelled(graph);
    return evaluate(network, evaluation, {.threads = 1, .use_reference = true}).top1.value();
  }
  // Points lost, measured with the reference.
  double drop(const Recipe& recipe) { return 100 * (top1(graph) - top1(quantize(graph, calibration, recipe).graph)); }

  Graph graph = classifier(6);
  Calibration calibration = calibration_of(graph);
};

TEST_F(Mixed, best_mix_meets_the_limit_and_no_cheaper_neighbour_does) {
  for (const double promise : {0.5, 5.0}) {
    const MixedPrecision mixed = search({.max_drop = promise});
    ASSERT_GE(mixed.best, 0);
    const MixPoint& best = mixed.points[static_cast<std::size_t>(mixed.best)];
    EXPECT_NEAR(drop(mixed.recipe), best.drop, 1e-9);
    EXPECT_LE(best.drop, promise + 1e-9);
    EXPECT_EQ(best.bytes, model_bytes(quantize(graph, calibration, mixed.recipe).graph));
    for (std::size_t l = 0; l < mixed.layers.size(); ++l) {
      if (best.choices[l] != LayerChoice{8, 8}) continue;
      Recipe cheaper = mixed.recipe;
      cheaper.layers[mixed.layers[l]].weight_bits = 4;
      EXPECT_GT(drop(cheaper), promise) << mixed.layers[l] << " could have 4 bits at a promise of " << promise;
    }
  }
}

// With samples, the measured candidate equals what quantize() makes of the mix with the same samples, and is better.
TEST_F(Mixed, candidates_are_rounded_with_the_given_samples) {
  auto with = samples(32, 5);
  const MixedPrecision mixed = search({.max_drop = 1, .samples = &with});
  ASSERT_GE(mixed.best, 0);
  const MixPoint& best = mixed.points[static_cast<std::size_t>(mixed.best)];
  const Graph written = quantize(graph, calibration, mixed.recipe, with).graph;
  EXPECT_EQ(written, quantize(graph, calibration, mixed.recipe, with).graph);
  EXPECT_NE(written, quantize(graph, calibration, mixed.recipe).graph);
  EXPECT_NEAR(100 * (top1(graph) - top1(written)), best.drop, 1e-9);
  const MixedPrecision without = search({.max_drop = 1});
  EXPECT_LE(best.bytes, without.points[static_cast<std::size_t>(without.best)].bytes);
}

// The second mix measured is the middle of the path (32): half of the layers have 8 bits, those with the largest gain
// per byte. The gain is measured here with the sensitivity analysis.
TEST_F(Mixed, the_path_gives_8_bits_first_to_the_layers_with_the_largest_gain_per_byte) {
  const MixedPrecision mixed = search({.max_drop = 100, .sensitivity_samples = 32});
  auto some = samples(32, 3);
  const Sensitivity s = measure_sensitivity(graph, calibration, some, {}, {.weight_bits = {8, 4}, .sample_count = 32});
  std::vector<std::pair<double, std::string>> gains;
  for (const LayerSensitivity& layer : s.layers)
    gains.emplace_back((layer.alone[1]->noise - layer.alone[0]->noise) / static_cast<double>(layer.weight_count),
                       layer.node);
  std::sort(gains.rbegin(), gains.rend());
  std::set<std::string> expected, got;
  for (std::size_t i = 0; i < 3; ++i) expected.insert(gains[i].second);
  ASSERT_EQ(mixed.points[0].choices, std::vector<LayerChoice>(6, {8, 8}));
  for (std::size_t l = 0; l < 6; ++l)
    if (mixed.points[1].choices[l] == LayerChoice{8, 8}) got.insert(mixed.layers[l]);
  EXPECT_EQ(got, expected);
}

TEST_F(Mixed, a_looser_limit_never_gives_a_larger_file) {
  std::int64_t bytes = std::numeric_limits<std::int64_t>::max();
  for (const double promise : {0.0, 1.0, 5.0, 100.0}) {
    const MixedPrecision mixed = search({.max_drop = promise});
    ASSERT_GE(mixed.best, 0) << promise;
    const std::int64_t now = mixed.points[static_cast<std::size_t>(mixed.best)].bytes;
    EXPECT_LE(now, bytes) << promise;
    bytes = now;
  }
  // The search ends with 4 bits for all layers.
  EXPECT_EQ(bytes, model_bytes(quantize(graph, calibration, {.weight_bits = 4}).graph));
}

TEST_F(Mixed, uses_16_bit_activations_or_float_if_8_bits_lose_too_much) {
  const MixedPrecision mixed = search({.max_drop = 0, .weight_bits = {2, 3}});
  ASSERT_GE(mixed.best, 0);
  const MixPoint& best = mixed.points[static_cast<std::size_t>(mixed.best)];
  EXPECT_LE(best.drop, 1e-9);
  const auto is_dearer = [](const LayerChoice& c) { return c.weight_bits == 0 || c.activation_bits == 16; };
  EXPECT_TRUE(std::any_of(best.choices.begin(), best.choices.end(), is_dearer));
}

TEST_F(Mixed, the_front_contains_no_dominated_mix) {
  const MixedPrecision mixed = search({.max_drop = 1});
  int on_front = 0;
  for (const MixPoint& p : mixed.points) {
    on_front += p.is_on_front;
    for (const MixPoint& q : mixed.points) EXPECT_FALSE(p.is_on_front && q.bytes < p.bytes && q.score >= p.score);
  }
  EXPECT_GE(on_front, 1);
}

TEST_F(Mixed, a_resumed_search_has_the_same_result_as_an_uninterrupted_one) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "state.json").string();
  const MixedPrecision whole = search({.max_drop = 1, .threads = 1});

  struct Breaker {
    std::atomic<bool> stop{false};
    int calls = 0;
  };
  std::size_t pieces = 0;
  for (bool is_complete = false; !is_complete; ++pieces) {
    ASSERT_LT(pieces, 40U);
    Breaker breaker;
    const auto count = [&](std::string_view, std::int64_t, std::int64_t) {
      if (++breaker.calls == 4) breaker.stop = true;
    };
    // Progress also counts measurements read from the file, so each part of the search allows more.
    breaker.calls = -static_cast<int>(3 * pieces);
    const MixedPrecision piece = search(
        {.max_drop = 1, .threads = 2, .state_path = path, .progress = {.report = count, .cancel = &breaker.stop}});
    is_complete = piece.is_complete;
    if (is_complete) {
      EXPECT_EQ(piece.recipe, whole.recipe);
      ASSERT_EQ(piece.points.size(), whole.points.size());
      for (std::size_t i = 0; i < whole.points.size(); ++i) EXPECT_EQ(piece.points[i].choices, whole.points[i].choices);
    }
  }
  EXPECT_GT(pieces, 2U);  // it was interrupted
}

TEST_F(Mixed, a_state_of_another_recipe_is_refused) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "state.json").string();
  search({.max_drop = 1, .state_path = path});
  for (const RecipeField& field : recipe_fields()) {
    try {
      search({.max_drop = 1, .state_path = path}, testing::changed_recipe(field));
      ADD_FAILURE() << field.name << " is not part of the fingerprint";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("a different network, calibration, recipe"), std::string::npos)
          << field.name << ": " << error.what();
    }
  }
}

TEST_F(Mixed, a_state_of_another_calibration_or_format_is_refused) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "state.json").string();
  search({.max_drop = 1, .state_path = path});
  calibration.values.at("g1.out").max += 1;
  EXPECT_THROW(search({.max_drop = 1, .state_path = path}), Error);
  write_file(path, std::string_view("{\"format\": 3}"));
  EXPECT_THROW(search({.max_drop = 1, .state_path = path}), Error);
}

TEST_F(Mixed, without_labels_the_limit_is_on_agreement) {
  auto some = samples(32, 3), evaluation = samples(300, 9);
  const MixedPrecision mixed = search_mixed_precision(graph, calibration, some, evaluation, {}, {.max_drop = 2});
  EXPECT_FALSE(mixed.has_labels);
  EXPECT_EQ(mixed.float_score, 1);
  ASSERT_GE(mixed.best, 0);
  auto again = samples(300, 9);
  const auto agreement =
      compare(graph, quantize(graph, calibration, mixed.recipe).graph, again, {.threads = 1}).top1_agreement;
  EXPECT_NEAR(agreement.value(), mixed.points[static_cast<std::size_t>(mixed.best)].score, 1e-9);
}

TEST(SearchState, with_a_malformed_layer_is_refused) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "state.json").string();
  report::save_state({.fingerprint = "f"}, path);
  for (const std::string key : {"conv", "conv w4", "conv w9a8"}) {
    const std::vector<std::byte> bytes = read_file(path);
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    text.replace(text.find("{}"), 2, "{\"" + key + "\": 0.5}");
    const std::string broken = (folder / "broken.json").string();
    write_file(broken, std::string_view(text));
    try {
      report::load_state(broken, "f");
      FAIL() << "no error";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("'" + key.substr(key == "conv" ? 0 : 5) + "': expected"), std::string::npos)
          << e.what();
    }
  }
}

TEST(SearchState, is_restored_from_its_file) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "state.json").string();
  const report::SearchState state{.fingerprint = "f",
                                  .noise = {{{"conv 1", {4, 8}}, 0.1}, {{"conv 1", {8, 16}}, 1.0 / 3}},
                                  .points = {{.choices = {{4, 8}, {0, 0}, {8, 16}}, .bytes = 1234, .score = 2.0 / 3}}};
  report::save_state(state, path);
  const auto read = report::load_state(path, "f");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->noise, state.noise);
  ASSERT_EQ(read->points.size(), 1U);
  EXPECT_EQ(read->points[0].choices, state.points[0].choices);
  EXPECT_EQ(read->points[0].score, state.points[0].score);
  EXPECT_FALSE(report::load_state((folder / "absent.json").string(), "f").has_value());
}

}  // namespace
}  // namespace bitfold
