#include <fmt/ranges.h>

#include <filesystem>

#include "csrc/core/check.h"
#include "csrc/io/checkpoint.h"

namespace fs = std::filesystem;

namespace sy {

CheckpointReader::CheckpointReader(const std::string& directory) : directory_(directory) {
  if (const std::string problem = why_incomplete(directory); !problem.empty()) {
    user_error("checkpoint '{}' is not complete: {}", directory, problem);
  }
  const std::string index_path = (fs::path(directory) / "index.json").string();
  const std::string state_path = (fs::path(directory) / "state.json").string();
  index_ = parse_index(read_text_file(index_path), index_path);
  state_ = parse_state(read_text_file(state_path), state_path);
  verify_tiling(index_.pieces, fmt::format("checkpoint '{}'", directory));
  for (size_t i = 0; i < index_.pieces.size(); ++i) {
    const CheckpointPiece& piece = index_.pieces[i];
    pieces_[{piece.tensor.name, piece.tensor.part}].push_back(i);
    if (!index_.file_bytes.contains(piece.file)) user_error("'{}' does not list the file '{}'", index_path, piece.file);
  }
  is_checked_.assign(index_.pieces.size(), false);
}

std::vector<CheckpointTensor> CheckpointReader::tensors() const {
  std::vector<CheckpointTensor> result;
  for (const auto& [key, pieces] : pieces_) result.push_back(index_.pieces[pieces.front()].tensor);
  return result;
}

bool CheckpointReader::contains(const std::string& name, const std::string& part) const {
  return pieces_.contains({name, part});
}

void CheckpointReader::require_tensors(const std::vector<CheckpointTensor>& expected) const {
  std::map<TensorKey, const CheckpointTensor*> wanted;
  for (const CheckpointTensor& tensor : expected) {
    const std::string label = tensor_label(tensor.name, tensor.part);
    SY_CHECK(wanted.emplace(TensorKey{tensor.name, tensor.part}, &tensor).second, "'{}' is expected twice", label);
    const auto it = pieces_.find({tensor.name, tensor.part});
    if (it == pieces_.end()) {
      user_error("checkpoint '{}' belongs to another configuration: it has no tensor '{}'", directory_, label);
    }
    const CheckpointTensor& stored = index_.pieces[it->second.front()].tensor;
    if (stored.dtype != tensor.dtype || stored.shape != tensor.shape) {
      user_error("checkpoint '{}' belongs to another configuration: tensor '{}' is {} [{}] there and {} [{}] here",
                 directory_, label, dtype_name(stored.dtype), fmt::join(stored.shape, ", "), dtype_name(tensor.dtype),
                 fmt::join(tensor.shape, ", "));
    }
  }
  for (const auto& [key, pieces] : pieces_) {
    if (wanted.contains(key)) continue;
    user_error("checkpoint '{}' belongs to another configuration: its tensor '{}' has no place here", directory_,
               tensor_label(key.first, key.second));
  }
}

const std::vector<size_t>& CheckpointReader::pieces_of(const std::string& name, const std::string& part) const {
  const auto it = pieces_.find({name, part});
  if (it == pieces_.end()) user_error("checkpoint '{}' has no tensor '{}'", directory_, tensor_label(name, part));
  return it->second;
}

// The bytes of a piece in the mapped shard, after their first comparison with the checksum.
const void* CheckpointReader::checked_data(size_t i) const {
  const CheckpointPiece& piece = index_.pieces[i];
  auto& shard = shards_[piece.file];
  if (!shard) shard = std::make_unique<SafetensorsReader>((fs::path(directory_) / piece.file).string());
  const std::vector<int64_t> shape =
      piece.region.is_whole_box() ? piece.region.box.extent : std::vector<int64_t>{piece.region.count()};
  const void* data = shard->view(piece.key, piece.tensor.dtype, shape).data;
  if (!is_checked_[i]) {
    if (xxh64(data, piece.region.count() * dtype_bytes(piece.tensor.dtype)) != piece.hash) {
      user_error("'{}' is damaged: the checksum of '{}' differs", shard->path(),
                 tensor_label(piece.tensor.name, piece.tensor.part));
    }
    is_checked_[i] = true;
  }
  return data;
}

void CheckpointReader::read_box(const std::string& name, const std::string& part, const Box& box, void* dst) const {
  read_region(name, part, Region::whole(box), dst);
}

void CheckpointReader::read_region(const std::string& name, const std::string& part, const Region& region,
                                   void* dst) const {
  const std::vector<size_t>& pieces = pieces_of(name, part);
  const CheckpointTensor& tensor = index_.pieces[pieces.front()].tensor;
  SY_CHECK(region.fits(tensor.shape), "the requested region lies outside tensor '{}' [{}]", tensor_label(name, part),
           fmt::join(tensor.shape, ", "));
  int64_t copied = 0;
  for (const size_t i : pieces) {
    if (!regions_intersect(index_.pieces[i].region, region)) continue;  // spares opening shards that hold nothing of it
    copied += copy_intersection(index_.pieces[i].region, checked_data(i), region, dst, dtype_bytes(tensor.dtype));
  }
  SY_CHECK(copied == region.count(), "read {} of {} elements of '{}'", copied, region.count(),
           tensor_label(name, part));
}

bool CheckpointReader::has_blob(const std::string& name) const {
  for (const CheckpointBlob& blob : index_.blobs) {
    if (blob.name == name) return true;
  }
  return false;
}

std::string CheckpointReader::blob(const std::string& name) const {
  for (const CheckpointBlob& blob : index_.blobs) {
    if (blob.name != name) continue;
    const std::string path = (fs::path(directory_) / blob.file).string();
    std::string bytes = read_text_file(path);
    if (xxh64(bytes.data(), static_cast<int64_t>(bytes.size())) != blob.hash) {
      user_error("'{}' is damaged: its checksum differs", path);
    }
    return bytes;
  }
  user_error("checkpoint '{}' has no blob '{}'", directory_, name);
}

void CheckpointReader::verify_checksums() const {
  for (size_t i = 0; i < index_.pieces.size(); ++i) checked_data(i);
  for (const CheckpointBlob& entry : index_.blobs) blob(entry.name);
}

}  // namespace sy
