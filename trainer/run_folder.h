// The run folder: everything one training run leaves on the disk, owned by exactly one configuration.
//   config.yaml (resolved)  metrics.jsonl  summary.json  tensorboard/  checkpoints/
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sy {

class RunFolder {
 public:
  // Creates the folder, or opens the folder of an earlier start of the same run; then is_resuming() is true. Same
  // means: the resolved configurations (YAML texts) agree in every key outside `changeable`, dotted paths that also
  // cover what is below them ("train.train_iters", "logging"). UserError, and nothing changed, for a folder of another
  // configuration (names the first key that differs), a folder with foreign files, or one that another process is
  // writing to. Only rank 0 calls this.
  RunFolder(std::string path, const std::string& config_text, const std::vector<std::string>& changeable);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  // Writes config.yaml or brings it up to date. To be called once the start has proved possible: until then the folder
  // stays as it was.
  void store_config();

  const std::string& path() const { return path_; }
  bool is_resuming() const { return is_resuming_; }
  std::string checkpoints() const { return file("checkpoints"); }
  std::string file(const std::string& name) const;

 private:
  void lock();

  std::string path_, config_text_;
  bool is_resuming_ = false, is_stored_ = false;
  int lock_fd_ = -1;
};

// "runs/quickstart" for "configs/quickstart.yaml".
std::string default_run_folder(const std::string& config_path);

// Empty if two YAML mappings agree outside `changeable`; else e.g. "model.hidden_size is 256 there and 512 here", for
// the first difference in the order of `here`.
std::string first_config_difference(const std::string& there, const std::string& here,
                                    const std::vector<std::string>& changeable);

}  // namespace sy
