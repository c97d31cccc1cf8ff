// The oneDNN engine, and one stream per thread. Included by onednn/*.cpp only, because it includes dnnl.hpp.
#pragma once

#include <dnnl.hpp>

namespace bitfold::onednn {

inline const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::stream& stream() {
  static thread_local dnnl::stream stream(cpu());
  return stream;
}

}  // namespace bitfold::onednn
