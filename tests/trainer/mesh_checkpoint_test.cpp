// Checkpoints between meshes: what one mesh saves, any other loads to the bit, masters and moments included; the same
// mesh goes on as if it had never stopped; a checkpoint with a piece missing or stored twice is refused.
//
// Meshes of fewer ranks than the world's use its first ranks; the others wait.
#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include "tests/trainer/rank_groups.h"
#include "tests/trainer/toy_run.h"
#include "trainer/checkpointing.h"
#include "trainer/hub_export.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;

// 12 heads, 6 key-value heads, 12 experts of width 12, 37 of 48 vocabulary rows: what TP 2, 3, 4 and 6 divide evenly,
// unevenly (vocabulary), or hold copies of (key-value heads). Selection bias and lagged counts are router state.
Config mesh_config(const MeshSizes& mesh, const Overrides& more) {
  Overrides all = {"model.hidden_size=72",
                   "model.intermediate_size=24",
                   "model.num_attention_heads=12",
                   "model.num_key_value_heads=6",
                   "moe.num_experts=12",
                   "moe.moe_intermediate_size=12",
                   "moe.router={type: sigmoid_topk}",
                   "moe.hooks=[{type: selection_bias, update_rate: 0.05}]",
                   "moe.balance=[{type: load_balancing, coefficient: 0.1, scope: global_batch_lagged}]",
                   "train.micro_batch_size=1",
                   "train.global_batch_size=12",
                   fmt::format("parallel.tensor_model_parallel_size={}", mesh.tensor),
                   fmt::format("parallel.expert_model_parallel_size={}", mesh.expert),
                   fmt::format("parallel.expert_tensor_parallel_size={}", mesh.expert_tensor)};
  if (mesh.tensor > 1) all.push_back(fmt::format("parallel.sequence_parallel={}", mesh.sequence_parallel));
  all.insert(all.end(), more.begin(), more.end());
  return toy_config(all, mesh.ranks);
}

std::string save(ToyRun& toy, const std::string& folder, int64_t step) {
  CheckpointState state;
  state.step = step;
  state.config_text = print_config(toy.config());
  return save_checkpoint(toy.ctx(), toy.decoder(), toy.optimizer(), folder, state, 0);
}

std::vector<std::byte> whole_bytes(const CheckpointReader& reader, const CheckpointTensor& t) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(element_count(t.shape) * dtype_bytes(t.dtype)));
  reader.read_box(t.name, t.part, Box::whole(t.shape), bytes.data());
  return bytes;
}

void expect_same_checkpoint(const CheckpointReader& got, const CheckpointReader& want) {
  EXPECT_EQ(got.tensors().size(), want.tensors().size());
  got.require_tensors(want.tensors());
  for (const CheckpointTensor& t : want.tensors()) EXPECT_EQ(whole_bytes(got, t), whole_bytes(want, t)) << t.name;
}

// The comparison of bits would prove little if there were none to lose.
void expect_trained_state(const CheckpointReader& reader, bool has_masters) {
  int64_t below_bf16 = 0;
  for (const CheckpointTensor& t : reader.tensors()) {
    const std::vector<std::byte> bytes = whole_bytes(reader, t);
    EXPECT_FALSE(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; })) << t.name;
    if (t.name != "model.embed_tokens.weight" || t.dtype != DType::f32) continue;
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    for (const float x : values) below_bf16 += static_cast<float>(bf16(x)) != x ? 1 : 0;
  }
  EXPECT_TRUE(!has_masters || below_bf16 > 0);
}

// This rank's values are the stored ones, rounded once to the type that ops compute with, and so is its router state.
void expect_values_of(const CheckpointReader& reader, ToyRun& toy) {
  for (const Parameter& p : toy.decoder().parameters().all()) {
    const std::vector<double> got = widened(toy.ctx(), p.value);
    dispatch_float(p.value.dtype(), [&]<class T>() {
      for (const ParameterPart& part : p.parts) {
        std::vector<Acc<T>> exact(static_cast<std::size_t>(part.box.count()));
        reader.read_box(part.name, "", part.box, exact.data());
        int64_t different = 0;
        for (std::size_t i = 0; i < exact.size(); ++i)
          different += got[static_cast<std::size_t>(part.offset) + i] != static_cast<double>(T(exact[i])) ? 1 : 0;
        EXPECT_EQ(different, 0) << part.name;
      }
    });
    for (const double x : padding_values(toy.ctx(), p, p.value)) EXPECT_EQ(x, 0) << p.name;
  }
  for (const moe::StateTensor& s : toy.decoder().state()) {
    std::vector<std::byte> stored(static_cast<std::size_t>(s.tensor.bytes()));
    reader.read_box("state." + s.name, "", Box::whole(s.tensor.shape()), stored.data());
    EXPECT_EQ(std::memcmp(stored.data(), s.tensor.raw(), stored.size()), 0) << s.name;
  }
}

// Stored pieces of matrices that begin or end inside a row.
int64_t pieces_that_split_rows(const std::string& directory) {
  int64_t count = 0;
  for (const CheckpointPiece& piece : parse_index(read_text_file(directory + "/index.json"), directory).pieces) {
    if (piece.region.box.extent.size() < 2) continue;
    const int64_t columns = piece.region.box.extent.back();
    count += piece.region.flat_begin % columns != 0 || piece.region.flat_end % columns != 0 ? 1 : 0;
  }
  return count;
}

struct Pair {
  MeshSizes from, to;
  Overrides more;
};

const Overrides kF64 = {"train.dtype=f64"}, kBf16 = {"train.dtype=bf16"};
const Overrides kTied = {"model.tie_word_embeddings=true", "train.dtype=bf16"};
// Fewer key-value heads than tensor-parallel ranks: several ranks hold the same one.
const Overrides kOneHead = {"model.num_key_value_heads=1", "train.dtype=bf16"};
const Overrides kTwoHeads = {"model.num_key_value_heads=2", "train.dtype=bf16"};
const Overrides kTwoHeadsF64 = {"model.num_key_value_heads=2", "train.dtype=f64"};

// ranks, tensor, expert, expert tensor, sequence parallel
const std::vector<Pair> kPairs = {
    {{1}, {4, 2, 2, 2}, {}},
    {{4, 2, 2, 2}, {1}, kBf16},
    {{1}, {4, 4, 1, 4}, kTwoHeads},
    {{4, 4, 4, 1, false}, {1}, kTwoHeadsF64},
    {{4}, {2}, kBf16},
    {{2}, {3}, kF64},
    {{3}, {4}, kTied},
    {{4, 2, 1, 1}, {2, 2, 2, 1}, {}},
    {{4, 1, 2, 1}, {4, 1, 1, 2}, {}},
    {{4, 2, 4, 1}, {4, 4, 1, 4}, kTwoHeads},
    {{4, 2, 1, 2}, {2, 1, 2, 1}, kF64},
    {{3, 3, 1, 3}, {4, 2, 2, 1, false}, kBf16},
    {{4, 2, 2, 1, false}, {3, 3, 3, 1}, {}},
    {{4, 4, 2, 2}, {4, 2, 4, 1}, kOneHead},
    {{6}, {4}, kBf16},
    {{1}, {6, 3, 6, 1}, kBf16},
    {{6, 6, 2, 3}, {1}, kTied},
    {{6, 2, 3, 2}, {4, 2, 2, 1}, {}},
    {{6, 3, 2, 1}, {6, 2, 1, 6}, kBf16},
    {{6, 6, 1, 1, false}, {6, 1, 6, 1}, kF64},
    {{6, 3, 3, 2}, {6, 6, 6, 1}, kOneHead},
};

void expect_loads_to_the_bit(const Pair& pair) {
  SCOPED_TRACE(fmt::format("{} -> {}, {}", describe(pair.from), describe(pair.to), fmt::join(pair.more, " ")));
  const SharedDir dir;
  const std::string from = dir.file("from"), to = dir.file("to"), name = "/" + step_directory_name(2);
  NamedValues saved;
  on_first_ranks(pair.from.ranks, [&](Comm& comm) {
    ToyRun toy(mesh_config(pair.from, pair.more), &comm);
    toy.curve(1, 2);
    saved = toy.parameters();
    save(toy, from, 2);
  });
  on_first_ranks(pair.to.ranks, [&](Comm& comm) {
    Config config = mesh_config(pair.to, pair.more);
    config.train.seed = 99;
    ToyRun toy(config, &comm);
    toy.curve(1, 1);  // whatever these objects held before is replaced
    const CheckpointReader reader(from + name);
    load_checkpoint(toy.ctx(), toy.decoder(), &toy.optimizer(), reader);
    expect_values_of(reader, toy);
    const NamedValues loaded = toy.parameters();
    if (comm.rank() == 0) expect_same_bits(loaded, saved, "exact values");
    save(toy, to, 2);
  });
  if (mpi_world().rank() != 0) return;
  const CheckpointReader first(from + name), second(to + name);
  expect_trained_state(first, mesh_config(pair.from, pair.more).train.dtype == ComputeType::kBf16);
  expect_same_checkpoint(second, first);
  // Shares of more ranks are cut at other places, which know nothing of rows.
  if (pair.from.data() != pair.to.data()) {
    EXPECT_GT(pieces_that_split_rows((pair.from.data() > pair.to.data() ? from : to) + name), 0);
  }
}

TEST(MeshCheckpoint, AnyMeshLoadsWhatAnyMeshSavedToTheBit) {
  const int64_t world = mpi_world().size();
  int64_t count = 0, other_slices = 0, other_data = 0;
  for (const Pair& pair : kPairs) {
    const int64_t ranks = std::max(pair.from.ranks, pair.to.ranks);
    // What four ranks suffice for is not run on six.
    if (ranks > world || (world > 4 && ranks <= 4)) continue;
    ++count;
    other_slices += pair.from.expert_tensor != pair.to.expert_tensor ? 1 : 0;
    other_data += pair.from.data() != pair.to.data() ? 1 : 0;
    expect_loads_to_the_bit(pair);
  }
  EXPECT_GE(count, world == 4 ? 12 : 7);
  EXPECT_GE(other_slices, 4);
  EXPECT_GE(other_data, 3);
}

TEST(MeshCheckpoint, TheSameMeshContinuesToTheBit) {
  const std::vector<std::pair<MeshSizes, Overrides>> cases = {
      {{4}, kBf16},         {{4, 2, 2, 1}, {}},        {{4, 2, 2, 2, false}, kBf16},
      {{4, 1, 4, 1}, kF64}, {{4, 4, 1, 2}, kTwoHeads}, {{6, 2, 3, 1}, kTied},
      {{6, 3, 1, 6}, {}}};
  for (const auto& [mesh, more] : cases) {
    if (mesh.ranks != mpi_world().size()) continue;
    SCOPED_TRACE(fmt::format("{}, {}", describe(mesh), fmt::join(more, " ")));
    const SharedDir dir;
    on_first_ranks(mesh.ranks, [&](Comm& comm) {
      const Config config = mesh_config(mesh, more);
      ToyRun straight(config, &comm);
      const std::vector<double> losses = straight.curve(1, 6);
      std::string directory;
      {
        ToyRun first(config, &comm);
        first.curve(1, 3);
        directory = save(first, dir.file("run"), 3);
      }
      ToyRun second(config, &comm);
      second.curve(1, 1);
      load_checkpoint(second.ctx(), second.decoder(), &second.optimizer(), CheckpointReader(directory));
      const std::vector<double> continued = second.curve(4, 6);
      EXPECT_EQ(continued.size() * 2, losses.size());
      EXPECT_TRUE(same_bits(continued, {losses.end() - static_cast<std::ptrdiff_t>(continued.size()), losses.end()}));
      expect_same_bits(second.parameters(), straight.parameters(), "parameters");
      expect_same_bits(second.router_state(), straight.router_state(), "router state");
    });
  }
}

TEST(MeshCheckpoint, OneProcessExportsWhatAMeshTrained) {
  const SharedDir dir;
  NamedValues saved, state;
  std::string directory;
  on_first_ranks(4, [&](Comm& comm) {
    ToyRun toy(mesh_config({4, 2, 2, 2}, {}), &comm);
    toy.curve(1, 2);
    saved = toy.parameters();
    state = toy.router_state();
    directory = save(toy, dir.file("run"), 2);
  });
  if (mpi_world().rank() != 0) return;
  convert_checkpoint(CheckpointReader(directory), dir.file("hub"));
  NamedValues exported;
  const SafetensorsReader file(dir.file("hub") + "/model.safetensors");
  for (const auto& entry : file.entries()) {
    const TensorView view = file.view(entry.name, DType::f32, entry.shape);
    const auto* values = static_cast<const float*>(view.data);
    exported[entry.name].assign(values, values + element_count(entry.shape));
  }
  saved.merge(state);
  expect_same_bits(exported, saved, "exported");
}

TEST(MeshCheckpoint, APieceThatIsMissingOrStoredTwiceIsRefused) {
  const SharedDir dir;
  const std::string folder = dir.file("run");
  on_first_ranks(4, [&](Comm& comm) {
    ToyRun toy(mesh_config({4, 2, 2, 1}, kBf16), &comm);
    toy.curve(1, 1);
    save(toy, folder, 1);
  });
  if (mpi_world().rank() != 0) return;
  const std::string directory = folder + "/" + step_directory_name(1), path = directory + "/index.json";
  const std::string text = read_text_file(path);
  const CheckpointIndex index = parse_index(text, path);
  const auto expect_refused = [&](const CheckpointIndex& changed, const std::vector<std::string>& fragments) {
    write_bytes(path, dump_index(changed));
    expect_user_error([&] { CheckpointReader reader(directory); }, fragments);
    write_bytes(path, text);
  };
  EXPECT_EQ(index.file_bytes.size(), 4u);
  for (const auto& entry : index.file_bytes) {
    const std::string& file = entry.first;
    // All that a rank wrote.
    CheckpointIndex changed = index;
    changed.file_bytes.erase(file);
    std::erase_if(changed.pieces, [&](const CheckpointPiece& p) { return p.file == file; });
    EXPECT_LT(changed.pieces.size(), index.pieces.size());
    expect_refused(changed, {directory, "in no piece"});
    // The file alone.
    std::filesystem::rename(directory + "/" + file, directory + "/gone");
    expect_user_error([&] { CheckpointReader reader(directory); }, {directory, file});
    std::filesystem::rename(directory + "/gone", directory + "/" + file);
    // One of its pieces: lost, stored again by the same rank, or by another one.
    const auto of_file = [&](const CheckpointPiece& p) { return p.file == file; };
    const auto piece = std::find_if(index.pieces.begin(), index.pieces.end(), of_file);
    changed = index;
    changed.pieces.erase(changed.pieces.begin() + (piece - index.pieces.begin()));
    expect_refused(changed, {directory, piece->tensor.name, "in no piece"});
    changed = index;
    changed.pieces.push_back(*piece);
    expect_refused(changed, {directory, piece->tensor.name, "twice"});
    changed.pieces.back().file = index.file_bytes.begin()->first;
    expect_refused(changed, {directory, piece->tensor.name, "twice"});
  }
  const CheckpointReader unchanged(directory);
  unchanged.verify_checksums();
  // A tensor that one rank held alone leaves no gap behind: the model misses it.
  const std::string alone = "model.layers.1.mlp.experts.5.up_proj.weight";
  CheckpointIndex changed = index;
  std::erase_if(changed.pieces, [&](const CheckpointPiece& p) { return p.tensor.name == alone; });
  write_bytes(path, dump_index(changed));
  ToyRun toy(mesh_config({1}, kBf16));
  expect_user_error([&] { load_checkpoint(toy.ctx(), toy.decoder(), &toy.optimizer(), CheckpointReader(directory)); },
                    {directory, alone});
}

}  // namespace
}  // namespace sy::testing
