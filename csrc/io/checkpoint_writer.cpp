#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>
#include <system_error>

#include "csrc/core/check.h"
#include "csrc/io/checkpoint.h"

namespace fs = std::filesystem;

namespace sy {
namespace {

constexpr char kReportOk = '+';      // followed by the rank's part of the index
constexpr char kReportFailed = '-';  // followed by the error

bool is_blob_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

// Frees the disk space of a failed attempt; a failure to do so must not hide the error that led here.
void remove_quietly(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::string folder, int64_t step, CheckpointRanks ranks, int64_t keep_last)
    : folder_(std::move(folder)),
      directory_((fs::path(folder_) / temporary_step_directory_name(step)).string()),
      step_(step),
      ranks_(std::move(ranks)),
      keep_last_(keep_last) {
  SY_CHECK(step >= 0, "checkpoint of step {}", step);
  std::string error;
  if (ranks_.rank == 0) {
    try {
      remove_quietly(directory_);
      create_directories(directory_);
    } catch (const std::exception& e) {
      error = failure(e.what());
    }
  }
  agree(error);
}

// Rank 0 tells everyone whether something failed; all throw the same error or none does.
void CheckpointWriter::agree(const std::string& error) {
  const std::string agreed = ranks_.broadcast_from_root(error);
  if (!agreed.empty()) user_error("{}", agreed);
}

std::string CheckpointWriter::failure(const char* what) const {
  return fmt::format("checkpoint of step {} was not written: {}", step_, what);
}

void CheckpointWriter::write_shard(const std::vector<PieceView>& pieces,
                                   const std::map<std::string, std::string>& blobs) noexcept {
  try {
    written_ = {};
    const std::string file = fmt::format("shard_{:05}_of_{:05}.safetensors", ranks_.rank, ranks_.size);
    std::vector<SafetensorsWriter::Spec> specs;
    for (const PieceView& piece : pieces) {
      SY_CHECK(piece.region.fits(piece.tensor.shape), "a piece of tensor '{}' lies outside it",
               tensor_label(piece.tensor.name, piece.tensor.part));
      // Tensor and part make keys readable; the number keeps several pieces of one part apart.
      std::string key = fmt::format("{}|{}|{}", piece.tensor.name, piece.tensor.part, specs.size());
      const bool is_box = piece.region.is_whole_box();
      specs.push_back(
          {key, piece.tensor.dtype, is_box ? piece.region.box.extent : std::vector<int64_t>{piece.region.count()}});
      written_.pieces.push_back({piece.tensor, piece.region, file, std::move(key)});
    }
    SafetensorsWriter writer((fs::path(directory_) / file).string(), specs, {{"format", "switchyard_checkpoint"}});
    for (size_t i = 0; i < pieces.size(); ++i) {
      const PieceView& piece = pieces[i];
      const int64_t bytes = piece.region.count() * dtype_bytes(piece.tensor.dtype);
      std::vector<std::byte> filled(piece.data == nullptr && piece.fill ? static_cast<size_t>(bytes) : 0);
      if (!filled.empty()) piece.fill(filled.data());
      const void* data = filled.empty() ? piece.data : filled.data();
      written_.pieces[i].hash = xxh64(data, bytes);
      writer.write(specs[i].name, data, bytes);
    }
    writer.finish();
    written_.file_bytes[file] = writer.file_bytes();
    for (const auto& [name, bytes] : blobs) {
      SY_CHECK(is_blob_name(name), "'{}' cannot name a file of a checkpoint", name);
      const std::string blob_file = "blob_" + name;
      OutputFile output((fs::path(directory_) / blob_file).string());
      const auto num_bytes = static_cast<int64_t>(bytes.size());
      output.append(bytes.data(), num_bytes);
      output.sync_and_close();
      written_.blobs.push_back({name, blob_file, num_bytes, xxh64(bytes.data(), num_bytes)});
    }
    error_.clear();
  } catch (const std::exception& e) {
    error_ = e.what();
  }
}

std::string CheckpointWriter::commit(const CheckpointState& state) {
  const std::string report = error_.empty() ? kReportOk + dump_index(written_) : kReportFailed + error_;
  const std::vector<std::string> reports = ranks_.gather_to_root(report);
  std::string error;
  if (ranks_.rank == 0) {
    try {
      publish(reports, state);
    } catch (const std::exception& e) {
      error = failure(e.what());
      remove_quietly(directory_);
    }
    try {
      if (error.empty()) point_latest_to(folder_, step_);
      if (error.empty()) prune_checkpoints(folder_, step_, keep_last_);
    } catch (const std::exception& e) {
      error = fmt::format("checkpoint of step {} is complete, but its folder is not in order: {}", step_, e.what());
    }
  }
  agree(error);
  return (fs::path(folder_) / step_directory_name(step_)).string();
}

void CheckpointWriter::publish(const std::vector<std::string>& reports, const CheckpointState& state) {
  SY_CHECK(static_cast<int>(reports.size()) == ranks_.size, "{} reports from {} ranks", reports.size(), ranks_.size);
  SY_CHECK(state.step == step_, "state of step {} in the checkpoint of step {}", state.step, step_);
  CheckpointIndex index;
  std::set<std::string> blob_names;
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    if (!reports[rank].starts_with(kReportOk)) user_error("rank {}: {}", rank, reports[rank].substr(1));
    CheckpointIndex part = parse_index(reports[rank].substr(1), fmt::format("report of rank {}", rank));
    for (CheckpointBlob& blob : part.blobs) {
      SY_CHECK(blob_names.insert(blob.name).second, "two ranks store the blob '{}'", blob.name);
      index.blobs.push_back(std::move(blob));
    }
    std::move(part.pieces.begin(), part.pieces.end(), std::back_inserter(index.pieces));
    index.file_bytes.merge(part.file_bytes);
  }
  verify_tiling(index.pieces, fmt::format("the pieces of step {}", step_));
  const std::string state_text = dump_state(state);
  index.state_hash = xxh64(state_text.data(), static_cast<int64_t>(state_text.size()));
  write_file_atomically((fs::path(directory_) / "state.json").string(), state_text);
  write_file_atomically((fs::path(directory_) / "index.json").string(), dump_index(index));
  // Sees, for one, nodes that each wrote to a disk of their own.
  if (const std::string problem = why_incomplete(directory_); !problem.empty()) {
    user_error("{} (is '{}' on a file system that all ranks share?)", problem, folder_);
  }
  publish_checkpoint(folder_, step_);
}

std::string write_checkpoint(const std::string& folder, const CheckpointState& state,
                             const std::vector<PieceView>& pieces, const std::map<std::string, std::string>& blobs,
                             const CheckpointRanks& ranks, int64_t keep_last) {
  CheckpointWriter writer(folder, state.step, ranks, keep_last);
  writer.write_shard(pieces, blobs);
  return writer.commit(state);
}

}  // namespace sy
