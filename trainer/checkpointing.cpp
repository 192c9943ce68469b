#include "trainer/checkpointing.h"

#include <cstring>
#include <functional>

namespace sy {

namespace {

// The file part of a parameter and where its elements lie in the whole: parts are contiguous runs.
struct Run {
  const ParameterPart* part;
  int64_t begin, count;
};

std::vector<Run> runs(const Parameter& p) {
  const Shape& shape = p.value.shape();
  std::vector<Run> all;
  for (const ParameterPart& part : p.parts) {
    const int64_t count = shape_count(part.shape);
    const int64_t columns = part.rows == 0 ? 0 : count / part.rows;
    const int64_t first_row = part.expert >= 0 ? part.expert * shape[1] + part.row_begin : part.row_begin;
    all.push_back({&part, first_row * columns, count});
  }
  return all;
}

struct Entry {
  std::string prefix;  // of the tensor's name in the checkpoint
  Parameter* parameter;
  Tensor tensor;  // undefined: stored, but not wanted
  // Values and moments are stored in the accumulation type, whether or not this process keeps masters.
  DType dtype() const { return accumulation_dtype(parameter->value.dtype()); }
};

std::vector<Entry> entries(Decoder& decoder, Optimizer* optimizer) {
  std::vector<Entry> all;
  for (Parameter& p : decoder.parameters().all()) all.push_back({"", &p, ParameterList::exact(p)});
  std::size_t index = 0;
  for (Parameter& p : decoder.parameters().all()) {
    const auto* mv = optimizer != nullptr ? &optimizer->moments()[index++] : nullptr;
    all.push_back({"optimizer.m.", &p, mv != nullptr ? mv->m : Tensor()});
    all.push_back({"optimizer.v.", &p, mv != nullptr ? mv->v : Tensor()});
  }
  return all;
}

CheckpointTensor tensor_of(const Entry& entry, const ParameterPart& part) {
  return {entry.prefix + entry.parameter->name, part.name, entry.dtype(), part.shape};
}

CheckpointTensor tensor_of(const moe::StateTensor& state) {
  return {"state." + state.name, "", state.tensor.dtype(), state.tensor.shape()};
}

// The bytes of a tensor on the host: the tensor itself on the CPU, a copy otherwise.
const std::byte* host_bytes(Context& ctx, const Tensor& t, std::vector<std::vector<std::byte>>& copies) {
  if (ctx.device() == DeviceType::cpu) return static_cast<const std::byte*>(t.raw());
  copies.emplace_back(static_cast<std::size_t>(t.bytes()));
  ctx.copy_to_host(copies.back().data(), t);
  return copies.back().data();
}

}  // namespace

CheckpointRanks checkpoint_ranks(Comm& comm) {
  CheckpointRanks ranks;
  ranks.rank = comm.rank();
  ranks.size = comm.size();
  ranks.gather_to_root = [&comm](const std::string& text) { return comm.gather_strings(text, 0); };
  ranks.broadcast_from_root = [&comm](const std::string& text) { return comm.broadcast_string(text, 0); };
  return ranks;
}

std::string save_checkpoint(Context& ctx, Decoder& decoder, Optimizer& optimizer, Comm& comm, const std::string& folder,
                            const CheckpointState& state, int64_t keep_last) {
  std::vector<std::vector<std::byte>> copies;
  std::vector<PieceView> pieces;
  int64_t index = 0;
  for (const Entry& entry : entries(decoder, &optimizer)) {
    if (index++ % comm.size() != comm.rank()) continue;
    const std::byte* bytes = host_bytes(ctx, entry.tensor, copies);
    for (const Run& run : runs(*entry.parameter))
      pieces.push_back({tensor_of(entry, *run.part), Region::whole(Box::whole(run.part->shape)),
                        bytes + run.begin * dtype_bytes(entry.tensor.dtype())});
  }
  if (comm.rank() == 0)
    for (const moe::StateTensor& s : decoder.state())
      pieces.push_back({tensor_of(s), Region::whole(Box::whole(s.tensor.shape())), host_bytes(ctx, s.tensor, copies)});
  return write_checkpoint(folder, state, pieces, {}, checkpoint_ranks(comm), keep_last);
}

void load_checkpoint(Context& ctx, Decoder& decoder, Optimizer* optimizer, const CheckpointReader& reader) {
  const std::vector<Entry> stored = entries(decoder, optimizer);
  std::vector<CheckpointTensor> expected;
  for (const Entry& entry : stored)
    for (const ParameterPart& part : entry.parameter->parts) expected.push_back(tensor_of(entry, part));
  for (const moe::StateTensor& s : decoder.state()) expected.push_back(tensor_of(s));
  reader.require_tensors(expected);

  for (const Entry& entry : stored) {
    if (!entry.tensor.defined()) continue;
    const int64_t element = dtype_bytes(entry.dtype());
    // Padding rows, which no part covers, stay zero.
    std::vector<std::byte> whole(static_cast<std::size_t>(entry.parameter->value.count() * element));
    for (const Run& run : runs(*entry.parameter))
      reader.read_box(entry.prefix + entry.parameter->name, run.part->name, Box::whole(run.part->shape),
                      whole.data() + run.begin * element);
    if (entry.prefix.empty()) decoder.parameters().set_exact(*entry.parameter, whole.data());
    else ctx.copy_from_host(entry.tensor, whole.data());
  }
  for (const moe::StateTensor& s : decoder.state()) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(s.tensor.bytes()));
    reader.read_box("state." + s.name, "", Box::whole(s.tensor.shape()), bytes.data());
    ctx.copy_from_host(s.tensor, bytes.data());
  }
}

}  // namespace sy
