#include "csrc/io/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "csrc/core/check.h"

namespace sy {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

using Json = nlohmann::json;

constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr const char* kMetadataKey = "__metadata__";

// Every type name of the format with its bits per element, so that a file is checked even if we cannot compute with it.
constexpr std::array<std::pair<const char*, int>, 20> kTypeBits = {{
    {"BOOL", 8},    {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F4", 4},
    {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},
    {"U32", 32},    {"F32", 32},    {"C64", 64}, {"I64", 64},    {"U64", 64},    {"F64", 64},
}};

const char* format_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::bf16:
      return "BF16";
    case DType::f64:
      return "F64";
    case DType::i32:
      return "I32";
    case DType::i64:
      return "I64";
    case DType::u8:
      return "U8";
  }
  return "";
}

std::optional<DType> dtype_of_format_name(const std::string& text) {
  for (const DType dtype : kDTypes) {
    if (text == format_name(dtype)) return dtype;
  }
  return std::nullopt;
}

int type_bits(const std::string& text) {
  for (const auto& [name, bits] : kTypeBits) {
    if (text == name) return bits;
  }
  return 0;
}

// Bits of a tensor, or -1 if the product leaves int64 or a dimension is negative.
int64_t checked_bits(const std::vector<int64_t>& shape, int bits) {
  int64_t product = bits;
  for (const int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(product, dim, &product)) return -1;
  }
  return product;
}

}  // namespace

int64_t element_count(const std::vector<int64_t>& shape) {
  // Counted in bits of the widest type, so that byte sizes cannot overflow either.
  const int64_t bits = checked_bits(shape, 64);
  SY_CHECK(bits >= 0, "shape [{}] is negative or too large", fmt::join(shape, ", "));
  return bits / 64;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<Spec>& specs,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  std::vector<size_t> order(specs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return dtype_bytes(specs[a].dtype) > dtype_bytes(specs[b].dtype); });
  // Entries are strung together by hand: they stay in file order, and ordered_json searches linearly for each new key.
  std::string text;
  const auto add_entry = [&](const std::string& key, const Json& value) {
    try {
      text += text.empty() ? '{' : ',';
      text += Json(key).dump();
      text += ':';
      text += value.dump();
    } catch (const Json::exception&) {
      user_error("cannot write '{}': a tensor name or a metadata text is not UTF-8", path);
    }
  };
  if (!metadata.empty()) add_entry(kMetadataKey, metadata);
  int64_t offset = 0;
  for (const size_t i : order) {
    const Spec& spec = specs[i];
    const int64_t bytes = element_count(spec.shape) * dtype_bytes(spec.dtype);
    const bool is_new = slots_.emplace(spec.name, Slot{offset, offset + bytes, offset}).second;
    SY_CHECK(is_new && spec.name != kMetadataKey, "tensor name '{}' is used twice in '{}'", spec.name, path);
    add_entry(spec.name, {{"dtype", format_name(spec.dtype)},
                          {"shape", spec.shape},
                          {"data_offsets", Json::array({offset, offset + bytes})}});
    offset += bytes;
  }
  text += text.empty() ? "{}" : "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t header_bytes = text.size();
  file_.write_at(0, &header_bytes, 8);
  file_.write_at(8, text.data(), static_cast<int64_t>(text.size()));
  const int64_t data_begin = 8 + static_cast<int64_t>(header_bytes);
  for (auto& [name, slot] : slots_) {
    slot.begin += data_begin;
    slot.end += data_begin;
    slot.cursor = slot.begin;
  }
  file_bytes_ = data_begin + offset;
}

void SafetensorsWriter::write(const std::string& name, const void* data, int64_t bytes) {
  const auto it = slots_.find(name);
  SY_CHECK(it != slots_.end(), "tensor '{}' was not declared for '{}'", name, file_.path());
  Slot& slot = it->second;
  SY_CHECK(bytes >= 0 && bytes <= slot.end - slot.cursor, "{} bytes more than tensor '{}' of '{}' holds",
           bytes - (slot.end - slot.cursor), name, file_.path());
  file_.write_at(slot.cursor, data, bytes);
  slot.cursor += bytes;
}

void SafetensorsWriter::finish() {
  for (const auto& [name, slot] : slots_) {
    SY_CHECK(slot.cursor == slot.end, "tensor '{}' of '{}' lacks {} bytes", name, file_.path(), slot.end - slot.cursor);
  }
  file_.sync_and_close();
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsWriter::Spec> specs;
  for (const auto& [name, view] : tensors) specs.push_back({name, view.dtype, view.shape});
  SafetensorsWriter writer(path, specs, metadata);
  for (const auto& [name, view] : tensors) {
    writer.write(name, view.data, element_count(view.shape) * dtype_bytes(view.dtype));
  }
  writer.finish();
}

SafetensorsReader::SafetensorsReader(const std::string& path) : file_(path) {
  uint64_t header_bytes = 0;
  if (file_.num_bytes() < 8) user_error("'{}' is not a safetensors file: only {} bytes long", path, file_.num_bytes());
  std::memcpy(&header_bytes, file_.data(), 8);
  if (header_bytes > kMaxHeaderBytes) user_error("'{}' is not a safetensors file: impossible header length", path);
  const int64_t data_begin = 8 + static_cast<int64_t>(header_bytes);
  if (data_begin > file_.num_bytes()) {
    user_error("'{}' is truncated: its header ends at byte {}, the file at {}", path, data_begin, file_.num_bytes());
  }
  data_ = file_.data() + data_begin;
  parse_header(static_cast<int64_t>(header_bytes));
  check_layout(file_.num_bytes() - data_begin);
}

void SafetensorsReader::parse_header(int64_t header_bytes) {
  const char* text = reinterpret_cast<const char*>(file_.data()) + 8;
  const Json header = Json::parse(text, text + header_bytes, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) user_error("'{}' is not a safetensors file: its header is not a json object", path());
  for (const auto& [name, value] : header.items()) {
    try {
      if (name == kMetadataKey) {
        metadata_ = value.get<std::map<std::string, std::string>>();
        continue;
      }
      Entry entry;
      entry.name = name;
      entry.dtype_text = value.at("dtype").get<std::string>();
      entry.dtype = dtype_of_format_name(entry.dtype_text);
      const Json& shape = value.at("shape");
      for (const Json& dim : shape) {
        if (!shape.is_array() || !dim.is_number_integer())
          user_error("'{}': the shape of tensor '{}' is not whole numbers", path(), name);
        entry.shape.push_back(dim.get<int64_t>());
      }
      const Json& offsets = value.at("data_offsets");
      if (offsets.size() != 2 || !offsets.at(0).is_number_integer() || !offsets.at(1).is_number_integer()) {
        user_error("'{}': data_offsets of tensor '{}' are not two whole numbers", path(), name);
      }
      entry.begin = offsets.at(0).get<int64_t>();
      entry.end = offsets.at(1).get<int64_t>();
      entries_.push_back(std::move(entry));
    } catch (const Json::exception&) {
      user_error("'{}': the header entry '{}' is malformed", path(), name);
    }
  }
}

void SafetensorsReader::check_layout(int64_t data_bytes) {
  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t cursor = 0;
  for (const Entry& entry : entries_) {
    const int bits = type_bits(entry.dtype_text);
    if (bits == 0) user_error("'{}': tensor '{}' has the unknown dtype '{}'", path(), entry.name, entry.dtype_text);
    const int64_t tensor_bits = checked_bits(entry.shape, bits);
    if (entry.begin < 0 || entry.end < entry.begin || tensor_bits < 0 || tensor_bits % 8 != 0 ||
        tensor_bits / 8 != entry.end - entry.begin) {
      user_error("'{}': tensor '{}' of shape [{}] and dtype {} does not fit its bytes [{}, {})", path(), entry.name,
                 fmt::join(entry.shape, ", "), entry.dtype_text, entry.begin, entry.end);
    }
    if (entry.begin != cursor) {
      user_error("'{}': tensor '{}' {} at byte {} of the data", path(), entry.name,
                 entry.begin < cursor ? "overlaps the one before it" : "leaves a gap before it", entry.begin);
    }
    if (entry.end > data_bytes) {
      user_error("'{}' is truncated: tensor '{}' ends at byte {} of the data, the file at {}", path(), entry.name,
                 entry.end, data_bytes);
    }
    cursor = entry.end;
    if (!index_.emplace(entry.name, index_.size()).second) {
      user_error("'{}': tensor '{}' is listed twice", path(), entry.name);
    }
  }
  if (cursor != data_bytes) {
    user_error("'{}': {} bytes after the last tensor belong to none", path(), data_bytes - cursor);
  }
}

const SafetensorsReader::Entry* SafetensorsReader::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

TensorView SafetensorsReader::view(const std::string& name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) user_error("'{}' has no tensor '{}'", path(), name);
  if (!entry->dtype) {
    user_error("'{}': tensor '{}' has dtype {}, which is not supported", path(), name, entry->dtype_text);
  }
  return {*entry->dtype, entry->shape, data_ + entry->begin};
}

TensorView SafetensorsReader::view(const std::string& name, DType dtype, const std::vector<int64_t>& shape) const {
  TensorView result = view(name);
  if (result.dtype != dtype || result.shape != shape) {
    user_error("'{}': tensor '{}' is {} [{}], expected {} [{}]", path(), name, dtype_name(result.dtype),
               fmt::join(result.shape, ", "), dtype_name(dtype), fmt::join(shape, ", "));
  }
  return result;
}

}  // namespace sy
