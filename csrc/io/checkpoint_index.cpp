#include "csrc/io/checkpoint_index.h"

#include <fmt/ranges.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "csrc/core/check.h"
#include "csrc/io/file.h"

namespace sy {
namespace {

using Json = nlohmann::json;

constexpr const char* kFormat = "switchyard_checkpoint";
constexpr int64_t kFormatVersion = 1;

uint64_t hash_from_text(const std::string& text) {
  uint64_t hash = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  if (error != std::errc() || end != text.data() + text.size()) user_error("'{}' is not a hash", text);
  return hash;
}

Json to_json(const CheckpointPiece& piece) {
  Json json = {{"name", piece.tensor.name},
               {"part", piece.tensor.part},
               {"dtype", dtype_name(piece.tensor.dtype)},
               {"shape", piece.tensor.shape},
               {"start", piece.region.box.start},
               {"extent", piece.region.box.extent},
               {"file", piece.file},
               {"key", piece.key},
               {"xxh64", hash_text(piece.hash)}};
  if (!piece.region.is_whole_box()) json["flat"] = {piece.region.flat_begin, piece.region.flat_end};
  return json;
}

CheckpointPiece piece_from_json(const Json& json) {
  CheckpointPiece piece;
  json.at("name").get_to(piece.tensor.name);
  json.at("part").get_to(piece.tensor.part);
  piece.tensor.dtype = dtype_from_name(json.at("dtype").get<std::string>());
  json.at("shape").get_to(piece.tensor.shape);
  json.at("start").get_to(piece.region.box.start);
  json.at("extent").get_to(piece.region.box.extent);
  // Bounds first: a box of absurd extents has no meaningful count.
  if (!piece.region.box.fits(piece.tensor.shape)) {
    user_error("a piece of tensor '{}' lies outside it", tensor_label(piece.tensor.name, piece.tensor.part));
  }
  piece.region.flat_end = piece.region.box.count();
  if (const auto flat = json.find("flat"); flat != json.end()) {
    flat->at(0).get_to(piece.region.flat_begin);
    flat->at(1).get_to(piece.region.flat_end);
  }
  json.at("file").get_to(piece.file);
  json.at("key").get_to(piece.key);
  piece.hash = hash_from_text(json.at("xxh64").get<std::string>());
  return piece;
}

Json index_to_json(const CheckpointIndex& index) {
  Json pieces = Json::array();
  for (const CheckpointPiece& piece : index.pieces) pieces.push_back(to_json(piece));
  Json blobs = Json::array();
  for (const CheckpointBlob& blob : index.blobs) {
    blobs.push_back(
        {{"name", blob.name}, {"file", blob.file}, {"bytes", blob.num_bytes}, {"xxh64", hash_text(blob.hash)}});
  }
  return {{"pieces", std::move(pieces)},
          {"files", index.file_bytes},
          {"blobs", std::move(blobs)},
          {"state", hash_text(index.state_hash)}};
}

CheckpointIndex index_from_json(const Json& json) {
  CheckpointIndex index;
  for (const Json& piece : json.at("pieces")) index.pieces.push_back(piece_from_json(piece));
  json.at("files").get_to(index.file_bytes);
  for (const Json& blob : json.at("blobs")) {
    index.blobs.push_back({blob.at("name").get<std::string>(), blob.at("file").get<std::string>(),
                           blob.at("bytes").get<int64_t>(), hash_from_text(blob.at("xxh64").get<std::string>())});
  }
  index.state_hash = hash_from_text(json.at("state").get<std::string>());
  return index;
}

}  // namespace

std::string tensor_label(const std::string& name, const std::string& part) {
  return part.empty() || part == name ? name : fmt::format("{} (part {})", name, part);
}

std::string dump_index(const CheckpointIndex& index) {
  const Json json = index_to_json(index);
  // Sorted keys and integers only: the compact text is a canonical form, and its hash survives reformatting by people.
  const std::string canonical = json.dump();
  const uint64_t hash = xxh64(canonical.data(), static_cast<int64_t>(canonical.size()));
  return fmt::format("{{\"format\":\"{}\",\"format_version\":{},\"xxh64\":\"{}\",\"index\":{}}}\n", kFormat,
                     kFormatVersion, hash_text(hash), canonical);
}

CheckpointIndex parse_index(const std::string& text, const std::string& path) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) user_error("'{}' is damaged: it is not json", path);
  if (!json.is_object() || json.value("format", Json()) != kFormat)
    user_error("'{}' is not a Switchyard checkpoint index", path);
  if (json.value("format_version", Json()) != kFormatVersion) {
    user_error("'{}' has checkpoint format version {}, this program reads {}", path,
               json.value("format_version", Json()).dump(), kFormatVersion);
  }
  try {
    const std::string canonical = json.at("index").dump();
    const uint64_t hash = xxh64(canonical.data(), static_cast<int64_t>(canonical.size()));
    if (hash_text(hash) != json.at("xxh64").get<std::string>()) user_error("its checksum differs");
    return index_from_json(json.at("index"));
  } catch (const Json::exception& error) {
    user_error("'{}' is damaged: {}", path, error.what());
  } catch (const UserError& error) {
    user_error("'{}' is damaged: {}", path, error.what());
  }
}

std::string dump_state(const CheckpointState& state) {
  const Json json = {{"step", state.step},
                     {"consumed_samples", state.consumed_samples},
                     {"config", state.config_text},
                     {"mesh", state.mesh},
                     {"version", state.version}};
  try {
    return json.dump(2) + "\n";
  } catch (const Json::exception&) {
    user_error("the configuration text is not UTF-8 and cannot be stored in a checkpoint");
  }
}

CheckpointState parse_state(const std::string& text, const std::string& path) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  CheckpointState state;
  try {
    json.at("step").get_to(state.step);
    json.at("consumed_samples").get_to(state.consumed_samples);
    json.at("config").get_to(state.config_text);
    json.at("mesh").get_to(state.mesh);
    json.at("version").get_to(state.version);
  } catch (const Json::exception&) {
    user_error("'{}' is not the state of a Switchyard checkpoint", path);
  }
  return state;
}

void verify_tiling(const std::vector<CheckpointPiece>& pieces, const std::string& where) {
  std::map<std::pair<std::string, std::string>, std::vector<const CheckpointPiece*>> tensors;
  for (const CheckpointPiece& piece : pieces) tensors[{piece.tensor.name, piece.tensor.part}].push_back(&piece);
  for (const auto& [key, tensor_pieces] : tensors) {
    const std::string label = tensor_label(key.first, key.second);
    const CheckpointTensor& tensor = tensor_pieces.front()->tensor;
    std::vector<Region> regions;
    for (const CheckpointPiece* piece : tensor_pieces) {
      if (piece->tensor.dtype != tensor.dtype || piece->tensor.shape != tensor.shape) {
        user_error("{}: pieces of tensor '{}' disagree: {} [{}] in '{}', {} [{}] in '{}'", where, label,
                   dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "), tensor_pieces.front()->file,
                   dtype_name(piece->tensor.dtype), fmt::join(piece->tensor.shape, ", "), piece->file);
      }
      if (!piece->region.fits(tensor.shape)) {
        user_error("{}: the piece '{}' of '{}' lies outside tensor '{}' [{}]", where, piece->key, piece->file, label,
                   fmt::join(tensor.shape, ", "));
      }
      regions.push_back(piece->region);
    }
    const auto fault = find_tiling_fault(tensor.shape, regions);
    if (!fault) continue;
    if (fault->first < 0) {
      user_error("{}: element [{}] of tensor '{}' is stored in no piece", where, fmt::join(fault->element, ", "),
                 label);
    }
    const auto& first = *tensor_pieces[static_cast<size_t>(fault->first)];
    const auto& second = *tensor_pieces[static_cast<size_t>(fault->second)];
    user_error("{}: element [{}] of tensor '{}' is stored twice, as '{}' in '{}' and as '{}' in '{}'", where,
               fmt::join(fault->element, ", "), label, first.key, first.file, second.key, second.file);
  }
}

}  // namespace sy
