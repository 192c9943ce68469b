#include "csrc/io/lines.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "csrc/core/check.h"

namespace sy {

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\f\v") == std::string_view::npos; }

void read_lines(const std::string& path, const std::function<void(std::string_view, int64_t)>& on_line,
                const std::function<void(int64_t)>& on_bytes) {
  std::ifstream in(path, std::ios::binary);
  if (!in) user_error("cannot open {}: {}", path, std::strerror(errno));
  std::string line;
  int64_t number = 0;
  while (std::getline(in, line)) {
    on_line(line, ++number);
    on_bytes(static_cast<int64_t>(line.size()) + (in.eof() ? 0 : 1));
  }
  if (in.bad()) user_error("cannot read {} after line {}: {}", path, number, std::strerror(errno));
}

void read_json_lines(const std::string& path, const std::function<void(const nlohmann::json&, int64_t)>& on_record,
                     const std::function<void(int64_t)>& on_bytes) {
  const auto on_line = [&](std::string_view line, int64_t number) {
    if (is_blank(line)) return;
    nlohmann::json record;
    try {
      record = nlohmann::json::parse(line);
    } catch (const nlohmann::json::parse_error& error) {
      user_error("{}:{}: not valid JSON in UTF-8 from byte {} of the line on", path, number, error.byte);
    }
    if (!record.is_object()) user_error("{}:{}: a JSON {} where an object is wanted", path, number, record.type_name());
    on_record(record, number);
  };
  read_lines(path, on_line, on_bytes);
}

}  // namespace sy
