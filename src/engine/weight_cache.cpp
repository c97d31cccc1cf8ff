#include "engine/weight_cache.h"

#include <algorithm>

namespace bitfold::engine {
namespace {

bool same(const ByteGrid& a, const ByteGrid& b) {
  return a.scale == b.scale && a.zero_point == b.zero_point && a.qmin == b.qmin && a.qmax == b.qmax;
}

}  // namespace

template <class Table, class Make>
auto& WeightCache::find_or_make(Table& table, const typename Table::key_type& key, const Make& make) {
  const auto found = table.find(key);
  return found != table.end() ? found->second : table.emplace(key, make()).first->second;
}

std::shared_ptr<const ProductFacts> WeightCache::facts(const ProductKey& key,
                                                       const std::function<ProductFacts()>& make) {
  const std::lock_guard lock(mutex_);
  return find_or_make(facts_, key, [&] { return std::make_shared<const ProductFacts>(make()); });
}

std::shared_ptr<const CodeProductFacts> WeightCache::code_facts(const ProductKey& key,
                                                                const std::function<CodeProductFacts()>& make) {
  const std::lock_guard lock(mutex_);
  return find_or_make(code_facts_, key, [&] { return std::make_shared<const CodeProductFacts>(make()); });
}

std::shared_ptr<const IntegerFilter> WeightCache::filter(const FilterKey& key, const PackedWeightsKey& weights,
                                                         const MakeFilter& make) {
  const std::lock_guard lock(mutex_);
  return find_or_make(filters_, key, [&] {
    const auto same = packed_.find(weights);
    auto made =
        std::make_shared<const IntegerFilter>(make(memory_, same == packed_.end() ? nullptr : same->second.get()));
    if (same == packed_.end()) {
      packed_.emplace(weights, made->filter);
      packed_bytes_ += made->filter->size_bytes();
    }
    return made;
  });
}

std::shared_ptr<const std::byte> WeightCache::floats(const FloatWeightsKey& key, std::size_t bytes,
                                                     const std::function<void(std::byte*)>& make) {
  const std::lock_guard lock(mutex_);
  return find_or_make(floats_, key, [&] {
    const auto memory = memory_.take(bytes);
    make(memory.get());
    packed_bytes_ += bytes;
    return memory;
  });
}

Tensor WeightCache::constant(const ConstantKey& key, const std::function<Tensor()>& make) {
  const std::lock_guard lock(mutex_);
  return find_or_make(constants_, key, make);
}

double WeightCache::magnitude(ValueId constant, const std::function<double()>& make) {
  const std::lock_guard lock(mutex_);
  return find_or_make(magnitudes_, constant, make);
}

double WeightCache::row_sum(NodeId product, const std::function<double()>& make) {
  const std::lock_guard lock(mutex_);
  return find_or_make(row_sums_, product, make);
}

BinaryGrids WeightCache::grids(const PointwiseKernels& kernels, CodeBinary kind, const BinaryGrids& grids) {
  const std::lock_guard lock(mutex_);
  for (const auto& [known_kind, known] : grids_)
    if (known_kind == kind && same(known.a, grids.a) && same(known.b, grids.b) && same(known.y, grids.y)) return known;
  return grids_.emplace_back(kind, prepared(kernels, kind, grids)).second;
}

WeightCache& WeightCache::body(std::pair<NodeId, std::size_t> key) {
  const std::lock_guard lock(mutex_);
  return *find_or_make(bodies_, key, [] { return std::make_unique<WeightCache>(); });
}

std::size_t WeightCache::packed_bytes() const {
  const std::lock_guard lock(mutex_);
  std::size_t bytes = packed_bytes_;
  for (const auto& [key, cache] : bodies_) bytes += cache->packed_bytes();
  return bytes;
}

}  // namespace bitfold::engine
