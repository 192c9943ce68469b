#include "csrc/nn/parameter.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"
#include "parallel/mesh.h"

namespace sy {

int64_t ParameterPart::row_start(int64_t row) const {
  int64_t index = box.start.back(), stride = shape.back();
  for (std::size_t d = shape.size() - 1; d-- > 0;) {
    index += (box.start[d] + row % box.extent[d]) * stride;
    row /= box.extent[d];
    stride *= shape[d];
  }
  return index;
}

Sharing between_sharing(const Context& ctx) {
  const bool own_tokens = ctx.mesh == nullptr || ctx.mesh->tensor().size() == 1 || ctx.mesh->sizes().sequence_parallel;
  return own_tokens ? Sharing::kTensorPartial : Sharing::kTensorReplicated;
}

Parameter& ParameterList::add(std::string name, Shape shape, InitSpec init, Sharing sharing, bool keep_exact) {
  SY_CHECK(find(name) == nullptr, "two parameters are named '{}'", name);
  SY_CHECK(buckets_.empty(), "parameter '{}' comes after the training buffers", name);
  Parameter& p = parameters_.emplace_back();
  p.name = std::move(name);
  p.init = init;
  p.sharing = sharing;
  p.value = ctx_.empty(std::move(shape), keep_exact ? accumulation_dtype(dtype_) : dtype_, MemoryKind::parameters);
  p.decay = p.value.shape().size() >= 2;
  p.parts = {{p.name, p.value.shape(), Box::whole(p.value.shape())}};
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
  const Philox stream = Philox::keyed(seed, name_hash(part.name), 0, 0, RngPurpose::kInit);
  const int64_t columns = part.columns(), rows = part.rows();
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t first = part.row_start(row);
    A* to = values.data() + part.offset + row * columns;
    for (int64_t i = 0; i < columns; ++i) to[i] = static_cast<A>(draw(stream, first + i, p.init));
  }
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

namespace {

// The ranks that hold what this rank holds of a parameter; replicas: other ranks hold copies that are not reduced with
// these, so that only one copy counts. Alike on all ranks of the mesh, so that their buckets are.
struct Holders {
  Comm* ranks;
  bool replicas;
  bool operator==(const Holders&) const = default;
};

Holders holders(const Mesh* mesh, Sharing sharing) {
  if (mesh == nullptr) return {nullptr, false};
  const auto of = [](Comm& comm) { return comm.size() > 1 ? &comm : nullptr; };
  switch (sharing) {
    case Sharing::kTensorSharded:
      return {of(mesh->data()), false};
    case Sharing::kTensorPartial:
      return {of(mesh->world()), false};
    case Sharing::kTensorReplicated:
      return {of(mesh->data()), mesh->tensor().size() > 1};
    case Sharing::kKeyValue:
      return {of(mesh->key_value()), false};
    case Sharing::kExpert:
      return {of(mesh->expert_data()), false};
  }
  return {nullptr, false};
}

// Parameters start at multiples of this many elements: whole cache lines for every type.
constexpr int64_t kAlignment = 64;

int64_t round_up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

}  // namespace

void ParameterList::make_training_buffers(int64_t bucket_elements) {
  if (!buckets_.empty()) return;
  // The bucket that a kind of parameter still fills.
  struct Open {
    Holders holders;
    DType dtype;
    ParameterBucket* bucket;
  };
  std::vector<Open> open;
  for (Parameter& p : parameters_) {
    const Holders h = holders(ctx_.mesh, p.sharing);
    auto it = std::find_if(open.begin(), open.end(),
                           [&](const Open& o) { return o.holders == h && o.dtype == p.value.dtype(); });
    if (it == open.end()) it = open.insert(it, {h, p.value.dtype(), nullptr});
    if (it->bucket == nullptr || it->bucket->count >= bucket_elements) {
      it->bucket = &buckets_.emplace_back();
      it->bucket->ranks = h.ranks;
      it->bucket->counts = !h.replicas || ctx_.mesh->tensor_rank() == 0;
    }
    p.bucket = it->bucket;
    p.bucket_begin = p.bucket->count;
    p.bucket->count = round_up(p.bucket->count + p.value.count(), kAlignment);
    p.bucket->parameters.push_back(&p);
  }
  int64_t number = 0;
  for (ParameterBucket& b : buckets_) {
    b.number = number++;
    const int64_t ranks = b.ranks != nullptr ? b.ranks->size() : 1;
    b.count = round_up(b.count, kAlignment * ranks);
    b.share_count = b.count / ranks;
    b.share_begin = b.share_count * (b.ranks != nullptr ? b.ranks->rank() : 0);
    const DType type = b.parameters.front()->value.dtype();
    b.value = ctx_.zeros({b.count}, type, MemoryKind::parameters);
    b.grad = ctx_.zeros({b.count}, accumulation_dtype(type), MemoryKind::gradients);
    if (type == DType::bf16) b.master = ctx_.zeros({b.share_count}, DType::f32, MemoryKind::masters);
    for (Parameter* p : b.parameters) {
      const Shape shape = p->value.shape();
      const int64_t end = p->bucket_begin + p->value.count();
      const Tensor place = b.value.slice(p->bucket_begin, end).reshape(shape);
      ctx_.copy(place, p->value);
      p->value = place;
      p->grad = b.grad.slice(p->bucket_begin, end).reshape(shape);
    }
  }
}

std::vector<OwnedRange> ParameterList::owned(const ParameterBucket& b) {
  std::vector<OwnedRange> ranges;
  const int64_t share_end = b.share_begin + b.share_count;
  for (Parameter* p : b.parameters) {
    const int64_t begin = std::max(p->bucket_begin, b.share_begin);
    const int64_t end = std::min(p->bucket_begin + p->value.count(), share_end);
    if (begin < end) ranges.push_back({p, begin - p->bucket_begin, begin - b.share_begin, end - begin});
  }
  return ranges;
}

std::vector<OwnedPart> ParameterList::owned_parts(const ParameterBucket& b) {
  std::vector<OwnedPart> parts;
  for (const OwnedRange& own : owned(b))
    for (const ParameterPart& part : own.parameter->parts) {
      const int64_t begin = std::max(own.begin, part.offset);
      const int64_t end = std::min(own.begin + own.count, part.offset + part.box.count());
      if (begin < end)
        parts.push_back({own.parameter, &part, Region{part.box, begin - part.offset, end - part.offset},
                         own.share + begin - own.begin});
    }
  return parts;
}

void ParameterList::zero_gradients() {
  for (const ParameterBucket& b : buckets_) ctx_.set_zero(b.grad);
}

void ParameterList::await(int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) {
    ParameterBucket* bucket = parameters_[static_cast<std::size_t>(i)].bucket;
    if (bucket != nullptr) bucket->gathering.wait();
  }
}

void ParameterList::set_exact(Parameter& p, const void* values) {
  if (ctx_.device() == DeviceType::meta) return;
  if (p.bucket != nullptr) p.bucket->gathering.wait();
  if (p.value.dtype() != DType::bf16) {
    ctx_.copy_from_host(p.value, values);
    return;
  }
  const auto* exact = static_cast<const float*>(values);
  std::vector<bf16> rounded(static_cast<std::size_t>(p.value.count()));
  for (std::size_t i = 0; i < rounded.size(); ++i) rounded[i] = bf16(exact[i]);
  ctx_.copy_from_host(p.value, rounded.data());
  if (p.bucket == nullptr) return;
  for (const OwnedRange& r : owned(*p.bucket))
    if (r.parameter == &p) ctx_.copy_from_host(p.bucket->master.slice(r.share, r.share + r.count), exact + r.begin);
}

Tensor ParameterList::exact_share(const ParameterBucket& b) { return b.master.defined() ? b.master : b.share(b.value); }

}  // namespace sy
