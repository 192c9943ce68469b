#include "trainer/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <system_error>

#include "csrc/core/check.h"
#include "csrc/io/file.h"

namespace fs = std::filesystem;

namespace sy {
namespace {

constexpr const char* kConfigName = "config.yaml";
constexpr const char* kLockName = ".lock";

using FlatConfig = std::vector<std::pair<std::string, std::string>>;  // (dotted path, scalar), in file order

void flatten(const YAML::Node& node, const std::string& path, FlatConfig& out) {
  const std::string prefix = path.empty() ? "" : path + ".";
  if (node.IsMap() && node.size() > 0) {
    for (const auto& entry : node) flatten(entry.second, prefix + entry.first.as<std::string>(), out);
  } else if (node.IsSequence() && node.size() > 0) {
    for (std::size_t i = 0; i < node.size(); ++i) flatten(node[i], prefix + std::to_string(i), out);
  } else if (node.IsMap() || node.IsSequence()) {
    out.emplace_back(path, node.IsMap() ? "{}" : "[]");
  } else {
    out.emplace_back(path, node.IsNull() ? "null" : node.Scalar());
  }
}

FlatConfig flatten_text(const std::string& text) {
  FlatConfig flat;
  flatten(YAML::Load(text), "", flat);
  return flat;
}

bool is_covered(const std::string& path, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return path == prefix || path.starts_with(prefix + "."); });
}

}  // namespace

std::string first_config_difference(const std::string& there, const std::string& here,
                                    const std::vector<std::string>& changeable) {
  const FlatConfig flat_there = flatten_text(there);
  const FlatConfig flat_here = flatten_text(here);
  const std::map<std::string, std::string> values_there(flat_there.begin(), flat_there.end());
  const std::map<std::string, std::string> values_here(flat_here.begin(), flat_here.end());
  for (const auto& [path, value] : flat_here) {
    if (is_covered(path, changeable)) continue;
    const auto it = values_there.find(path);
    if (it == values_there.end()) return fmt::format("{} is absent there and '{}' here", path, value);
    if (it->second != value) return fmt::format("{} is '{}' there and '{}' here", path, it->second, value);
  }
  for (const auto& [path, value] : flat_there) {
    if (is_covered(path, changeable) || values_here.contains(path)) continue;
    return fmt::format("{} is '{}' there and absent here", path, value);
  }
  return "";
}

std::string default_run_folder(const std::string& config_path) {
  return (fs::path("runs") / fs::path(config_path).stem()).string();
}

std::string RunFolder::file(const std::string& name) const { return (fs::path(path_) / name).string(); }

RunFolder::RunFolder(std::string path, const std::string& config_text, const std::vector<std::string>& changeable)
    : path_(std::move(path)), config_text_(config_text) {
  std::error_code error;
  const bool is_present = fs::exists(path_, error);
  if (is_present && !fs::is_directory(path_, error)) user_error("the run folder '{}' is a file", path_);
  const std::string config_path = file(kConfigName);
  std::string stored;
  is_resuming_ = fs::exists(config_path, error);
  if (is_resuming_) {
    stored = read_text_file(config_path);
    std::string difference;
    try {
      difference = first_config_difference(stored, config_text, changeable);
    } catch (const YAML::Exception& e) {
      user_error("'{}' is not readable YAML ({}): choose another run folder", config_path, e.what());
    }
    if (!difference.empty()) {
      user_error("the run folder '{}' belongs to another configuration: {}; choose another folder or delete this one",
                 path_, difference);
    }
  } else if (is_present) {
    for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      // An earlier start may have ended before config.yaml was complete.
      if (name == kLockName || name == std::string(".tmp_") + kConfigName) continue;
      user_error("'{}' is not a run folder: it holds '{}' but no {}; choose another folder", path_, name, kConfigName);
    }
    if (error) file_error("list", path_, error.value());
  }
  create_directories(path_);
  is_stored_ = stored == config_text;
  lock();
}

void RunFolder::store_config() {
  if (!is_stored_) write_file_atomically(file(kConfigName), config_text_);
  is_stored_ = true;
}

// Held until the process ends, however it ends.
void RunFolder::lock() {
  const std::string lock_path = file(kLockName);
  lock_fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_fd_ < 0) file_error("create", lock_path, errno);
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return;
  const int error_number = errno;
  // File systems without locks say so; then two runs in one folder are the user's to avoid.
  if (error_number != EWOULDBLOCK) return;
  ::close(lock_fd_);
  lock_fd_ = -1;
  user_error("another process is writing to the run folder '{}': wait for it or choose another folder", path_);
}

RunFolder::~RunFolder() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

}  // namespace sy
