// Helpers to test the messages of errors.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "bitfold/error.h"

namespace bitfold::testing {

/// The message of the Error that f() throws, or "no error".
template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// Expects f() to throw an Error whose message contains `part`.
template <class F>
void expect_error(const F& f, const std::string& part) {
  const std::string message = message_of(f);
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

}  // namespace bitfold::testing
