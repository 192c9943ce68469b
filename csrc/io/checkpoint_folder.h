// The folder that holds a run's checkpoints: step_00000100/, step_00000200/, ... and `latest`, a text file with the
// name of the newest one. All functions here are for one process (rank 0).
//
// A checkpoint is written in .tmp_step_<n>, made durable, then renamed: a directory named step_<n> is complete,
// whatever instant the power failed. `latest` follows; deleting happens last, under a temporary name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sy {

std::string step_directory_name(int64_t step);            // "step_00000100"
std::string temporary_step_directory_name(int64_t step);  // ".tmp_step_00000100"

// Call before the first write of a run: creates the folder, deletes what an interrupted write or deletion left, and
// puts back a checkpoint that was being replaced. Returns one line per thing it did. Not while another process writes
// here.
std::vector<std::string> prepare_checkpoint_folder(const std::string& folder);

struct FoundCheckpoint {
  std::string directory;
  int64_t step = 0;
  std::string note;  // why it is not the one that `latest` names; empty if it is
};

// The checkpoint that `latest` names, or the newest complete one if that is missing, dangling or incomplete. Empty if
// the folder holds no checkpoint; UserError if it holds some and none is complete. Changes nothing on the disk.
std::optional<FoundCheckpoint> find_latest_checkpoint(const std::string& folder);

// The step directory that a user means by a step directory, a checkpoints folder or a run folder; UserError if none.
std::string resolve_checkpoint(const std::string& path);

// Empty if index and state are undamaged and every listed file is there in full; else what is wrong. Does not read the
// shards: CheckpointReader::verify_checksums does.
std::string why_incomplete(const std::string& directory);

// Renames the temporary directory of `step`, whose files are durable, to its final name (replacing a checkpoint of the
// same step).
void publish_checkpoint(const std::string& folder, int64_t step);

// Makes `latest` name the published checkpoint of `step`.
void point_latest_to(const std::string& folder, int64_t step);

// Deletes the oldest complete checkpoints up to `newest_step` until `keep_last` of them are left (0: keeps all).
// Later steps belong to an abandoned future (a run that was set back) and are neither counted nor deleted.
void prune_checkpoints(const std::string& folder, int64_t newest_step, int64_t keep_last);

}  // namespace sy
