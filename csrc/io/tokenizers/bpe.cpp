#include "csrc/io/tokenizers/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "csrc/io/tokenizers/component.h"
#include "csrc/io/tokenizers/utf8.h"

namespace sy {

MergeTable::MergeTable(std::size_t num_merges)
    : slots_(std::bit_ceil(2 * num_merges + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

std::size_t MergeTable::home(int32_t left, int32_t right) const {
  const uint64_t pair = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> shift_);
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  std::size_t i = home(left, right);
  while (slots_[i].left >= 0 && (slots_[i].left != left || slots_[i].right != right)) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {left, right, merge};
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  for (std::size_t i = home(left, right); slots_[i].left >= 0; i = (i + 1) & (slots_.size() - 1))
    if (slots_[i].left == left && slots_[i].right == right) return &slots_[i].merge;
  return nullptr;
}

namespace {

// Up to this many symbols looking at every pair again costs less than keeping a heap.
constexpr std::size_t kShort = 24;

std::pair<std::string, std::string> read_merge(const Component& merge) {
  if (merge.json.is_array() && merge.json.size() == 2 && merge.json[0].is_string() && merge.json[1].is_string())
    return {merge.json[0].get<std::string>(), merge.json[1].get<std::string>()};
  if (merge.json.is_string()) {
    const auto& text = merge.json.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  user_error("{}: {} is not a merge of two tokens", merge.place(), merge.json.dump());
}

}  // namespace

Bpe::Bpe(const Component& model, bool byte_level)
    : byte_level_(byte_level),
      ignore_merges_(model.get("ignore_merges", false)),
      fuse_unk_(model.get("fuse_unk", false)),
      byte_fallback_(model.get("byte_fallback", false)),
      byte_tokens_(256, -1) {
  model.allow({"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
               "ignore_merges", "vocab", "merges"});
  if (model.get("dropout", 0.0) != 0)
    user_error("{}: dropout makes tokens random, which is not supported", model.place());
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!model.get(key, std::string()).empty()) user_error("{}: '{}' is not supported", model.place(), key);

  Vocabulary written;  // as the file writes its tokens
  const Component vocab = model.child("vocab");
  for (const auto& item : vocab.json.items()) {
    const int64_t wide_id = item.value().is_number_integer() ? item.value().get<int64_t>() : -1;
    if (wide_id < 0 || wide_id >= kMaxTokenId)
      user_error("{}: token '{}' has the id {}", vocab.place(), item.key(), item.value().dump());
    const auto id = static_cast<int32_t>(wide_id);
    written.emplace(item.key(), id);
    // A token that ByteLevel's alphabet cannot write is out of every word's reach.
    if (const auto bytes = byte_level ? bytes_of_byte_level(item.key()) : item.key()) vocabulary_.emplace(*bytes, id);
  }
  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<unsigned char>(b);
    const int32_t id = byte_level ? find_token(vocabulary_, std::string(1, static_cast<char>(byte)))
                                  : find_token(written, byte_token(byte));
    byte_tokens_[byte] = id;
    // SmolLM2 has no token for some bytes that texts hardly hold; they are lost, as in the reference.
    if (byte_level && id < 0 && b >= ' ' && b <= '~') user_error("{}: byte 0x{:02X} has no token", vocab.place(), b);
  }
  if (const auto unk = model.get("unk_token", std::string()); !unk.empty()) {
    unk_ = find_token(written, unk);
    if (unk_ < 0) user_error("{}: the unk_token '{}' is not in the vocabulary", model.place(), unk);
  }

  read_merges(model, written);
}

void Bpe::read_merges(const Component& model, const Vocabulary& written) {
  const nlohmann::json& merges = model.at("merges");
  if (!merges.is_array()) user_error("{}: 'merges' is not a list", model.place());
  const auto stands_for_others = [&](int32_t token) {
    return token == unk_ || (byte_fallback_ && std::count(byte_tokens_.begin(), byte_tokens_.end(), token) > 0);
  };
  merges_ = MergeTable(merges.size());
  std::vector<std::pair<int32_t, int32_t>> joints;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const Component merge{merges[rank], model.file, fmt::format("{}.merges[{}]", model.path, rank)};
    const auto [left, right] = read_merge(merge);
    const int32_t l = find_token(written, left), r = find_token(written, right),
                  both = find_token(written, left + right);
    if (l < 0 || r < 0 || both < 0 || left.empty() || right.empty())
      user_error("{}: a part of '{}' + '{}' or the two together is not in the vocabulary", merge.place(), left, right);
    merges_.insert(l, r, {static_cast<int32_t>(rank), both});
    if (stands_for_others(l) || stands_for_others(r)) has_joints_ = false;
    // A character without a token is never there to be merged.
    const int32_t last = find_token(written, std::string_view(left).substr(previous_code_point(left, left.size())));
    const int32_t first = find_token(written, std::string_view(right).substr(0, read_code_point(right, 0).bytes));
    if (last >= 0 && first >= 0) joints.emplace_back(last, first);
  }
  std::sort(joints.begin(), joints.end());
  joints.erase(std::unique(joints.begin(), joints.end()), joints.end());
  joints_ = MergeTable(joints.size());
  for (const auto& [last, first] : joints) joints_.insert(last, first, {});
}

void Bpe::encode(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  Workspace::Entry* entry = nullptr;
  if (word.size() <= Workspace::kCachedBytes) {
    entry = &workspace.cache_[std::hash<std::string_view>()(word) % Workspace::kCacheWords];
    if (entry->bytes == word.size() && std::memcmp(entry->word, word.data(), word.size()) == 0) {
      ids.insert(ids.end(), entry->ids, entry->ids + entry->tokens);
      return;
    }
  }
  const std::size_t begin = ids.size();
  const int32_t whole = ignore_merges_ ? find_token(vocabulary_, word) : -1;
  if (whole >= 0) {
    ids.push_back(whole);
  } else {
    const std::vector<int32_t>& tokens = workspace.tokens_;
    std::vector<Symbol>& symbols = workspace.symbols_;
    start_tokens(word, workspace.tokens_);
    for (std::size_t at = 0; at < tokens.size();) {
      const std::size_t end = tokens.size() <= kShort ? tokens.size() : end_of_stretch(tokens, at);
      symbols.clear();
      for (; at < end; ++at) symbols.push_back({tokens[at], -1, -1});
      symbols.size() <= kShort ? merge_short(symbols) : merge_long(workspace);
      for (const Symbol& symbol : symbols)
        if (symbol.token >= 0) ids.push_back(symbol.token);
    }
  }
  const std::size_t num_ids = ids.size() - begin;
  if (entry == nullptr || num_ids > Workspace::kCachedTokens) return;
  std::memcpy(entry->word, word.data(), word.size());
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.end(), entry->ids);
  entry->bytes = static_cast<uint8_t>(word.size());
  entry->tokens = static_cast<uint8_t>(num_ids);
}

// Where the first place after tokens[begin] is that no merge reaches across.
std::size_t Bpe::end_of_stretch(const std::vector<int32_t>& tokens, std::size_t begin) const {
  if (!has_joints_) return tokens.size();
  std::size_t end = begin + 1;
  while (end < tokens.size() && joints_.find(tokens[end - 1], tokens[end]) != nullptr) ++end;
  return end;
}

void Bpe::start_tokens(std::string_view word, std::vector<int32_t>& tokens) const {
  tokens.clear();
  const auto add = [&](int32_t token) { tokens.push_back(token); };
  if (byte_level_) {
    for (const char c : word)
      if (const int32_t token = byte_tokens_[static_cast<unsigned char>(c)]; token >= 0 || unk_ >= 0)
        add(token >= 0 ? token : unk_);
    return;
  }
  bool after_unk = false;
  for (std::size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, read_code_point(word, at).bytes);
    at += character.size();
    const int32_t id = find_token(vocabulary_, character);
    const auto has_token = [&](char c) { return byte_tokens_[static_cast<unsigned char>(c)] >= 0; };
    if (id >= 0) {
      add(id);
    } else if (byte_fallback_ && std::all_of(character.begin(), character.end(), has_token)) {
      for (const char c : character) add(byte_tokens_[static_cast<unsigned char>(c)]);
    } else {
      // Without an unk_token the character is lost, as in the reference.
      if (unk_ >= 0 && !(fuse_unk_ && after_unk)) add(unk_);
      after_unk = true;
      continue;
    }
    after_unk = false;
  }
}

void Bpe::merge_short(std::vector<Symbol>& symbols) const {
  for (;;) {
    const MergeTable::Merge* best = nullptr;
    std::size_t position = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const MergeTable::Merge* const merge = merges_.find(symbols[i].token, symbols[i + 1].token);
      if (merge == nullptr || (best != nullptr && merge->rank >= best->rank)) continue;
      best = merge;
      position = i;
    }
    if (best == nullptr) return;
    symbols[position].token = best->token;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(position) + 1);
  }
}

void Bpe::merge_long(Workspace& workspace) const {
  std::vector<Symbol>& symbols = workspace.symbols_;
  auto& heap = workspace.heap_;
  heap.clear();
  const auto count = static_cast<int32_t>(symbols.size());
  const auto at = [&](int32_t position) -> Symbol& { return symbols[static_cast<std::size_t>(position)]; };
  const auto merge_at = [&](int32_t position) -> const MergeTable::Merge* {
    const int32_t next = position < 0 ? -1 : at(position).next;
    return next < 0 ? nullptr : merges_.find(at(position).token, at(next).token);
  };
  const auto push = [&](int32_t position) {
    if (const MergeTable::Merge* const merge = merge_at(position)) {
      heap.push_back({merge->rank, position, merge->token});
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  };
  for (int32_t i = 0; i < count; ++i) {
    at(i).previous = i - 1;
    at(i).next = i + 1 < count ? i + 1 : -1;
  }
  for (int32_t i = 0; i < count; ++i) push(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const Workspace::Candidate candidate = heap.back();
    heap.pop_back();
    // The pair may have changed since it was pushed; its new state was pushed then.
    const MergeTable::Merge* const merge = at(candidate.position).token < 0 ? nullptr : merge_at(candidate.position);
    if (merge == nullptr || merge->rank != candidate.rank) continue;
    Symbol& left = at(candidate.position);
    Symbol& right = at(left.next);
    left.token = candidate.token;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) at(left.next).previous = candidate.position;
    push(left.previous);
    push(candidate.position);
  }
}

}  // namespace sy
