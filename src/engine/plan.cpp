#include "engine/plan.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/memory.h"
#include "engine/memory_planner.h"

namespace bitfold::engine {

std::vector<std::int64_t> strides_of(const Shape& shape, Layout layout) {
  if (layout == Layout::channels_last) {
    const ImageShape s = image_shape(shape);
    const std::int64_t image = s.pixels() * s.channels;
    if (shape.size() == 3) return {image, 1, s.channels};
    return {image, 1, s.width * s.channels, s.channels};
  }
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

namespace {

/// Throws Error that begins with the step's node.
[[noreturn]] void rethrow_failure(Step& step) {
  const auto failure = std::exchange(step.failure, nullptr);
  try {
    std::rethrow_exception(failure);
  } catch (const Error& e) {
    if (std::string_view(e.what()).starts_with('[')) throw;
    fail("[{} '{}'] {}", step.info.op, step.info.name, e.what());
  } catch (const std::bad_alloc&) {
    fail("[{} '{}'] out of memory", step.info.op, step.info.name);
  }
}

}  // namespace

Plan::Plan(Program program, std::vector<Shape> input_shapes, const SessionOptions& options)
    : program_(std::move(program)), input_shapes_(std::move(input_shapes)), cores_(omp_get_num_procs()) {
  place(options);
  divide_into_sections();
  for (const auto& step : program_.steps) infos_.push_back(step->info);
}

void Plan::divide_into_sections() {
  // A step that starts threads itself, or that may fail, is a section of its own.
  bool continues = false;
  for (std::size_t s = 0; s < program_.steps.size(); ++s) {
    const Step& step = *program_.steps[s];
    if (!continues || step.has_own_threads()) sections_.push_back({s, s, 1});
    continues = !step.has_own_threads();
    sections_.back().end = s + 1;
    sections_.back().threads = std::max(sections_.back().threads, step.threads());
  }
}

void Plan::place(const SessionOptions& options) {
  const std::size_t count = program_.buffers.size();
  const int last_step = static_cast<int>(program_.steps.size());
  std::vector<Block> lifetimes(count, {0, last_step, -1});
  int threads = 1;
  for (std::size_t s = 0; s < program_.steps.size(); ++s) {
    threads = std::max(threads, program_.steps[s]->threads());
    for (const Operand& operand : program_.steps[s]->operands()) {
      Block& life = lifetimes[static_cast<std::size_t>(operand.buffer)];
      life.first = std::min(life.first, static_cast<int>(s));
      life.last = std::max(life.last, static_cast<int>(s));
    }
  }
  if (options.keep_values)
    for (const auto& [name, kept] : program_.kept)
      lifetimes[static_cast<std::size_t>(kept.slot.buffer)].last = last_step;

  std::vector<Block> blocks;
  std::vector<std::size_t> owner;
  for (std::size_t b = 0; b < count; ++b) {
    if (program_.buffers[b].storage != Storage::arena || lifetimes[b].last < lifetimes[b].first) continue;
    lifetimes[b].bytes = program_.buffers[b].bytes;
    blocks.push_back(lifetimes[b]);
    owner.push_back(b);
  }
  const Placement placement = place_blocks(blocks, threads);
  offsets_.assign(count, 0);
  for (std::size_t i = 0; i < owner.size(); ++i) offsets_[owner[i]] = placement.offsets[i];
  arena_bytes_ = placement.arena_bytes;
  arena_lower_bound_ = engine::arena_lower_bound(blocks);
  check_memory(options.max_memory_bytes);
  for (const auto& step : program_.steps)
    for (std::size_t i = 0; i < step->operands().size(); ++i) {
      const Buffer& buffer = program_.buffers[static_cast<std::size_t>(step->operands()[i].buffer)];
      if (buffer.storage == Storage::graph_input || buffer.storage == Storage::graph_output)
        externals_.push_back({step.get(), i, buffer.storage, buffer.slot});
    }
}

void Plan::check_memory(std::size_t limit) const {
  try {
    check_fits_memory(arena_bytes_, limit);
  } catch (const Error& e) {
    // The step that reads and writes the most bytes is named as the one that needs the memory.
    const auto bytes = [&](const auto& step) {
      std::size_t sum = 0;
      for (const Operand& operand : step->operands()) {
        const Buffer& buffer = program_.buffers[static_cast<std::size_t>(operand.buffer)];
        if (buffer.storage == Storage::arena) sum += buffer.bytes;
      }
      return sum;
    };
    const StepInfo& info = (*std::ranges::max_element(program_.steps, {}, bytes))->info;
    fail("[{} '{}'] and the values alive at the same time take {}", info.op, info.name, e.what());
  }
}

void Plan::bind(std::byte* arena) {
  if (arena == arena_) return;
  arena_ = arena;
  for (const auto& step : program_.steps)
    for (Operand& operand : step->operands()) {
      const Storage storage = program_.buffers[static_cast<std::size_t>(operand.buffer)].storage;
      if (storage == Storage::arena || storage == Storage::constant)
        operand.data = const_cast<std::byte*>(address(operand.buffer));  // constants are only read
    }
}

std::size_t Plan::own_bytes() const {
  std::size_t bytes = sizeof(Plan) + program_.buffers.size() * (sizeof(Buffer) + sizeof(std::size_t));
  for (const auto& step : program_.steps) bytes += step->own_bytes();
  return bytes;
}

const std::byte* Plan::address(int buffer) const {
  const auto b = static_cast<std::size_t>(buffer);
  return program_.buffers[b].storage == Storage::constant ? program_.buffers[b].constant.get() : arena_ + offsets_[b];
}

bool Plan::run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us) {
  if (program_.has_large_values != nullptr) *program_.has_large_values = false;
  for (const External& e : externals_) {
    // Graph inputs are only read.
    std::byte* data = e.storage == Storage::graph_input ? const_cast<std::byte*>(inputs[e.slot].bytes())
                                                        : outputs[e.slot].mutable_bytes();
    e.step->operands()[e.operand].data = data;
  }
  for (const Section& section : sections_) {
    if (section.threads == 1) {
      run_steps(section, Team(), step_us);
    } else {
      Barrier barrier(section.threads <= cores_);
#pragma omp parallel num_threads(section.threads)
      run_steps(section, Team(omp_get_thread_num(), omp_get_num_threads(), barrier), step_us);
    }
    for (std::size_t s = section.begin; s < section.end; ++s)
      if (program_.steps[s]->failure) rethrow_failure(*program_.steps[s]);
  }
  return program_.has_large_values == nullptr || !*program_.has_large_values;
}

void Plan::run_steps(const Section& section, const Team& team, std::span<double> step_us) noexcept {
  using Clock = std::chrono::steady_clock;
  const bool is_timed = !step_us.empty() && team.rank() == 0;
  for (std::size_t s = section.begin; s < section.end; ++s) {
    Step& step = *program_.steps[s];
    const bool is_shared = step.threads() > 1;
    const auto begin = is_timed ? Clock::now() : Clock::time_point{};
    if (is_shared)
      step.run(team);
    else if (team.rank() == 0)
      step.run(Team());
    // Between two steps that the same thread runs, no thread has to wait.
    if (is_shared || s + 1 == section.end || program_.steps[s + 1]->threads() > 1) team.wait();
    if (is_timed) step_us[s] = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
  }
}

std::vector<std::string> Plan::kept_names() const {
  std::vector<std::string> names;
  for (const auto& [name, kept] : program_.kept) names.push_back(name);
  return names;
}

Tensor Plan::value(const std::string& name) const {
  const auto it = program_.kept.find(name);
  check(it != program_.kept.end(), "value '{}' is not kept: it is unknown, or fused into a later step", name);
  const Slot& slot = it->second.slot;
  const DataType dtype = slot.is_code ? it->second.quant->storage() : slot.dtype;
  Tensor out(dtype, slot.shape);
  const std::byte* from = address(slot.buffer);
  const auto width = static_cast<std::size_t>(bit_width(dtype) / 8);
  const std::byte flip = slot.is_code && it->second.quant->is_signed ? std::byte{0x80} : std::byte{0};
  const Shape& shape = slot.layout_shape();
  const auto strides = strides_of(shape, slot.layout);
  const std::int64_t row = shape.empty() ? 1 : shape.back(), step = strides.empty() ? 1 : strides.back();
  Shape index(shape.size());  // index of the current row of elements
  std::byte* to = out.mutable_bytes();
  for (std::int64_t done = 0; done < out.size(); done += row) {
    std::int64_t source = 0;
    for (std::size_t d = 0; d + 1 < shape.size(); ++d) source += index[d] * strides[d];
    for (std::int64_t i = 0; i < row; ++i, to += width, source += step) {
      std::memcpy(to, from + static_cast<std::size_t>(source) * width, width);
      if (flip != std::byte{0}) *to ^= flip;
    }
    for (std::size_t d = shape.empty() ? 0 : shape.size() - 1; d-- > 0 && ++index[d] == shape[d];) index[d] = 0;
  }
  return slot.is_code && !it->second.has_own_grid ? dequantize(out, *it->second.quant) : out;
}

}  // namespace bitfold::engine
