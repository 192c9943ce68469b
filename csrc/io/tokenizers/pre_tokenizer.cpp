#include "csrc/io/tokenizers/pre_tokenizer.h"

#include <algorithm>

#include "csrc/io/tokenizers/component.h"
#include "csrc/io/tokenizers/pattern.h"

namespace sy {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The library asks Rust here and not Oniguruma: \p{N} of Unicode 17.
constexpr std::string_view kDigitsPattern = R"([\p{N}\x{11de0}-\x{11de9}\x{16ff4}-\x{16ff6}])";

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

SplitBehavior parse_behavior(const Component& component) {
  const auto name = component.get<std::string>("behavior");
  constexpr const char* kNames[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  for (int i = 0; i < 5; ++i)
    if (name == kNames[i]) return static_cast<SplitBehavior>(i);
  user_error("{}: behavior '{}' is not supported", component.place(), name);
}

struct Range {
  std::size_t begin, end;
  bool is_match;
};

// Which neighbouring ranges stay together; `ranges` tile the text.
void merge_ranges(std::vector<Range>& ranges, SplitBehavior behavior) {
  if (behavior == SplitBehavior::kIsolated) return;
  if (behavior == SplitBehavior::kRemoved) {
    std::erase_if(ranges, [](const Range& r) { return r.is_match; });
    return;
  }
  const bool from_the_end = behavior == SplitBehavior::kMergedWithNext;
  if (from_the_end) std::reverse(ranges.begin(), ranges.end());
  std::vector<Range> merged;
  bool previous = false;
  for (const Range& range : ranges) {
    // A match that follows a match stands alone, except for Contiguous, which joins equals.
    const bool joins =
        behavior == SplitBehavior::kContiguous ? range.is_match == previous : range.is_match && !previous;
    if (joins && !merged.empty()) {
      merged.back().begin = std::min(merged.back().begin, range.begin);
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      merged.push_back(range);
    }
    previous = range.is_match;
  }
  if (from_the_end) std::reverse(merged.begin(), merged.end());
  ranges = std::move(merged);
}

class Split {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert = false)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void operator()(const Word& word, PreTokenizer::Buffers& buffers) const {
    const auto emit = [&](std::size_t begin, std::size_t end) {
      if (begin < end) buffers.next.push_back({word.text.substr(begin, end - begin), word.at_start && begin == 0});
    };
    std::size_t done = 0;
    if (behavior_ == SplitBehavior::kIsolated) {  // the usual case, without a list of ranges
      pattern_.for_each(word.text, [&](std::size_t begin, std::size_t end) {
        emit(done, begin);
        emit(begin, end);
        done = end;
      });
      return emit(done, word.text.size());
    }
    std::vector<Range> ranges;
    pattern_.for_each(word.text, [&](std::size_t begin, std::size_t end) {
      if (done < begin) ranges.push_back({done, begin, invert_});
      ranges.push_back({begin, end, !invert_});
      done = end;
    });
    if (done < word.text.size()) ranges.push_back({done, word.text.size(), invert_});
    merge_ranges(ranges, behavior_);
    for (const Range& range : ranges) emit(range.begin, range.end);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace

PreTokenizer::PreTokenizer(const Component& component) {
  if (!component.is_null()) add(component);
}

void PreTokenizer::add(const Component& component) {
  if (is_byte_level_) user_error("{}: a pre-tokenizer after ByteLevel is not supported", component.place());
  const std::string type = component.type();
  if (type == "Sequence") {
    component.allow({"pretokenizers"});
    for (const Component& child : component.children("pretokenizers")) add(child);
  } else if (type == "Split") {
    component.allow({"pattern", "behavior", "invert"});
    stages_.emplace_back(Split(Pattern(component), parse_behavior(component), component.get("invert", false)));
  } else if (type == "Digits") {
    component.allow({"individual_digits"});
    const bool individual = component.get("individual_digits", false);
    stages_.emplace_back(Split(Pattern(Regex(kDigitsPattern, component.place())),
                               individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "ByteLevel") {
    add_byte_level(component);
  } else if (type == "Metaspace") {
    add_metaspace(component);
  } else {
    component.refuse_type("Split, Digits, Metaspace, ByteLevel and Sequence");
  }
}

void PreTokenizer::add_byte_level(const Component& component) {
  component.allow({"add_prefix_space", "trim_offsets", "use_regex"});
  is_byte_level_ = true;
  if (component.get("add_prefix_space", true)) {
    stages_.emplace_back([](const Word& word, Buffers& buffers) {
      if (word.text.starts_with(' ')) return buffers.next.push_back(word);
      buffers.next.push_back({buffers.changed.emplace_back(" " + std::string(word.text)), word.at_start});
    });
  }
  if (component.get("use_regex", true))
    stages_.emplace_back(Split(Pattern(Regex(kGpt2Pattern, component.place())), SplitBehavior::kIsolated));
}

void PreTokenizer::add_metaspace(const Component& component) {
  component.allow({"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  const auto mark = component.get<std::string>("replacement");
  const bool add_prefix_space = component.get("add_prefix_space", true);  // of files from before prepend_scheme
  const auto scheme = component.get<std::string>("prepend_scheme", add_prefix_space ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    user_error("{}: prepend_scheme '{}' is not supported", component.place(), scheme);
  stages_.emplace_back([mark, scheme, space = Pattern(std::string(" "))](const Word& word, Buffers& buffers) {
    std::string text = space.replace(word.text, mark);
    const bool prepend = scheme == "always" || (scheme == "first" && word.at_start);
    if (prepend && !text.starts_with(mark)) text.insert(0, mark);
    buffers.next.push_back({buffers.changed.emplace_back(std::move(text)), word.at_start});
  });
  if (component.get("split", true)) stages_.emplace_back(Split(Pattern(mark), SplitBehavior::kMergedWithNext));
}

const std::vector<Word>& PreTokenizer::cut(std::string_view text, bool at_start, Buffers& buffers) const {
  buffers.changed.clear();
  buffers.words.assign(text.empty() ? 0 : 1, Word{text, at_start});
  for (const Stage& stage : stages_) {
    buffers.next.clear();
    for (const Word& word : buffers.words) stage(word, buffers);
    buffers.words.swap(buffers.next);
  }
  return buffers.words;
}

}  // namespace sy
