// Files that are read line by line, and JSON lines with the place of every mistake in them.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace sy {

// Without visible characters.
bool is_blank(std::string_view line);

// Calls on_line(line without its newline, number from 1) for every line, then `on_bytes` with the bytes it took.
void read_lines(
    const std::string& path, const std::function<void(std::string_view line, int64_t number)>& on_line,
    const std::function<void(int64_t)>& on_bytes = [](int64_t) {});

// The same for every object of a JSON lines file; blank lines are passed over. UserError names the line that is not
// one.
void read_json_lines(
    const std::string& path, const std::function<void(const nlohmann::json& record, int64_t number)>& on_record,
    const std::function<void(int64_t)>& on_bytes = [](int64_t) {});

}  // namespace sy
