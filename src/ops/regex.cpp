// A pattern becomes a program for a set of threads (Thompson's construction): every thread advances by one character at
// a time, so no pattern takes exponential time.
#include "ops/regex.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/utf8.h"

namespace bitfold::ops {
namespace {

constexpr int kMaxRepetitions = 1000, kMaxDepth = 200;  // the first is RE2's
constexpr std::size_t kMaxProgram = 100'000;

bool is_word(char32_t c) {
  return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z') || (c >= U'0' && c <= U'9') || c == U'_';
}

}  // namespace

bool Regex::CharacterSet::contains(char32_t c) const {
  return std::ranges::any_of(ranges, [c](const auto& r) { return c >= r.first && c <= r.second; }) != is_negated;
}

/// Reads the pattern once and writes the program of each part after that of the part before. A part is repeated by
/// copying its instructions, whose targets all lie inside it or right after it.
class RegexCompiler {
 public:
  RegexCompiler(std::string_view pattern, Regex& regex) : text_(from_utf8(pattern)), regex_(regex) {}

  void compile() {
    alternatives(0);
    if (!at_end()) broken("a ')' without its '('");
    add({.step = Regex::Step::match});
  }

 private:
  using Set = Regex::CharacterSet;
  using Step = Regex::Step;

  [[noreturn]] void broken(std::string_view why) const {
    fail("pattern '{}': {} at character {}", to_utf8(text_), why, at_);
  }
  bool at_end() const { return at_ == text_.size(); }
  bool next_is(char32_t c) const { return !at_end() && text_[at_] == c; }
  bool accept(char32_t c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  char32_t take(std::string_view missing) {
    if (at_end()) broken(missing);
    return text_[at_++];
  }

  std::size_t size() const { return regex_.program_.size(); }
  std::size_t add(Regex::Instruction instruction) {
    if (size() >= kMaxProgram) broken("it is too long");
    if (instruction.step != Step::split) instruction.next = size() + 1;
    regex_.program_.push_back(instruction);
    return size() - 1;
  }
  void add_set(Set set) {
    regex_.sets_.push_back(std::move(set));
    add({.step = Step::character, .set = regex_.sets_.size() - 1});
  }
  /// Makes room for one instruction before those from `begin` on.
  void insert_split(std::size_t begin) {
    if (size() >= kMaxProgram) broken("it is too long");
    auto& program = regex_.program_;
    program.insert(program.begin() + static_cast<std::ptrdiff_t>(begin), Regex::Instruction{.step = Step::split});
    for (std::size_t i = begin + 1; i < size(); ++i) {
      program[i].next += program[i].next >= begin ? 1 : 0;
      program[i].alternative += program[i].alternative >= begin ? 1 : 0;
    }
    program[begin].next = begin + 1;
  }
  std::size_t jump() { return add({.step = Step::split}); }
  void set_targets(std::size_t split, std::size_t next, std::size_t alternative) {
    regex_.program_[split].next = next;
    regex_.program_[split].alternative = alternative;
  }

  void alternatives(int depth) {
    if (depth > kMaxDepth) broken("groups are nested too deep");
    std::vector<std::size_t> ends;
    std::size_t begin = size();
    sequence(depth);
    while (accept(U'|')) {
      insert_split(begin);
      ends.push_back(jump());
      regex_.program_[begin].alternative = size();
      begin = size();
      sequence(depth);
    }
    for (const std::size_t end : ends) set_targets(end, size(), size());
  }

  void sequence(int depth) {
    while (!at_end() && !next_is(U'|') && !next_is(U')')) {
      const std::size_t begin = size();
      const bool is_repeatable = atom(depth);
      bool is_repeated = false;
      while (const auto count = repetition()) {
        if (!is_repeatable || is_repeated) broken("nothing to repeat");
        is_repeated = true;
        accept(U'?');  // a lazy repetition; it matches the same whole texts
        repeat(begin, count->first, count->second);
      }
    }
  }

  /// Returns whether a repetition may follow.
  bool atom(int depth) {
    const char32_t c = take("");
    switch (c) {
      case U'(':
        group();
        alternatives(depth + 1);
        if (!accept(U')')) broken("a '(' without its ')'");
        return true;
      case U'[':
        add_set(bracket());
        return true;
      case U'.':
        add_set({{{U'\n', U'\n'}}, true});
        return true;
      case U'^':
        add({.step = Step::start});
        return true;
      case U'$':
        add({.step = Step::end});
        return true;
      case U'*':
      case U'+':
      case U'?':
        broken("nothing to repeat");
      case U'\\':
        escape();
        return true;
      default:
        add_set({{{c, c}}});
        return true;
    }
  }

  void group() {
    if (!accept(U'?')) return;
    if (accept(U':')) return;
    accept(U'P');
    if (!accept(U'<') || next_is(U'=') || next_is(U'!')) broken("flags and looking around are not supported");
    while (!accept(U'>'))
      if (!is_word(take("a name without its '>'"))) broken("a group has an invalid name");
  }

  void escape() {
    if (accept(U'b')) {
      add({.step = Step::word_boundary});
    } else if (accept(U'B')) {
      add({.step = Step::no_word_boundary});
    } else if (accept(U'A')) {
      add({.step = Step::start});
    } else if (accept(U'z')) {
      add({.step = Step::end});
    } else {
      add_set(escaped_set());
    }
  }

  /// The characters after a backslash.
  Set escaped_set() {
    const char32_t c = take("a '\\' at the end");
    switch (c) {
      case U'd':
      case U'D':
        return {{{U'0', U'9'}}, c == U'D'};
      case U'w':
      case U'W':
        return {{{U'0', U'9'}, {U'A', U'Z'}, {U'_', U'_'}, {U'a', U'z'}}, c == U'W'};
      case U's':
      case U'S':
        return {{{U'\t', U'\n'}, {U'\f', U'\r'}, {U' ', U' '}}, c == U'S'};
      default: {
        constexpr std::u32string_view kNames = U"ntrfv", kCharacters = U"\n\t\r\f\v";
        const std::size_t name = kNames.find(c);
        if (name != std::u32string_view::npos) return {{{kCharacters[name], kCharacters[name]}}};
        if (is_word(c)) broken("an escape sequence that is not supported");
        return {{{c, c}}};
      }
    }
  }

  Set bracket() {
    Set set{.ranges = {}, .is_negated = accept(U'^')};
    for (bool is_first = true; is_first || !accept(U']'); is_first = false) {
      if (next_is(U'[') && at_ + 1 < text_.size() && text_[at_ + 1] == U':') broken("named classes are not supported");
      const Set low = bracket_entry();
      const bool is_range = next_is(U'-') && at_ + 1 < text_.size() && text_[at_ + 1] != U']';
      if (!is_range) {
        add_to(set, low);
        continue;
      }
      ++at_;
      const Set high = bracket_entry();
      const auto is_single = [](const Set& s) {
        return !s.is_negated && s.ranges.size() == 1 && s.ranges[0].first == s.ranges[0].second;
      };
      if (!is_single(low) || !is_single(high) || low.ranges[0].first > high.ranges[0].first)
        broken("a range is invalid");
      set.ranges.emplace_back(low.ranges[0].first, high.ranges[0].first);
    }
    return set;
  }
  Set bracket_entry() {
    const char32_t c = take("a '[' without its ']'");
    return c == U'\\' ? escaped_set() : Set{{{c, c}}};
  }
  /// A negated set, such as \D, adds the characters between its ranges, which are in order.
  static void add_to(Set& set, const Set& added) {
    if (!added.is_negated) {
      set.ranges.insert(set.ranges.end(), added.ranges.begin(), added.ranges.end());
      return;
    }
    char32_t begin = 0;
    for (const auto& [first, last] : added.ranges) {
      if (first > begin) set.ranges.emplace_back(begin, first - 1);
      begin = last + 1;
    }
    set.ranges.emplace_back(begin, 0x10FFFF);
  }

  /// The least and the greatest number of repetitions; -1 stands for any number.
  std::optional<std::pair<int, int>> repetition() {
    if (accept(U'*')) return {{0, -1}};
    if (accept(U'+')) return {{1, -1}};
    if (accept(U'?')) return {{0, 1}};
    const std::size_t begin = at_;
    if (!accept(U'{')) return std::nullopt;
    const auto least = number();
    auto most = least;
    if (accept(U',')) most = next_is(U'}') ? std::optional(-1) : number();
    if (!least || !most || !accept(U'}')) {
      at_ = begin;  // a '{' that begins no repetition is a character
      return std::nullopt;
    }
    if (*least > kMaxRepetitions || *most > kMaxRepetitions || (*most >= 0 && *most < *least))
      broken("the numbers of a repetition are invalid");
    return {{*least, *most}};
  }
  std::optional<int> number() {
    std::optional<int> value;
    for (; !at_end() && text_[at_] >= U'0' && text_[at_] <= U'9'; ++at_)
      value = std::min(value.value_or(0) * 10 + static_cast<int>(text_[at_] - U'0'), kMaxRepetitions + 1);
    return value;
  }

  /// Repeats the instructions from `begin` on.
  void repeat(std::size_t begin, int least, int most) {
    auto& program = regex_.program_;
    const std::vector<Regex::Instruction> part(program.begin() + static_cast<std::ptrdiff_t>(begin), program.end());
    program.resize(begin);
    const auto copy = [&] {
      const std::size_t shift = size() - begin;
      for (Regex::Instruction instruction : part) {
        instruction.next += shift;
        instruction.alternative += shift;
        if (size() >= kMaxProgram) broken("it is too long");
        program.push_back(instruction);
      }
    };
    for (int i = 0; i < least; ++i) copy();
    if (most < 0) {
      const std::size_t split = jump();
      copy();
      const std::size_t back = jump();
      set_targets(back, split, split);
      set_targets(split, split + 1, size());
      return;
    }
    std::vector<std::size_t> splits;
    for (int i = least; i < most; ++i) {
      splits.push_back(jump());
      copy();
    }
    for (const std::size_t split : splits) set_targets(split, split + 1, size());
  }

  const std::u32string text_;
  Regex& regex_;
  std::size_t at_ = 0;
};

Regex::Regex(std::string_view pattern) { RegexCompiler(pattern, *this).compile(); }

// Adds the characters and the match that are reached from `start` without reading a character.
void Regex::follow(std::size_t start, const std::u32string& text, std::size_t at, std::vector<std::size_t>& threads,
                   std::vector<std::size_t>& seen) const {
  std::vector<std::size_t> pending{start};
  const bool before = at > 0 && is_word(text[at - 1]), after = at < text.size() && is_word(text[at]);
  while (!pending.empty()) {
    const std::size_t pc = pending.back();
    pending.pop_back();
    if (seen[pc] == at + 1) continue;
    seen[pc] = at + 1;
    const Instruction& instruction = program_[pc];
    bool goes_on = false;
    switch (instruction.step) {
      case Step::character:
      case Step::match:
        threads.push_back(pc);
        break;
      case Step::split:
        pending.push_back(instruction.alternative);
        goes_on = true;
        break;
      case Step::start:
        goes_on = at == 0;
        break;
      case Step::end:
        goes_on = at == text.size();
        break;
      case Step::word_boundary:
        goes_on = before != after;
        break;
      case Step::no_word_boundary:
        goes_on = before == after;
        break;
    }
    if (goes_on) pending.push_back(instruction.next);
  }
}

bool Regex::matches(std::string_view text) const {
  const std::u32string points = from_utf8(text);
  std::vector<std::size_t> threads, next, seen(program_.size(), 0);
  follow(0, points, 0, threads, seen);
  for (std::size_t at = 0; at < points.size(); ++at) {
    next.clear();
    for (const std::size_t pc : threads)
      if (program_[pc].step == Step::character && sets_[program_[pc].set].contains(points[at]))
        follow(program_[pc].next, points, at + 1, next, seen);
    std::swap(threads, next);
  }
  return std::ranges::any_of(threads, [&](std::size_t pc) { return program_[pc].step == Step::match; });
}

}  // namespace bitfold::ops
