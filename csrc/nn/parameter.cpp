#include "csrc/nn/parameter.h"

#include <cmath>

#include "kernels/philox.h"

namespace sy {

Parameter& ParameterList::add(std::string name, Shape shape, InitSpec init, bool keep_exact) {
  SY_CHECK(find(name) == nullptr, "two parameters are named '{}'", name);
  Parameter& p = parameters_.emplace_back();
  p.name = std::move(name);
  p.init = init;
  p.value = ctx_.empty(std::move(shape), keep_exact ? accumulation_dtype(dtype_) : dtype_, MemoryKind::parameters);
  p.decay = p.value.shape().size() >= 2;
  p.parts = {{p.name, -1, 0, p.value.dim(0), p.value.shape()}};
  return p;
}

Parameter* ParameterList::find(const std::string& name) {
  for (Parameter& p : parameters_)
    if (p.name == name) return &p;
  return nullptr;
}

int64_t ParameterList::count() const {
  int64_t total = 0;
  for (const Parameter& p : parameters_) total += p.value.count();
  return total;
}

namespace {

// FNV-1a: names one random stream per parameter part.
uint64_t name_hash(const std::string& name) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

double draw(const Philox& stream, int64_t index, const InitSpec& init) {
  const auto counter = static_cast<uint64_t>(index);
  if (init.kind == InitKind::kNormal) return init.stddev * stream.normal(counter);
  // Truncated at two standard deviations: redraw from far-away counters, at most a few times in expectation.
  for (uint64_t attempt = 0;; ++attempt) {
    const double z = stream.normal(counter + (attempt << 56));
    if (std::abs(z) <= 2.0) return init.stddev * z;
  }
}

template <class A>
void fill_part(std::vector<A>& values, const Parameter& p, const ParameterPart& part, uint64_t seed) {
  const Shape& shape = p.value.shape();
  const int64_t columns = shape_count(part.shape) / std::max<int64_t>(part.rows, 1);
  const int64_t first = part.expert >= 0 ? (part.expert * shape[1] + part.row_begin) * columns : part.row_begin * columns;
  const Philox stream = Philox::keyed(seed, name_hash(part.name), 0, 0, RngPurpose::kInit);
  const int64_t count = part.rows * columns;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i) values[static_cast<std::size_t>(first + i)] = static_cast<A>(draw(stream, i, p.init));
}

}  // namespace

void ParameterList::initialise(uint64_t seed) {
  if (ctx_.device() == DeviceType::meta) return;
  for (Parameter& p : parameters_) {
    dispatch_accumulation(accumulation_dtype(p.value.dtype()), [&]<class A>() {
      std::vector<A> values(static_cast<std::size_t>(p.value.count()), p.init.kind == InitKind::kOnes ? A(1) : A(0));
      if (p.init.kind == InitKind::kNormal || p.init.kind == InitKind::kTruncatedNormal)
        for (const ParameterPart& part : p.parts) fill_part(values, p, part, seed);
      set_exact(p, values.data());
    });
  }
}

void ParameterList::set_exact(Parameter& p, const void* values) {
  if (ctx_.device() == DeviceType::meta) return;
  if (p.master.defined()) ctx_.copy_from_host(p.master, values);
  if (p.value.dtype() != DType::bf16) {
    ctx_.copy_from_host(p.value, values);
    return;
  }
  const auto* exact = static_cast<const float*>(values);
  std::vector<bf16> rounded(static_cast<std::size_t>(p.value.count()));
  for (std::size_t i = 0; i < rounded.size(); ++i) rounded[i] = bf16(exact[i]);
  ctx_.copy_from_host(p.value, rounded.data());
}

void ParameterList::make_masters() {
  for (Parameter& p : parameters_)
    if (p.value.dtype() == DType::bf16 && !p.master.defined())
      p.master = ctx_.empty(p.value.shape(), DType::f32, MemoryKind::masters);
}

void ParameterList::make_gradients() {
  if (gradients_.defined()) return;
  const DType accumulation = accumulation_dtype(dtype_);
  gradients_ = ctx_.zeros({count()}, accumulation, MemoryKind::gradients);
  int64_t offset = 0;
  for (Parameter& p : parameters_) {
    p.grad = gradients_.slice(offset, offset + p.value.count()).reshape(p.value.shape());
    offset += p.value.count();
  }
}

void ParameterList::zero_gradients() { ctx_.set_zero(gradients_); }

}  // namespace sy
