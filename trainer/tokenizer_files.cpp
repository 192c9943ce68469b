#include "trainer/tokenizer_files.h"

#include <filesystem>

#include "csrc/io/file.h"

namespace fs = std::filesystem;

namespace sy {

void copy_tokenizer(const std::string& spec, const std::string& folder) {
  if (!spec.ends_with(".json")) return;
  const fs::path config = fs::path(spec).parent_path() / "tokenizer_config.json";
  write_file_atomically((fs::path(folder) / "tokenizer.json").string(), read_text_file(spec));
  if (fs::exists(config))
    write_file_atomically((fs::path(folder) / "tokenizer_config.json").string(), read_text_file(config.string()));
}

}  // namespace sy
