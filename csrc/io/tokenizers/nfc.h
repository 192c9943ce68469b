// Unicode's canonical composition (NFC) as the `tokenizers` library does it: by the data of Unicode 9. Marks that came
// later are to it characters like any other, which neither compose nor change places with their neighbours.
#pragma once

#include <string>
#include <string_view>

namespace sy {

// `text` is valid UTF-8.
std::string nfc(std::string_view text);

}  // namespace sy
