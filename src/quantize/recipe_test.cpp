#include <gtest/gtest.h>

#include "base/file.h"
#include "bitfold/error.h"
#include "bitfold/graph.h"
#include "bitfold/quantize.h"
#include "testing.h"

namespace bitfold {
namespace {

class RecipeFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string path = (folder_ / "recipe.toml").string();
    write_file(path, std::string_view(text));
    return path;
  }
  std::string complaint(const std::string& text) {
    try {
      load_recipe(write(text));
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }
  bitfold::testing::TemporaryFolder folder_;
};

#define EXPECT_MENTIONS(text, ...)                   \
  for (const std::string mentioned_ : {__VA_ARGS__}) \
  EXPECT_NE((text).find(mentioned_), std::string::npos) << mentioned_ << " is not in: " << (text)

TEST(Recipe, suits_the_network) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {2, 8});
  graph.mark_output(graph.add(Unary{UnaryKind::relu}, "relu", {x}, "y"));
  EXPECT_EQ(default_recipe(graph), Recipe{});
  const ValueId ones = graph.add_constant("ones", Tensor::from<float>({8}, std::vector<float>(8, 1.0F)));
  graph.mark_output(graph.add(LayerNorm{}, "norm", {x, ones}, "z"));
  EXPECT_EQ(default_recipe(graph), Recipe{.observer = Observer::min_max});
}

TEST(Recipe, accepts_every_bit_width_it_names_and_no_other) {
  for (int bits = -1; bits <= 33; ++bits) {
    const bool weights = bits >= 2 && bits <= 8, activations = weights || bits == 16;
    if (weights)
      EXPECT_NO_THROW(check_recipe({.weight_bits = bits}));
    else
      EXPECT_THROW(check_recipe({.weight_bits = bits}), Error) << bits;
    if (activations)
      EXPECT_NO_THROW(check_recipe({.activation_bits = bits}));
    else
      EXPECT_THROW(check_recipe({.activation_bits = bits}), Error) << bits;
  }
}

TEST(Recipe, without_samples_leaves_only_what_needs_none) {
  for (const Rounding rounding : {Rounding::gptq, Rounding::adaround, Rounding::seq_mse, Rounding::nearest}) {
    const Recipe recipe{
        .rounding = rounding, .bias_correction = BiasCorrection::empirical, .observer = Observer::automatic};
    const Recipe without = without_samples(recipe);
    EXPECT_FALSE(needs_samples(without));
    EXPECT_EQ(without.rounding, rounding == Rounding::nearest ? rounding : Rounding::automatic);
  }
  const Recipe percentile{.weight_bits = 4, .observer = Observer::percentile};
  EXPECT_EQ(without_samples(percentile), percentile);
}

TEST(Recipe, percentile_is_above_50_and_at_most_100) {
  EXPECT_NO_THROW(check_recipe({.percentile = 100}));
  for (const double p : {0.0, 50.0, 101.0, -1.0}) EXPECT_THROW(check_recipe({.percentile = p}), Error) << p;
}

TEST_F(RecipeFile, reads_every_key) {
  const Recipe recipe = load_recipe(write(R"(weight_bits = 4
activation_bits = 16
weight_scheme = "asymmetric"
activation_scheme = "symmetric"
granularity = "per_tensor"
rounding = "nearest"
bias_correction = "empirical"
equalization = "weights"
smooth = 0.6
absorb = false
target = "bitfold"
observer = "percentile"
percentile = 99.9
skip = ["conv1", "fc"]
)"));
  const Recipe expected{4,
                        16,
                        Scheme::asymmetric,
                        Scheme::symmetric,
                        Granularity::per_tensor,
                        Rounding::nearest,
                        BiasCorrection::empirical,
                        Equalization::weights,
                        0.6,
                        false,
                        Target::bitfold,
                        Observer::percentile,
                        99.9,
                        {"conv1", "fc"}};
  EXPECT_EQ(recipe, expected);
}

TEST_F(RecipeFile, keys_left_out_keep_their_defaults) { EXPECT_EQ(load_recipe(write("# nothing\n")), Recipe{}); }

TEST_F(RecipeFile, an_unknown_key_is_named_with_line_and_nearest_key) {
  const std::string text = complaint("weight_bits = 8\nactivation_bit = 8\n");
  EXPECT_MENTIONS(text, "recipe.toml:2", "'activation_bit'", "did you mean 'activation_bits'");
}

TEST_F(RecipeFile, a_wrong_type_or_value_is_named_with_line) {
  const std::string type = complaint("\nweight_bits = \"8\"\n");
  EXPECT_MENTIONS(type, "recipe.toml:2", "weight_bits");
  const std::string value = complaint("\n\nweight_bits = 33\n");
  EXPECT_MENTIONS(value, "recipe.toml:3", "weight_bits is 33");
  const std::string word = complaint("observer = \"min_mx\"");
  EXPECT_MENTIONS(word, "recipe.toml:1", "min_mx", "did you mean 'min_max'");
  const std::string flag = complaint("absorb = 1");
  EXPECT_MENTIONS(flag, "recipe.toml:1", "absorb must be true or false");
  const std::string percentile = complaint("percentile = 101");
  EXPECT_MENTIONS(percentile, "recipe.toml:1", "percentile is 101");
  const std::string skip = complaint("skip = \"conv1\"");
  EXPECT_MENTIONS(skip, "recipe.toml:1", "skip");
  const std::string syntax = complaint("weight_bits = 8\nobserver =\n");
  EXPECT_MENTIONS(syntax, "recipe.toml:2");
}

TEST_F(RecipeFile, reads_what_single_layers_do) {
  const Recipe recipe = load_recipe(write(R"(weight_bits = 4
[layers."conv1"]
weight_bits = 8
activation_bits = 16
[layers."/head/fc"]
in_float = true
)"));
  EXPECT_EQ(recipe.weight_bits, 4);
  ASSERT_EQ(recipe.layers.size(), 2U);
  EXPECT_EQ(recipe.layers.at("conv1"), (LayerRecipe{.weight_bits = 8, .activation_bits = 16}));
  EXPECT_EQ(recipe.layers.at("/head/fc"), LayerRecipe{.in_float = true});
  const std::string key = complaint("[layers.\"c\"]\nweight_bit = 4\n");
  EXPECT_MENTIONS(key, "recipe.toml:2", "'weight_bit'", "did you mean 'weight_bits'");
  const std::string value = complaint("[layers.\"c\"]\nactivation_bits = 12\n");
  EXPECT_MENTIONS(value, "recipe.toml:2", "activation_bits is 12");
  const std::string type = complaint("layers = 3\n");
  EXPECT_MENTIONS(type, "recipe.toml:1", "layers");
}

TEST_F(RecipeFile, a_missing_file_is_named) { EXPECT_THROW(load_recipe((folder_ / "absent.toml").string()), Error); }

}  // namespace
}  // namespace bitfold
