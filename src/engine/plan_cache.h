// The plans of one graph by input shapes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>

#include "bitfold/tensor.h"
#include "engine/plan.h"

namespace bitfold::engine {

/// Drops the least recently used plans if plans occupy too much memory.
class PlanCache {
 public:
  /// The plan that find() or add() returned last.
  const Plan& front() const { return *plans_.front().plan; }

  /// Null if there is none. Allocates nothing.
  Plan* find(std::span<const Tensor> inputs, bool fuses_clamps) {
    const auto [begin, end] = by_hash_.equal_range(hash(inputs, fuses_clamps));
    for (auto it = begin; it != end; ++it) {
      const Entry& entry = *it->second;
      const bool is_it = entry.fuses_clamps == fuses_clamps &&
                         std::equal(inputs.begin(), inputs.end(), entry.plan->input_shapes().begin(),
                                    [](const Tensor& t, const Shape& s) { return t.shape() == s; });
      if (!is_it) continue;
      plans_.splice(plans_.begin(), plans_, it->second);
      return entry.plan.get();
    }
    return nullptr;
  }

  Plan& add(std::unique_ptr<Plan> plan, bool fuses_clamps) {
    const std::size_t key = hash(plan->input_shapes(), fuses_clamps);
    bytes_ += plan->own_bytes();
    plans_.push_front({std::move(plan), key, fuses_clamps});
    by_hash_.emplace(key, plans_.begin());
    while (bytes_ > kMaxBytes && plans_.size() > 1) drop_last();
    return *plans_.front().plan;
  }

 private:
  static constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

  struct Entry {
    std::unique_ptr<Plan> plan;
    std::size_t key = 0;
    bool fuses_clamps = true;
  };
  using Plans = std::list<Entry>;

  static const Shape& shape_of(const Tensor& t) { return t.shape(); }
  static const Shape& shape_of(const Shape& s) { return s; }

  template <class Inputs>
  static std::size_t hash(const Inputs& inputs, bool fuses_clamps) {
    std::uint64_t h = fuses_clamps ? 1 : 2;
    for (const auto& input : inputs)
      for (const std::int64_t dim : shape_of(input)) h = (h ^ static_cast<std::uint64_t>(dim)) * 0x9E3779B97F4A7C15U;
    return h;
  }

  void drop_last() {
    const auto last = std::prev(plans_.end());
    const auto [begin, end] = by_hash_.equal_range(last->key);
    by_hash_.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second == last; }));
    bytes_ -= last->plan->own_bytes();
    plans_.pop_back();
  }

  Plans plans_;  ///< Most recently used first.
  std::unordered_multimap<std::size_t, Plans::iterator> by_hash_;
  std::size_t bytes_ = 0;
};

/// The memory of intermediate values, shared by the plans of a session and of its nodes' bodies, which run one at a
/// time.
class Arena {
 public:
  /// Returns at least `bytes` bytes, aligned to 64.
  std::byte* reserve(std::size_t bytes);

 private:
  std::shared_ptr<std::byte> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace bitfold::engine
