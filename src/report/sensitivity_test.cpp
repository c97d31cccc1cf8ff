#include "bitfold/sensitivity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitfold/analysis.h"
#include "bitfold/report.h"
#include "report/test_networks.h"

namespace bitfold {
namespace {

using testing::calibration_of;
using testing::classifier;
using testing::samples;

// compare() runs the float network in the reference, on batches, and so is independent of the measurement.
double compared_db(const Graph& graph, const Calibration& calibration, const Recipe& recipe) {
  auto source = samples(40, 5);
  return compare(graph, quantize(graph, calibration, recipe).graph, source, {.threads = 1}).sqnr_db;
}

TEST(Sensitivity, a_layer_alone_equals_compare_with_all_others_in_float) {
  const Graph graph = classifier();
  const Calibration calibration = calibration_of(graph);
  auto source = samples(40, 5);
  const Sensitivity s = measure_sensitivity(graph, calibration, source, {}, {.weight_bits = {8, 4}, .threads = 1});
  ASSERT_EQ(s.layers.size(), 3U);
  EXPECT_EQ(s.layers[1].node, "g2");
  EXPECT_EQ(s.layers[1].weight_count, 1024);
  EXPECT_EQ(s.sample_count, 40);
  EXPECT_NEAR(s.layers[1].alone.at(0)->sqnr_db(), compared_db(graph, calibration, {.skip = {"g1", "g3"}}), 0.01);
  EXPECT_NEAR(s.layers[1].alone.at(1)->sqnr_db(),
              compared_db(graph, calibration, {.weight_bits = 4, .skip = {"g1", "g3"}}), 0.01);
  EXPECT_NEAR(s.layers[0].all_but->sqnr_db(), compared_db(graph, calibration, {.skip = {"g1"}}), 0.01);
  EXPECT_NEAR(s.all.sqnr_db(), compared_db(graph, calibration, {}), 0.01);
}

TEST(Sensitivity, error_shares_sum_to_one_and_noise_approximately_to_the_total) {
  const Graph graph = classifier();
  auto source = samples(40, 5);
  const Sensitivity s = measure_sensitivity(graph, calibration_of(graph), source);
  double shares = 0, noise = 0;
  for (const LayerSensitivity& layer : s.layers) {
    shares += layer.error_share.value();
    noise += layer.alone[0]->noise;
  }
  EXPECT_NEAR(shares, 1, 1e-12);
  EXPECT_NEAR(10 * std::log10(noise / s.all.noise), 0, 3);
}

TEST(Sensitivity, does_not_depend_on_threads) {
  const Graph graph = classifier();
  const Calibration calibration = calibration_of(graph);
  auto source = samples(33, 5);
  const Sensitivity one = measure_sensitivity(graph, calibration, source, {}, {.threads = 1});
  const Sensitivity three = measure_sensitivity(graph, calibration, source, {}, {.threads = 3});
  for (std::size_t l = 0; l < one.layers.size(); ++l)
    for (std::size_t b = 0; b < 2; ++b)
      EXPECT_EQ(one.layers[l].alone[b]->noise, three.layers[l].alone[b]->noise) << one.layers[l].node;
}

TEST(Sensitivity, takes_samples_evenly_over_the_source) {
  const Graph graph = classifier();
  auto source = samples(1000, 5);
  EXPECT_EQ(measure_sensitivity(graph, calibration_of(graph), source, {}, {.sample_count = 7}).sample_count, 7);
}

TEST(Sensitivity, reports_that_it_was_stopped) {
  const Graph graph = classifier();
  auto source = samples(8, 5);
  const std::atomic<bool> stop{true};
  const Sensitivity s = measure_sensitivity(graph, calibration_of(graph), source, {}, {.progress = {.cancel = &stop}});
  EXPECT_FALSE(s.is_complete);
  ASSERT_EQ(s.layers.size(), 3U);
  EXPECT_FALSE(s.layers[0].alone[0].has_value());
  EXPECT_FALSE(s.layers[0].error_share.has_value());
}

TEST(Analysis, page_embeds_the_json_and_escapes_script_ends) {
  Graph graph = classifier();
  graph.rename_node(graph.nodes().front(), "g1</script><script>alert(1)");
  const Calibration calibration = calibration_of(graph);
  auto source = samples(20, 5), comparison = samples(20, 6);
  Analysis analysis = analyze(graph, calibration, {}, source, comparison, {.threads = 1, .bench_time_s = 0});
  analysis.model = "classifier.onnx";
  ASSERT_EQ(analysis.layers.size(), 3U);  // the Relus were absorbed into the grids before them
  EXPECT_EQ(analysis.layers[0].weight_bits, 8);
  EXPECT_TRUE(analysis.layers[0].values.has_value());
  EXPECT_TRUE(analysis.layers[0].weights.has_value());
  EXPECT_LT(analysis.after.bytes, analysis.before.bytes);
  const std::string page = analysis_page(analysis), json = analysis_json(analysis);
  EXPECT_NE(json.find("\"model\":\"classifier.onnx\""), std::string::npos);
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(page.find("@@"), std::string::npos);
  EXPECT_NE(page.find("d3js.org"), std::string::npos);
  EXPECT_NE(page.find("BSD 3-Clause"), std::string::npos);
}

}  // namespace
}  // namespace bitfold
