#include "ops/custom.h"

#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "ops/operator.h"

namespace bitfold::ops {
namespace {

struct Registry {
  std::shared_mutex mutex;
  std::map<std::pair<std::string, std::string>, CustomFunctions, std::less<>> functions;  // key: domain and name
};

Registry& registry() {
  static Registry made;
  return made;
}

}  // namespace

void add_custom(const std::string& domain, const std::string& name, CustomFunctions functions) {
  const std::string full = domain.empty() ? name : domain + "." + name;
  check(find_operator(domain, name) == nullptr, "operator {}: Bitfold has an operator of that name", full);
  const std::unique_lock lock(registry().mutex);
  const auto [it, is_new] = registry().functions.try_emplace({domain, name}, std::move(functions));
  check(is_new, "operator {} is registered twice", full);
}

const CustomFunctions* find_custom(std::string_view domain, std::string_view name) {
  const std::shared_lock lock(registry().mutex);
  const auto found = registry().functions.find(std::pair(std::string(domain), std::string(name)));
  return found == registry().functions.end() ? nullptr : &found->second;
}

}  // namespace bitfold::ops
