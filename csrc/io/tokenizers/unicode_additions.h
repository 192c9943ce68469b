// Characters that Unicode 15 to 16 assigned. The `tokenizers` library's regular expressions know them, those of PCRE2
// 10.42 (Unicode 14) do not, so patterns name them beside their properties.
#pragma once

#include <string>
#include <string_view>

namespace sy {

// The characters of a general category ("Lu") or of a group of them ("L"), as the inside of a character class; empty
// for any other property. Characters that moved from one category to another are not among them: U+1171E alone did so,
// from Mn to Mc.
std::string unicode_additions(std::string_view property);

}  // namespace sy
