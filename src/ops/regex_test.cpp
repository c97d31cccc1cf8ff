// Regular expressions: what whole texts match. Results are those of Python's re.fullmatch.
#include "ops/regex.h"

#include <gtest/gtest.h>

#include "error_testing.h"

namespace bitfold::ops {
namespace {

struct Example {
  const char *pattern, *text;
  bool matches;
};

TEST(Regex, matches_whole_texts) {
  const Example examples[] = {
      {"", "", true},
      {"", "a", false},
      {"abc", "abc", true},
      {"abc", "abcd", false},
      {"a|b|cd", "b", true},
      {"a|b|cd", "cd", true},
      {"a|b|cd", "ad", false},
      {"a(b|c)*d", "abcbcd", true},
      {"a(b|c)*d", "abxd", false},
      {"(a*)*", "aaa", true},
      {"(a|)+b", "aab", true},
      {"a+?b??", "aa", true},
      {"x{2}", "xx", true},
      {"x{2}", "xxx", false},
      {"x{2,}", "xxxx", true},
      {"(ab){1,2}", "abab", true},
      {"(ab){1,2}", "ababab", false},
      {"x{0}y", "y", true},
      {"a{x}", "a{x}", true},
      {".", "\n", false},
      {"..", "\u00e4b", true},
      {"[a-c\\d-]+", "b7-", true},
      {"[^a-c]", "d", true},
      {"[^a-c]", "b", false},
      {"[]x]+", "x]", true},
      {"[^\\W_]+", "ab_", false},
      {"\\w+\\s\\S\\D", "ab x!", true},
      {"^a$", "a", true},
      {"a^b", "ab", false},
      {"a\\b-\\bc", "a-c", true},
      {"a\\Bb", "ab", true},
      {"a\\bb", "ab", false},
      {"\\.\\\\\\(", ".\\(", true},
      {"(?:ab)(?P<name>c)", "abc", true},
      {"www\\.[\\w.-]+\\.\\bcom\\b", "www.google.com", true},
      {"www\\.[\\w.-]+\\.\\bcom\\b", "www.google.commm", false},
      {"(\\W|^)[\\w.\\-]{0,25}@(yahoo|gmail)\\.com(\\W|$)", "account@gmail.com", true},
      {"(\\W|^)[\\w.\\-]{0,25}@(yahoo|gmail)\\.com(\\W|$)", "account@hotmail.com", false},
  };
  for (const Example& e : examples)
    EXPECT_EQ(Regex(e.pattern).matches(e.text), e.matches) << e.pattern << " " << e.text;
}

TEST(Regex, takes_no_exponential_time) { EXPECT_FALSE(Regex("(a*)*(a*)*(a|aa)+b").matches(std::string(5000, 'a'))); }

TEST(Regex, refuses_patterns_that_it_cannot_read) {
  const std::pair<const char*, const char*> patterns[] = {
      {"(a", "a '(' without its ')'"},
      {"a)", "a ')' without its '('"},
      {"[a", "a '[' without its ']'"},
      {"*a", "nothing to repeat"},
      {"a**", "nothing to repeat"},
      {"[b-a]", "a range is invalid"},
      {"a{3,2}", "the numbers of a repetition are invalid"},
      {"a{1001}", "the numbers of a repetition are invalid"},
      {"((a{1000}){1000}){1000}", "it is too long"},
      {"\\p{L}", "an escape sequence that is not supported"},
      {"(?i)a", "flags and looking around are not supported"},
      {"[[:alpha:]]", "named classes are not supported"},
      {"a\\", "a '\\' at the end"},
  };
  for (const auto& [pattern, message] : patterns) testing::expect_error([&] { Regex regex(pattern); }, message);
}

}  // namespace
}  // namespace bitfold::ops
