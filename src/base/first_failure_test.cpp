#include "base/first_failure.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace bitfold {
namespace {

TEST(FirstFailure, an_exception_in_a_parallel_region_is_thrown_after_it) {
  FirstFailure failure;
  int done = 0;
#pragma omp parallel for num_threads(2) reduction(+ : done)
  for (int i = 0; i < 100; ++i) {
    failure.watch(i, [&] {
      if (i == 50) throw std::runtime_error("fifty");
    });
    ++done;
  }
  EXPECT_EQ(done, 100);
  EXPECT_THROW(failure.rethrow(), std::runtime_error);
  EXPECT_NO_THROW(failure.rethrow());
}

TEST(FirstFailure, the_lowest_iteration_decides_the_message) {
  FirstFailure failure;
#pragma omp parallel for num_threads(2)
  for (int i = 0; i < 100; ++i) failure.watch(i, [&] { check(i < 20, "{} is too large", i); });
  try {
    failure.rethrow([](std::int64_t i) { return fmt::format("iteration {}: ", i); });
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), "iteration 20: 20 is too large");
  }
  EXPECT_NO_THROW(failure.rethrow([](std::int64_t) { return "unused"; }));
}

TEST(FirstFailure, an_exception_of_another_type_gets_no_prefix) {
  FirstFailure failure;
  failure.watch(3, [] { throw std::runtime_error("three"); });
  EXPECT_THROW(failure.rethrow([](std::int64_t) { return "unused"; }), std::runtime_error);
}

TEST(FirstFailure, a_lack_of_memory_is_an_error) {
  FirstFailure failure;
  failure.watch(0, [] { throw std::bad_alloc(); });
  try {
    failure.rethrow();
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), "out of memory");
  }
}

}  // namespace
}  // namespace bitfold
