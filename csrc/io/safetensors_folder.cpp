#include "csrc/io/safetensors_folder.h"

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "csrc/io/float16.h"

namespace fs = std::filesystem;

namespace sy {

namespace {

using Json = nlohmann::json;

const char* const kFile = "model.safetensors";
const char* const kIndex = "model.safetensors.index.json";

struct Index {
  std::map<std::string, std::string> weight_map;
  int64_t total_size = -1;  // bytes of all tensors; -1: not given
};

Index read_index(const std::string& path) {
  const Json json = Json::parse(read_text_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    user_error("'{}' is not an index: it has no weight_map", path);
  Index index;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string()) user_error("'{}': the file of tensor '{}' is {}", path, tensor, file.dump());
    const auto name = file.get<std::string>();
    // A name alone: a path could lead out of the folder.
    if (name.empty() || name.find_first_of("/\\") != std::string::npos || !name.ends_with(".safetensors"))
      user_error("'{}': '{}', the file of tensor '{}', is not the name of a .safetensors file of this folder", path,
                 name, tensor);
    index.weight_map[tensor] = name;
  }
  const Json metadata = json.value("metadata", Json());
  if (metadata.is_object() && metadata.contains("total_size") && metadata["total_size"].is_number_integer())
    index.total_size = metadata["total_size"].get<int64_t>();
  return index;
}

}  // namespace

SafetensorsFolder::SafetensorsFolder(const std::string& folder) : folder_(folder) {
  const std::string file = (fs::path(folder) / kFile).string(), index_path = (fs::path(folder) / kIndex).string();
  const bool has_file = fs::exists(file), has_index = fs::exists(index_path);
  if (has_file && has_index)
    user_error("'{}' holds both {} and {}; remove the one that is not the model", folder, kFile, kIndex);
  if (!has_file && !has_index) user_error("'{}' holds neither {} nor {}", folder, kFile, kIndex);
  if (has_file) {
    open(kFile);
    return;
  }
  const Index index = read_index(index_path);
  std::set<std::string> files;
  for (const auto& [tensor, name] : index.weight_map) files.insert(name);
  for (const std::string& name : files) open(name);
  check_index(index_path, index.weight_map, index.total_size);
}

void SafetensorsFolder::open(const std::string& name) {
  const auto& file = files_.emplace_back(std::make_unique<SafetensorsReader>((fs::path(folder_) / name).string()));
  for (const SafetensorsReader::Entry& entry : file->entries()) {
    const bool is_half = entry.dtype_text == "F16";
    if (!is_half && !entry.dtype)
      user_error("'{}': tensor '{}' has dtype {}, which is not supported", file->path(), entry.name, entry.dtype_text);
    if (const auto [it, is_new] = in_.emplace(entry.name, name); !is_new)
      user_error("'{}': tensor '{}' stands in {} too", file->path(), entry.name, it->second);
    tensors_.push_back({entry.name, is_half ? DType::f32 : *entry.dtype, entry.shape});
    places_.push_back({file.get(), &entry});
  }
}

void SafetensorsFolder::check_index(const std::string& index_path, const std::map<std::string, std::string>& weight_map,
                                    int64_t total_size) const {
  for (const auto& [tensor, name] : weight_map)
    if (const auto it = in_.find(tensor); it == in_.end() || it->second != name)
      user_error("'{}': tensor '{}' is not in {}, where the index has it", index_path, tensor, name);
  for (const auto& [tensor, name] : in_)
    if (!weight_map.contains(tensor)) user_error("'{}' does not list tensor '{}' of {}", index_path, tensor, name);
  int64_t bytes = 0;
  for (const Place& place : places_) bytes += place.entry->end - place.entry->begin;
  if (total_size >= 0 && total_size != bytes)
    user_error("'{}': total_size is {}, but the shards hold {} bytes", index_path, total_size, bytes);
}

void SafetensorsFolder::read(size_t i, void* dst) const {
  const Place& place = places_.at(i);
  const std::byte* from = place.file->bytes(*place.entry);
  if (place.entry->dtype) {
    std::memcpy(dst, from, static_cast<size_t>(place.entry->end - place.entry->begin));
    return;
  }
  auto* to = static_cast<float*>(dst);
  for (int64_t e = 0; e < element_count(place.entry->shape); ++e) to[e] = f16_at(from + 2 * e);
}

}  // namespace sy
