// What other frameworks and model families call our configuration keys, so that a pasted key is answered with our name.
#pragma once

#include <string>
#include <vector>

namespace sy {

struct KeyAlias {
  const char* theirs;  // the key as they write it
  const char* family;  // who writes it so
  const char* ours;    // our key with its section: "moe.num_experts"
  const char* note;    // how the value differs; "" when it is the same
};

const std::vector<KeyAlias>& key_aliases();

// The entry for a key of theirs, or null.
const KeyAlias* find_key_alias(const std::string& theirs);

}  // namespace sy
