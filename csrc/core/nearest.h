// The nearest known word to a misspelt one, for error messages: "did you mean '...'?".
#pragma once

#include <string>
#include <vector>

namespace sy {

// Edits (insert, delete, replace, swap of two neighbours) that turn one word into the other.
std::size_t edit_distance(const std::string& a, const std::string& b);

// The known word with the fewest edits (ties: the first), or "" when none is within a third of the word's length (at
// least 2 edits, but never the whole word) and none starts with the word.
std::string nearest(const std::string& word, const std::vector<std::string>& known);

// "a, b, c"
std::string join(const std::vector<std::string>& words);

}  // namespace sy
