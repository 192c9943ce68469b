#include "csrc/io/checkpoint_folder.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "csrc/core/check.h"
#include "csrc/io/checkpoint_index.h"
#include "csrc/io/file.h"

namespace fs = std::filesystem;

namespace sy {
namespace {

constexpr const char* kStepPrefix = "step_";
constexpr const char* kTemporaryPrefix = ".tmp_";
constexpr const char* kReplacedPrefix = ".replaced_";  // a complete checkpoint that gives way to one of the same step
constexpr const char* kLatest = "latest";

std::string join(const std::string& folder, const std::string& name) { return (fs::path(folder) / name).string(); }

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

void remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) file_error("delete", path, error.value());
}

std::vector<std::string> directory_names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) file_error("list", folder, error.value());
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<int64_t> step_of_name(const std::string& name, const std::string& prefix = kStepPrefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

// (step, directory) of every checkpoint, oldest first. One that was being replaced counts while its successor is
// absent.
std::vector<std::pair<int64_t, std::string>> list_checkpoints(const std::string& folder) {
  std::vector<std::pair<int64_t, std::string>> found;
  for (const std::string& name : directory_names(folder)) {
    if (const auto step = step_of_name(name)) found.emplace_back(*step, join(folder, name));
    if (const auto step = step_of_name(name, std::string(kReplacedPrefix) + kStepPrefix)) {
      if (!exists(join(folder, step_directory_name(*step)))) found.emplace_back(*step, join(folder, name));
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

std::string step_directory_name(int64_t step) { return fmt::format("{}{:08}", kStepPrefix, step); }

std::string temporary_step_directory_name(int64_t step) { return kTemporaryPrefix + step_directory_name(step); }

std::vector<std::string> prepare_checkpoint_folder(const std::string& folder) {
  create_directories(folder);
  std::vector<std::string> done;
  for (const std::string& name : directory_names(folder)) {
    const std::string path = join(folder, name);
    const bool is_stale = name.starts_with(std::string(kTemporaryPrefix) + kStepPrefix) ||
                          name == std::string(kTemporaryPrefix) + kLatest;
    if (is_stale) {
      remove_tree(path);
      done.push_back(fmt::format("deleted '{}', left by an interrupted write", path));
    } else if (name.starts_with(std::string(kReplacedPrefix) + kStepPrefix)) {
      const std::string original = join(folder, name.substr(std::string(kReplacedPrefix).size()));
      if (exists(original)) {
        remove_tree(path);
        done.push_back(fmt::format("deleted '{}', which was replaced", path));
      } else {
        rename_path(path, original);
        done.push_back(fmt::format("put back '{}', whose replacement was interrupted", original));
      }
    }
  }
  if (!done.empty()) sync_directory(folder);
  return done;
}

std::string why_incomplete(const std::string& directory) {
  try {
    const std::string index_path = join(directory, "index.json");
    const CheckpointIndex index = parse_index(read_text_file(index_path), index_path);
    const auto check_size = [&](const std::string& file, int64_t expected) {
      const std::string path = join(directory, file);
      std::error_code error;
      const auto bytes = fs::file_size(path, error);
      if (error) file_error("read", path, error.value());
      if (static_cast<int64_t>(bytes) != expected) {
        user_error("'{}' is damaged: {} bytes long, {} were written", path, bytes, expected);
      }
    };
    for (const auto& [file, bytes] : index.file_bytes) check_size(file, bytes);
    for (const CheckpointBlob& blob : index.blobs) check_size(blob.file, blob.num_bytes);
    const std::string state_path = join(directory, "state.json");
    const std::string state = read_text_file(state_path);
    if (xxh64(state.data(), static_cast<int64_t>(state.size())) != index.state_hash) {
      user_error("'{}' is damaged: its checksum differs", state_path);
    }
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

std::optional<FoundCheckpoint> find_latest_checkpoint(const std::string& folder) {
  const auto checkpoints = list_checkpoints(folder);
  const std::string latest_path = join(folder, kLatest);
  std::string note = fmt::format("'{}' does not exist", latest_path);
  if (exists(latest_path)) {
    const std::string name = trimmed(read_text_file(latest_path));
    const auto named = std::find_if(checkpoints.begin(), checkpoints.end(), [&](const auto& checkpoint) {
      return step_directory_name(checkpoint.first) == name;
    });
    if (named == checkpoints.end()) {
      note = fmt::format("'{}' names '{}', which does not exist", latest_path, name);
    } else {
      const std::string problem = why_incomplete(named->second);
      if (problem.empty()) return FoundCheckpoint{named->second, named->first, ""};
      note = fmt::format("'{}' names an incomplete checkpoint: {}", latest_path, problem);
    }
  }
  if (checkpoints.empty()) {
    if (exists(latest_path)) user_error("no checkpoint in '{}': {}", folder, note);
    return std::nullopt;
  }
  for (auto it = checkpoints.rbegin(); it != checkpoints.rend(); ++it) {
    const std::string problem = why_incomplete(it->second);
    if (problem.empty()) return FoundCheckpoint{it->second, it->first, note};
    if (note.find(problem) == std::string::npos) note += "; " + problem;  // said already of the one named by latest
  }
  user_error("no complete checkpoint in '{}': {}", folder, note);
}

std::string resolve_checkpoint(const std::string& path) {
  if (!exists(path)) user_error("checkpoint '{}' does not exist", path);
  if (exists(join(path, "index.json"))) return path;
  for (const std::string& folder : {path, join(path, "checkpoints")}) {
    if (const auto found = find_latest_checkpoint(folder)) return found->directory;
  }
  user_error("'{}' is neither a checkpoint nor a folder with checkpoints", path);
}

void publish_checkpoint(const std::string& folder, int64_t step) {
  const std::string name = step_directory_name(step);
  const std::string final_path = join(folder, name);
  const std::string temporary = join(folder, temporary_step_directory_name(step));
  const std::string replaced = join(folder, kReplacedPrefix + name);
  sync_directory(temporary);
  const bool replaces = exists(final_path);
  // Directories cannot be exchanged atomically everywhere; in between, readers find the old one under its other name.
  if (replaces) rename_path(final_path, replaced);
  rename_path(temporary, final_path);
  sync_directory(folder);
  if (replaces) remove_tree(replaced);
}

void point_latest_to(const std::string& folder, int64_t step) {
  write_file_atomically(join(folder, kLatest), step_directory_name(step) + "\n");
}

void prune_checkpoints(const std::string& folder, int64_t newest_step, int64_t keep_last) {
  if (keep_last <= 0) return;
  auto checkpoints = list_checkpoints(folder);
  std::erase_if(checkpoints, [&](const auto& checkpoint) {
    return checkpoint.first > newest_step || !why_incomplete(checkpoint.second).empty();
  });
  const int64_t excess = static_cast<int64_t>(checkpoints.size()) - keep_last;
  for (int64_t i = 0; i < excess; ++i) {
    const auto& [step, path] = checkpoints[static_cast<size_t>(i)];
    // A deletion cut short must not leave half a checkpoint under a final name.
    const std::string doomed = join(folder, temporary_step_directory_name(step) + "_deleted");
    rename_path(path, doomed);
    remove_tree(doomed);
  }
}

}  // namespace sy
