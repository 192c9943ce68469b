#include "csrc/io/gguf.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "csrc/core/check.h"

namespace sy {

namespace {

using Json = nlohmann::json;

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kList, kU64, kI64, kF64 };
constexpr uint64_t kLeastBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};  // of a value in the file, by type
constexpr int kDeepestList = 4;
constexpr int kMostDimensions = 4;

// Reads the header from front to back; never past the end.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return static_cast<uint64_t>(file_.num_bytes()) - position_; }
  const std::byte* take(uint64_t bytes, const std::string& what) {
    if (bytes > left())
      user_error("'{}' is truncated: {} at byte {} takes {} bytes, the file has {}", file_.path(), what, position_,
                 bytes, file_.num_bytes());
    const std::byte* at = file_.data() + position_;
    position_ += bytes;
    return at;
  }
  template <class T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }
  std::string text(const std::string& what) {
    const auto bytes = number<uint64_t>(what);
    return {reinterpret_cast<const char*>(take(bytes, what)), bytes};
  }
  Json value(uint32_t type, const std::string& key, int depth = 0) {
    switch (type) {
      case kU8:
        return number<uint8_t>(key);
      case kI8:
        return number<int8_t>(key);
      case kU16:
        return number<uint16_t>(key);
      case kI16:
        return number<int16_t>(key);
      case kU32:
        return number<uint32_t>(key);
      case kI32:
        return number<int32_t>(key);
      case kF32:
        return number<float>(key);
      case kBool:
        return number<uint8_t>(key) != 0;
      case kText:
        return text(key);
      case kU64:
        return number<uint64_t>(key);
      case kI64:
        return number<int64_t>(key);
      case kF64:
        return number<double>(key);
      case kList:
        return list(key, depth);
      default:
        user_error("'{}': metadata {} has the unknown type {}", file_.path(), key, type);
    }
  }

 private:
  Json list(const std::string& key, int depth) {
    const auto type = number<uint32_t>(key);
    const auto count = number<uint64_t>(key);
    if (type > kF64 || depth == kDeepestList)
      user_error("'{}': metadata {} is a list of the unknown type {}, or too deep", file_.path(), key, type);
    // Before memory is taken for them.
    if (count > left() / kLeastBytes[type])
      user_error("'{}' is truncated: metadata {} has {} values, more than the file holds", file_.path(), key, count);
    Json values = Json::array();
    for (uint64_t i = 0; i < count; ++i) values.push_back(value(type, key, depth + 1));
    return values;
  }

  const MappedFile& file_;
  uint64_t position_ = 0;
};

uint64_t alignment_of(const Json& metadata, const std::string& path) {
  const Json value = metadata.value("general.alignment", Json(32));
  if (!value.is_number_integer() || value < 8 || value > 1 << 20 || value.get<uint64_t>() % 8 != 0)
    user_error("'{}': general.alignment is {}, not a multiple of 8", path,
               value.is_number() ? value.dump() : "no number");
  return value.get<uint64_t>();
}

}  // namespace

GgufFile::GgufFile(const std::string& path) : file_(path), metadata_(Json::object()) {
  Cursor in(file_);
  if (in.left() < 4 || std::memcmp(in.take(4, "magic"), "GGUF", 4) != 0) user_error("'{}' is not a GGUF file", path);
  const auto version = in.number<uint32_t>("the version");
  if (version != 2 && version != 3)
    user_error("'{}' is GGUF of version {}{}; 2 and 3 are supported", path, version,
               version % 65536 == 0 ? " (or big-endian)" : "");
  const auto num_tensors = in.number<uint64_t>("the number of tensors");
  const auto num_entries = in.number<uint64_t>("the number of metadata entries");
  for (uint64_t i = 0; i < num_entries; ++i) {
    const std::string key = in.text(fmt::format("metadata entry {} of {}", i, num_entries));
    const auto type = in.number<uint32_t>("metadata " + key);
    if (metadata_.contains(key)) user_error("'{}': metadata {} is listed twice", path, key);
    metadata_[key] = in.value(type, key);
  }
  std::set<std::string> names;
  for (uint64_t i = 0; i < num_tensors; ++i) {
    const std::string place = fmt::format("tensor {} of {}", i, num_tensors);
    const std::string name = in.text(place);
    if (!names.insert(name).second) user_error("'{}': tensor '{}' is listed twice", path, name);
    const auto num_dims = in.number<uint32_t>(place);
    if (num_dims > kMostDimensions) user_error("'{}': tensor '{}' has {} dimensions", path, name, num_dims);
    SourceTensor tensor{name, DType::f32, {}};
    uint64_t elements = 1;
    for (uint32_t d = 0; d < num_dims; ++d) {
      const auto dim = in.number<uint64_t>(place);
      // 2^50 elements are no file's; the product cannot overflow then.
      if (dim > uint64_t{1} << 50 || (dim != 0 && elements > (uint64_t{1} << 50) / dim))
        user_error("'{}': tensor '{}' has an impossible size, {} in dimension {}", path, name, dim, d);
      elements *= dim;
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dim));
    }
    const auto type_id = in.number<uint32_t>(place);
    const GgufType* type = find_gguf_type(type_id);
    if (type == nullptr)
      user_error("'{}': tensor '{}' has the type {}, which is not supported; {} are", path, name,
                 gguf_type_name(type_id), supported_gguf_types());
    const auto block = static_cast<uint64_t>(type->block_elements);
    if ((tensor.shape.empty() ? 1 : tensor.shape.back()) % type->block_elements != 0)
      user_error("'{}': the rows of tensor '{}' are {} elements, no multiple of the {} in a block of {}", path, name,
                 tensor.shape.empty() ? 1 : tensor.shape.back(), block, type->name);
    tensor.dtype = type->dtype;
    places_.push_back({type, in.number<uint64_t>(place), elements / block * static_cast<uint64_t>(type->block_bytes)});
    tensors_.push_back(std::move(tensor));
  }
  check_layout(in.position(), alignment_of(metadata_, path));
}

void GgufFile::check_layout(uint64_t header_bytes, uint64_t alignment) {
  const auto file_bytes = static_cast<uint64_t>(file_.num_bytes());
  const uint64_t data_begin = (header_bytes + alignment - 1) / alignment * alignment;
  const uint64_t data_bytes = data_begin < file_bytes ? file_bytes - data_begin : 0;
  std::vector<size_t> order(places_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return places_[a].offset < places_[b].offset; });
  uint64_t end = 0;
  for (const size_t i : order) {
    const auto& [type, offset, bytes] = places_[i];
    if (offset % alignment != 0)
      user_error("'{}': tensor '{}' begins at byte {} of the data, no multiple of {}", path(), tensors_[i].name, offset,
                 alignment);
    if (offset > data_bytes || bytes > data_bytes - offset)
      user_error("'{}' is truncated or damaged: tensor '{}' takes {} bytes from byte {} of {} bytes of data", path(),
                 tensors_[i].name, bytes, offset, data_bytes);
    if (offset < end)
      user_error("'{}': tensor '{}' overlaps the one before it, at byte {} of the data", path(), tensors_[i].name,
                 offset);
    end = offset + bytes;
  }
  data_ = file_.data() + std::min(data_begin, file_bytes);
}

void GgufFile::read(size_t i, void* dst) const {
  const auto& [type, offset, bytes] = places_.at(i);
  dequantise(*type, data_ + offset, static_cast<int64_t>(bytes) / type->block_bytes, dst);
}

}  // namespace sy
