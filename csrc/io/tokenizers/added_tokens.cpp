#include "csrc/io/tokenizers/added_tokens.h"

#include <algorithm>

#include "csrc/io/tokenizers/component.h"
#include "csrc/io/tokenizers/normalizer.h"
#include "csrc/io/tokenizers/utf8.h"

namespace sy {
std::vector<AddedToken> read_added_tokens(const Component& root) {
  std::vector<AddedToken> tokens;
  if (!root.json.contains("added_tokens")) return tokens;
  for (const Component& json : root.children("added_tokens")) {
    json.allow({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const bool special = json.get("special", false);
    AddedToken& token = tokens.emplace_back(
        AddedToken{json.get<int32_t>("id"), json.get<std::string>("content"), json.get("single_word", false),
                   json.get("lstrip", false), json.get("rstrip", false), json.get("normalized", !special), special});
    if (token.id < 0 || token.id >= kMaxTokenId) user_error("{}: id {}", json.place(), token.id);
  }
  return tokens;
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, bool normalized, const Normalizer& normalizer)
    : word_character_(R"([\p{Alphabetic}\p{L}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])", "single_word") {
  for (const AddedToken& token : tokens) {
    if (token.normalized != normalized) continue;
    std::string storage;
    const std::string content(normalized ? normalizer.apply(token.content, storage) : token.content);
    if (!content.empty()) tokens_.insert_or_assign(content, token);
  }
  for (const auto& [content, token] : tokens_) {
    auto& lengths = lengths_[static_cast<unsigned char>(content[0])];
    const auto place = std::lower_bound(lengths.begin(), lengths.end(), content.size(), std::greater<>());
    if (place == lengths.end() || *place != content.size()) lengths.insert(place, content.size());
  }
}

const TextMap<AddedToken>::value_type* AddedTokens::longest_at(std::string_view text, std::size_t at) const {
  for (const std::size_t length : lengths_[static_cast<unsigned char>(text[at])]) {
    if (at + length > text.size()) continue;
    const auto found = tokens_.find(text.substr(at, length));
    if (found != tokens_.end()) return &*found;
  }
  return nullptr;
}

bool AddedTokens::stands_alone(std::string_view text, std::size_t begin, std::size_t end) const {
  bool alone = true;
  const auto look = [&](std::string_view neighbour) {
    word_character_.for_each(neighbour, [&](std::size_t, std::size_t) { alone = false; });
  };
  if (begin > 0) {
    const std::size_t before = previous_code_point(text, begin);
    look(text.substr(before, begin - before));
  }
  if (end < text.size()) look(text.substr(end, read_code_point(text, end).bytes));
  return alone;
}

void AddedTokens::cut(std::string_view text, std::vector<TextPart>& parts) const {
  std::size_t done = 0, at = 0;
  const auto add_text = [&](std::size_t end) {
    if (done < end) parts.push_back({text.substr(done, end - done), -1});
  };
  while (!tokens_.empty() && at < text.size()) {
    const auto* const match = longest_at(text, at);
    if (match == nullptr) {
      ++at;
      continue;
    }
    const AddedToken* const token = &match->second;
    std::size_t begin = at, end = at + match->first.size();
    at = end;  // white space that rstrip takes in may still begin another token
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    if (token->lstrip) {
      while (begin > done) {
        const std::size_t before = previous_code_point(text, begin);
        if (!is_white_space(read_code_point(text, before).value)) break;
        begin = before;
      }
    }
    while (token->rstrip && end < text.size()) {
      const CodePoint point = read_code_point(text, end);
      if (!is_white_space(point.value)) break;
      end += point.bytes;
    }
    add_text(begin);
    parts.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  add_text(text.size());
}

}  // namespace sy
