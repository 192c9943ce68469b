#include "csrc/models/weights.h"

#include <cstring>
#include <set>

namespace sy {

namespace {

// Element i of a file tensor, widened to double; files of other writers may be unaligned.
double element(const TensorView& view, int64_t i) {
  const auto* bytes = static_cast<const std::byte*>(view.data) + i * dtype_bytes(view.dtype);
  return dispatch_float(view.dtype, [&]<class T>() {
    T value;
    std::memcpy(&value, bytes, sizeof(T));
    return static_cast<double>(value);
  });
}

bool is_float(DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f64; }

TensorView find_view(const SafetensorsReader& file, const std::string& name, const Shape& shape) {
  if (file.find(name) == nullptr) user_error("'{}' lacks the tensor '{}'", file.path(), name);
  const TensorView view = file.view(name);
  if (view.shape != shape || !is_float(view.dtype))
    user_error("'{}': tensor '{}' is {} {}, the model needs a floating-point {}", file.path(), name,
               dtype_name(view.dtype), shape_string(view.shape), shape_string(shape));
  return view;
}

}  // namespace

void load_weights(Context& ctx, Decoder& decoder, const SafetensorsReader& file, const NameInFile& name_in_file,
                  const std::function<bool(const std::string&)>& expected_in_file) {
  std::set<std::string> used;
  // A rank of a mesh holds some of the tensors, but all have a place in the model.
  Context meta(DeviceType::meta);
  Decoder whole(meta, decoder.config(), decoder.moe_config(), decoder.options());
  std::set<std::string> places;
  const auto named = [&](const std::string& name) {
    const std::string in_file = name_in_file ? name_in_file(name) : name;
    if (!used.insert(in_file).second) throw Error(fmt::format("tensor '{}' was read twice", in_file));
    return in_file;
  };
  for (Parameter& p : decoder.parameters().all()) {
    dispatch_accumulation(accumulation_dtype(p.value.dtype()), [&]<class A>() {
      std::vector<A> values(static_cast<std::size_t>(p.value.count()), A(0));
      for (const ParameterPart& part : p.parts) {
        const TensorView view = find_view(file, named(part.name), part.shape);
        for (int64_t row = 0; row < part.rows(); ++row) {
          A* to = values.data() + part.offset + row * part.columns();
          const int64_t first = part.row_start(row);
          for (int64_t i = 0; i < part.columns(); ++i) to[i] = static_cast<A>(element(view, first + i));
        }
      }
      decoder.parameters().set_exact(p, values.data());
    });
  }
  for (const moe::StateTensor& s : decoder.state()) {
    const std::string name = name_in_file ? name_in_file(s.name) : s.name;
    if (file.find(name) == nullptr) continue;
    if (!is_float(s.tensor.dtype())) {
      const TensorView table = file.view(named(s.name), s.tensor.dtype(), s.tensor.shape());
      std::vector<std::byte> bytes(static_cast<std::size_t>(s.tensor.bytes()));
      std::memcpy(bytes.data(), table.data, bytes.size());
      ctx.copy_from_host(s.tensor, bytes.data());
      continue;
    }
    const TensorView view = find_view(file, named(s.name), s.tensor.shape());
    dispatch_accumulation(s.tensor.dtype(), [&]<class A>() {
      std::vector<A> values(static_cast<std::size_t>(s.tensor.count()));
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<A>(element(view, static_cast<int64_t>(i)));
      ctx.copy_from_host(s.tensor, values.data());
    });
  }
  for (const Parameter& p : whole.parameters().all())
    for (const ParameterPart& part : p.parts) places.insert(name_in_file ? name_in_file(part.name) : part.name);
  used.merge(places);
  for (const auto& entry : file.entries())
    if (!used.contains(entry.name) && (!expected_in_file || expected_in_file(entry.name)))
      user_error("'{}': tensor '{}' has no place in this model", file.path(), entry.name);
}

}  // namespace sy
