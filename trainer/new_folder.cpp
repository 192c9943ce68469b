#include "trainer/new_folder.h"

#include "csrc/core/check.h"
#include "csrc/io/file.h"

namespace fs = std::filesystem;

namespace sy {

NewFolder::NewFolder(const std::string& path) {
  path_ = fs::absolute(path).lexically_normal();
  if (!path_.has_filename()) path_ = path_.parent_path();
  if (fs::symlink_status(path_).type() != fs::file_type::not_found)
    user_error("'{}' exists already; remove it or give another folder", path);
  temporary_ = path_.parent_path() / (".tmp_" + path_.filename().string());
  fs::remove_all(temporary_);
  create_directories(temporary_.string());
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!is_published_) fs::remove_all(temporary_, ignored);
}

void NewFolder::publish() {
  sync_directory(temporary_.string());
  rename_path(temporary_.string(), path_.string());
  is_published_ = true;
  sync_directory(path_.parent_path().string());
}

}  // namespace sy
