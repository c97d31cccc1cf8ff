// The analysis as JSON: the file for scripts, and the data inside the page.
#include <cmath>
#include <nlohmann/json.hpp>

#include "bitfold/analysis.h"
#include "bitfold/version.h"
#include "report/search_state.h"

namespace bitfold {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinities.
Json number(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }
template <class T>
Json optional(const std::optional<T>& x) {
  return x ? Json(*x) : Json(nullptr);
}

// SQNR is null if nothing differs; `noise` is then 0.
Json to_json(const std::optional<Damage>& damage) {
  if (!damage) return nullptr;
  return {{"sqnr_db", number(damage->sqnr_db())}, {"noise", damage->noise}, {"agreement", optional(damage->agreement)}};
}

Json to_json(const LayerSensitivity& s, const std::vector<int>& bits) {
  Json alone = Json::array();
  for (std::size_t i = 0; i < bits.size(); ++i) {
    Json damage = to_json(s.alone[i]);
    if (damage.is_object()) damage["weight_bits"] = bits[i];
    alone.push_back(std::move(damage));
  }
  return {{"alone", alone}, {"all_but", to_json(s.all_but)}, {"error_share", optional(s.error_share)}};
}

Json to_json(const QuantParams& grid) {
  const double scale = grid.scale[0];
  return {{"scale", scale},
          {"zero_point", grid.zero_point[0]},
          {"bits", grid.bits},
          {"is_signed", grid.is_signed},
          {"low", scale * (grid.qmin() - grid.zero_point[0])},
          {"high", scale * (grid.qmax() - grid.zero_point[0])}};
}

Json to_json(const WeightRanges& w) {
  return {{"channels", w.channel_count},
          {"dead", w.dead_count},
          {"wide", w.wide_count},
          {"median_extent", w.median_extent},
          {"widest_extent", w.widest_extent},
          {"min", w.min},
          {"max", w.max}};
}

Json to_json(const LayerAnalysis& layer, const Analysis& analysis) {
  Json json{{"name", layer.node},
            {"op", layer.op},
            {"value", layer.value},
            {"output_shape", layer.output_shape},
            {"parameters", layer.parameter_count},
            {"macs", layer.mac_count},
            {"quantized", layer.is_quantized},
            {"has_weights", layer.has_weights},
            {"weight_bits", layer.weight_bits},
            {"activation_bits", layer.activation_bits},
            {"sqnr_db", layer.sqnr_db ? number(*layer.sqnr_db) : Json(nullptr)},
            {"kernel", layer.kernel},
            {"time_us", optional(layer.time_us)},
            {"clipped_share", optional(layer.clipped_share)},
            {"used_codes", optional(layer.used_codes)}};
  json["grid"] = layer.grid ? to_json(*layer.grid) : Json(nullptr);
  json["sensitivity"] =
      layer.sensitivity ? to_json(*layer.sensitivity, analysis.sensitivity.weight_bits) : Json(nullptr);
  json["values"] = nullptr;
  if (layer.values)
    json["values"] = {{"low", layer.values->low}, {"high", layer.values->high}, {"counts", layer.values->counts}};
  json["weights"] = layer.weights ? to_json(*layer.weights) : Json(nullptr);
  json["findings"] = Json::array();
  for (const Finding& f : layer.findings)
    json["findings"].push_back({{"severity", to_string(f.severity)}, {"cause", to_string(f.cause)}, {"text", f.text}});
  return json;
}

Json to_json(const ModelFigures& m) {
  return {{"bytes", m.bytes}, {"latency_us", m.latency_us}, {"top1", optional(m.top1)}, {"top5", optional(m.top5)}};
}

Json to_json(const MixedPrecision& mixed) {
  Json points = Json::array();
  for (const MixPoint& point : mixed.points) {
    Json choices = Json::array();
    for (const LayerChoice& choice : point.choices) choices.push_back(report::to_string(choice));
    points.push_back({{"bytes", point.bytes},
                      {"score", point.score},
                      {"drop", point.drop},
                      {"is_on_front", point.is_on_front},
                      {"choices", choices}});
  }
  return {{"layers", mixed.layers},
          {"points", points},
          {"best", mixed.best < 0 ? Json(nullptr) : Json(mixed.best)},
          {"metric", mixed.has_labels ? "top1" : "agreement"},
          {"float_score", mixed.float_score},
          {"max_drop", mixed.max_drop},
          {"samples", mixed.evaluation_samples},
          {"is_complete", mixed.is_complete}};
}

}  // namespace

std::string mixed_precision_json(const MixedPrecision& mixed) { return to_json(mixed).dump(); }

std::string analysis_json(const Analysis& analysis) {
  Json json{{"format", "bitfold analysis"},
            {"version", version()},
            {"model", analysis.model},
            {"recipe", Json::parse(recipe_json(analysis.recipe))},
            {"calibration_samples", analysis.calibration_samples},
            {"comparison_samples", analysis.comparison_samples},
            {"comparison_data", analysis.comparison_data},
            {"float", to_json(analysis.before)},
            {"quantized", to_json(analysis.after)},
            {"agreement", optional(analysis.agreement)},
            {"sqnr_db", number(analysis.sqnr_db)}};
  json["sensitivity"] = {{"samples", analysis.sensitivity.sample_count},
                         {"weight_bits", analysis.sensitivity.weight_bits},
                         {"is_complete", analysis.sensitivity.is_complete}};
  json["sensitivity"]["all"] = to_json(std::optional(analysis.sensitivity.all));
  json["layers"] = Json::array();
  for (const LayerAnalysis& layer : analysis.layers) json["layers"].push_back(to_json(layer, analysis));
  json["left"] = Json::array();
  for (const LeftNode& left : analysis.left)
    json["left"].push_back(
        {{"name", left.node}, {"op", left.op}, {"cause", to_string(left.cause)}, {"reason", left.reason}});
  json["left_text"] = describe_left(analysis.left);
  json["mixed"] = analysis.mixed ? to_json(*analysis.mixed) : Json(nullptr);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace bitfold
