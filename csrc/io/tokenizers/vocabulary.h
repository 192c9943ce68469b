// Token texts and ids both ways, and ByteLevel's alphabet: the printable characters that stand for the 256 bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sy {

// Lets a table keyed by std::string be searched by std::string_view.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <class Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

using Vocabulary = TextMap<int32_t>;

// Ids reach from 0 to below this: tables are as long as the largest id.
inline constexpr int32_t kMaxTokenId = 1 << 24;

inline int32_t find_token(const Vocabulary& vocabulary, std::string_view text) {
  const auto found = vocabulary.find(text);
  return found == vocabulary.end() ? -1 : found->second;
}

// The bytes that `token`'s characters stand for; nothing if one of them is not in ByteLevel's alphabet.
std::optional<std::string> bytes_of_byte_level(std::string_view token);

// The name of a byte in vocabularies with byte_fallback: <0x0A>.
std::string byte_token(unsigned char byte);

}  // namespace sy
