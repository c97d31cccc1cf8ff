#include "bitfold/recipe.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "bitfold/error.h"
#include "quantize/recipe_changes.h"
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

TEST(Recipe, accepts_exactly_the_documented_bit_widths) {
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

TEST(Recipe, without_samples_changes_only_fields_that_need_them) {
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

TEST_F(RecipeFile, every_field_is_read_from_toml_and_json) {
  for (const RecipeField& field : recipe_fields()) {
    const Recipe expected = bitfold::testing::changed_recipe(field);
    EXPECT_NE(expected, Recipe{}) << field.name;
    const std::string line = bitfold::testing::recipe_toml(expected);
    EXPECT_EQ(load_recipe(write(line)), expected) << line;
    EXPECT_EQ(parse_recipe_json(recipe_json(expected)), expected) << recipe_json(expected);
    EXPECT_EQ(load_recipe(write(recipe_json(expected))), expected) << "as a file of --recipe";
    EXPECT_NE(recipe_json(expected), recipe_json({})) << field.name;
  }
}

TEST(RecipeFields, describe_every_member) {
  // This does not compile when Recipe gets a new member. Add the member here and to recipe_fields().
  [[maybe_unused]] const auto [a, b, c, d, e, f, g, h, i, j, k, l, m, n, layers] = Recipe{};
  [[maybe_unused]] const auto [x, y, z] = LayerRecipe{};
  std::size_t whole = 0, of_layers = 0;
  for (const RecipeField& field : recipe_fields()) {
    whole += field.get ? 1 : 0;
    of_layers += field.get_layer ? 1 : 0;
    EXPECT_EQ(static_cast<bool>(field.get), static_cast<bool>(field.set)) << field.name;
    EXPECT_FALSE(field.help.empty()) << field.name;
    EXPECT_EQ(field.flag.empty(), !field.get) << field.name;
  }
  EXPECT_EQ(whole, 14U);
  EXPECT_EQ(of_layers, 3U);
}

TEST(RecipeFields, absent_and_unsupported_values_are_distinguished) {
  EXPECT_EQ(parse_recipe_json(R"({"smooth": null})", {.smooth = 0.5}).smooth, std::nullopt);
  for (const char* text : {R"({"smooth": [1]})", R"({"smooth": {}})", R"({"skip": [1]})", R"({"weight_bits": null})"})
    EXPECT_THROW(parse_recipe_json(text), Error) << text;
}

TEST(RecipeFields, layer_settings_are_read_from_text) {
  Recipe recipe;
  set_layer(recipe, "block:1/conv=a:weight_bits=4");
  set_layer(recipe, "fc:in_float=true");
  EXPECT_EQ(recipe.layers.at("block:1/conv=a").weight_bits, 4);
  EXPECT_TRUE(recipe.layers.at("fc").in_float);
  const auto complaint = [&](const std::string& text) -> std::string {
    try {
      set_layer(recipe, text);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_MENTIONS(complaint("fc"), "'fc'", "NODE:KEY=VALUE");
  EXPECT_MENTIONS(complaint("fc:weight_bit=4"), "'weight_bit'", "did you mean 'weight_bits'");
  EXPECT_MENTIONS(complaint("fc:weight_bits=9"), "weight_bits is 9", "2 to 8");
  EXPECT_MENTIONS(complaint("fc:weight_bits=x"), "weight_bits is 'x'", "2 to 8");
}

// docs/recipe.md holds this table; BITFOLD_UPDATE_DOCS=1 updates it.
std::string documented_fields() {
  std::string table = "| key | flag | values | default | for one layer | what it does |\n|---|---|---|---|---|---|\n";
  for (const RecipeField& field : recipe_fields())
    table += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", field.name,
                         field.flag.empty() ? "" : fmt::format("`{}`", field.flag), field.values, field.default_value,
                         field.get_layer ? "yes" : "", field.help);
  return table;
}

TEST(RecipeFields, are_documented) {
  const std::string path = std::string(BITFOLD_SOURCE_DIR) + "/docs/recipe.md";
  const std::vector<std::byte> bytes = read_file(path);
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t first = text.find("| key |"), last = text.find("\n\n", first);
  ASSERT_NE(first, std::string::npos);
  ASSERT_NE(last, std::string::npos);
  if (std::getenv("BITFOLD_UPDATE_DOCS") != nullptr)
    write_file(path, text.replace(first, last + 1 - first, documented_fields()));
  else
    EXPECT_EQ(text.substr(first, last + 1 - first), documented_fields()) << "BITFOLD_UPDATE_DOCS=1 updates the table";
}

TEST_F(RecipeFile, omitted_keys_keep_their_defaults) { EXPECT_EQ(load_recipe(write("# nothing\n")), Recipe{}); }

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

TEST_F(RecipeFile, reads_settings_of_single_layers) {
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
