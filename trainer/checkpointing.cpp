#include "trainer/checkpointing.h"

#include "parallel/mesh.h"

namespace sy {

namespace {

const std::vector<std::string> kMomentPrefixes = {"optimizer.m.", "optimizer.v."};

CheckpointTensor tensor_of(const std::string& prefix, const Parameter& p, const ParameterPart& part) {
  // Values and moments are stored in the accumulation type, whether or not this process keeps masters.
  return {prefix + part.name, "", accumulation_dtype(p.value.dtype()), part.shape};
}

const std::string kStatePrefix = "state.";

CheckpointTensor tensor_of(const moe::StateTensor& state) {
  return {kStatePrefix + state.name, "", state.tensor.dtype(), state.tensor.shape()};
}

// The bytes of a tensor on the host: the tensor itself on the CPU, a copy otherwise.
const std::byte* host_bytes(Context& ctx, const Tensor& t, std::vector<std::vector<std::byte>>& copies) {
  if (ctx.device() == DeviceType::cpu) return static_cast<const std::byte*>(t.raw());
  copies.emplace_back(static_cast<std::size_t>(t.bytes()));
  ctx.copy_to_host(copies.back().data(), t);
  return copies.back().data();
}

CheckpointRanks checkpoint_ranks(Comm& comm) {
  CheckpointRanks ranks;
  ranks.rank = comm.rank();
  ranks.size = comm.size();
  ranks.gather_to_root = [&comm](const std::string& text) { return comm.gather_strings(text, 0); };
  ranks.broadcast_from_root = [&comm](const std::string& text) { return comm.broadcast_string(text, 0); };
  return ranks;
}

// Of the whole model, whatever this rank holds of it: parameters under each prefix, then state.
std::vector<CheckpointTensor> tensors_of(Decoder& decoder, const std::vector<std::string>& prefixes,
                                         bool in_model_only) {
  Context meta(DeviceType::meta);
  Decoder whole(meta, decoder.config(), decoder.moe_config(), decoder.options());
  std::vector<CheckpointTensor> all;
  for (const Parameter& p : whole.parameters().all())
    for (const ParameterPart& part : p.parts)
      for (const std::string& prefix : prefixes) all.push_back(tensor_of(prefix, p, part));
  for (const moe::StateTensor& s : whole.state())
    if (s.in_model || !in_model_only) all.push_back(tensor_of(s));
  return all;
}

void load_state(Context& ctx, Decoder& decoder, const CheckpointReader& reader, bool in_model) {
  for (const moe::StateTensor& s : decoder.state()) {
    if (s.in_model != in_model) continue;
    std::vector<std::byte> bytes(static_cast<std::size_t>(s.tensor.bytes()));
    reader.read_box(kStatePrefix + s.name, "", Box::whole(s.tensor.shape()), bytes.data());
    ctx.copy_from_host(s.tensor, bytes.data());
  }
}

}  // namespace

std::vector<CheckpointTensor> checkpoint_tensors(Decoder& decoder) {
  return tensors_of(decoder, {"", kMomentPrefixes[0], kMomentPrefixes[1]}, /*in_model_only=*/false);
}

std::vector<CheckpointTensor> model_tensors(Decoder& decoder) {
  return tensors_of(decoder, {""}, /*in_model_only=*/true);
}

std::string name_in_model(const std::string& name) {
  return name.starts_with(kStatePrefix) ? name.substr(kStatePrefix.size()) : name;
}

Config config_of(const CheckpointReader& reader) {
  return parse_config(reader.state().config_text, reader.directory() + "/state.json", {}, /*num_ranks=*/0);
}

bool is_weights_only(const CheckpointReader& reader) {
  for (const CheckpointTensor& t : reader.tensors())
    for (const std::string& prefix : kMomentPrefixes)
      if (t.name.starts_with(prefix)) return false;
  return true;
}

void require_model(const CheckpointReader& reader, Decoder& decoder) {
  reader.require_tensors(is_weights_only(reader) ? model_tensors(decoder) : checkpoint_tensors(decoder));
}

std::string save_checkpoint(Context& ctx, Decoder& decoder, Optimizer& optimizer, const std::string& folder,
                            const CheckpointState& state, int64_t keep_last) {
  std::vector<std::vector<std::byte>> copies;
  std::vector<PieceView> pieces;
  auto moments = optimizer.moments().begin();
  for (const ParameterBucket& bucket : decoder.parameters().buckets()) {
    const auto& [m, v] = *moments++;
    if (!bucket.counts) continue;
    const std::vector<OwnedPart> owned = ParameterList::owned_parts(bucket);
    const auto add = [&](const std::string& prefix, const Tensor& share) {
      const std::byte* bytes = host_bytes(ctx, share, copies);
      for (const OwnedPart& piece : owned)
        pieces.push_back({tensor_of(prefix, *piece.parameter, *piece.part), piece.region,
                          bytes + piece.share * dtype_bytes(share.dtype())});
    };
    add("", ParameterList::exact_share(bucket));
    add(kMomentPrefixes[0], m);
    add(kMomentPrefixes[1], v);
  }
  if (ctx.mesh == nullptr || ctx.mesh->world().rank() == 0)
    for (const moe::StateTensor& s : decoder.state())
      pieces.push_back({tensor_of(s), Region::whole(Box::whole(s.tensor.shape())), host_bytes(ctx, s.tensor, copies)});
  const CheckpointRanks ranks = ctx.mesh == nullptr ? CheckpointRanks() : checkpoint_ranks(ctx.mesh->world());
  return write_checkpoint(folder, state, pieces, {}, ranks, keep_last);
}

void load_model(Context& ctx, Decoder& decoder, const CheckpointReader& reader) {
  for (Parameter& p : decoder.parameters().all()) {
    const int64_t element = dtype_bytes(accumulation_dtype(p.value.dtype()));
    // Padding rows, which no part covers, stay zero.
    std::vector<std::byte> values(static_cast<std::size_t>(p.value.count() * element));
    for (const ParameterPart& part : p.parts)
      reader.read_box(part.name, "", part.box, values.data() + part.offset * element);
    decoder.parameters().set_exact(p, values.data());
  }
  load_state(ctx, decoder, reader, /*in_model=*/true);
}

void load_checkpoint(Context& ctx, Decoder& decoder, Optimizer* optimizer, const CheckpointReader& reader) {
  const bool weights_only = is_weights_only(reader);
  if (optimizer != nullptr && weights_only)
    user_error(
        "checkpoint '{}' holds weights only, so no run can continue from it; start one from it with "
        "checkpoint.pretrained_checkpoint",
        reader.directory());
  require_model(reader, decoder);
  load_model(ctx, decoder, reader);
  if (optimizer != nullptr) {
    auto moments = optimizer->moments().begin();
    for (const ParameterBucket& bucket : decoder.parameters().buckets()) {
      const auto& [m, v] = *moments++;
      const std::vector<OwnedPart> owned = ParameterList::owned_parts(bucket);
      const auto read = [&](const std::string& prefix, const Tensor& share) {
        std::vector<std::byte> values(static_cast<std::size_t>(share.bytes()));
        for (const OwnedPart& piece : owned)
          reader.read_region(prefix + piece.part->name, "", piece.region,
                             values.data() + piece.share * dtype_bytes(share.dtype()));
        ctx.copy_from_host(share, values.data());
      };
      read(kMomentPrefixes[0], m);
      read(kMomentPrefixes[1], v);
    }
  }
  if (!weights_only) load_state(ctx, decoder, reader, /*in_model=*/false);
}

}  // namespace sy
