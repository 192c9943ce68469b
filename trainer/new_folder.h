// A folder that appears complete or not at all: it is built under a temporary name beside its own.
#pragma once

#include <filesystem>
#include <string>

namespace sy {

class NewFolder {
 public:
  // UserError if `path` exists. Parents are made; what an interrupted attempt left is deleted.
  explicit NewFolder(const std::string& path);
  ~NewFolder();  // deletes what was not published
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  // Where it is being built, and a file's place in it.
  std::string directory() const { return temporary_.string(); }
  std::string file(const std::string& name) const { return (temporary_ / name).string(); }
  // Gives it its name, durably. Its files are durable already.
  void publish();

 private:
  std::filesystem::path path_, temporary_;
  bool is_published_ = false;
};

}  // namespace sy
