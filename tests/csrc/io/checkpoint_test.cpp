#include "csrc/io/checkpoint.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>

#include "tests/csrc/io/checkpoint_testing.h"
#include "tests/csrc/io/io_testing.h"

namespace fs = std::filesystem;

namespace sy {
namespace {

using testing::expect_user_error;
using testing::read_bytes;
using testing::run_ranks;
using testing::TempDir;
using testing::TestTensor;
using testing::uniform;
using testing::write_bytes;
using testing::write_whole;

std::vector<TestTensor> small_model() {
  return {TestTensor({"layers.0.experts.gate_up", "gate", DType::f32, {3, 5, 4}}, 1),
          TestTensor({"layers.0.experts.gate_up", "up", DType::f32, {3, 5, 4}}, 2),
          TestTensor({"embedding", "", DType::bf16, {6, 4}}, 3), TestTensor({"step_count", "", DType::i64, {}}, 4),
          TestTensor({"no_rows", "", DType::f64, {0, 4}}, 5)};
}

std::vector<CheckpointTensor> identities(const std::vector<TestTensor>& tensors) {
  std::vector<CheckpointTensor> result;
  for (const TestTensor& t : tensors) result.push_back(t.tensor);
  return result;
}

TEST(Checkpoint, AnyTilingOverAnyRanksIsReadBackByAnyOtherToTheBit) {
  std::mt19937 rng(7);
  const auto tensors = small_model();
  for (int round = 0; round < 20; ++round) {
    const TempDir dir;
    const int size = static_cast<int>(uniform(rng, 1, 4));
    std::vector<std::vector<PieceView>> pieces(static_cast<size_t>(size));
    std::vector<std::string> buffers;
    buffers.reserve(10000);
    for (const TestTensor& t : tensors) {
      const bool is_empty = t.bytes.empty();
      const auto tiling = is_empty ? std::vector<Region>{Region::whole(Box::whole(t.tensor.shape))}
                                   : testing::random_tiling(rng, t.tensor.shape);
      for (const Region& region : tiling) {
        buffers.push_back(t.cut_out(region));
        pieces[static_cast<size_t>(uniform(rng, 0, size - 1))].push_back({t.tensor, region, buffers.back().data()});
      }
    }
    run_ranks(size, [&](const CheckpointRanks& ranks) {
      const auto rank = static_cast<size_t>(ranks.rank);
      const std::string directory =
          write_checkpoint(dir.file("checkpoints"), {100, 800, "a: 1\n", "dp 2", "abc"}, pieces[rank],
                           {{fmt::format("rng_{}", rank), std::string("\0bytes", 6)}}, ranks);
      EXPECT_EQ(directory, dir.file("checkpoints/step_00000100"));
    });
    const CheckpointReader reader(dir.file("checkpoints/step_00000100"));
    EXPECT_EQ(reader.state().step, 100);
    EXPECT_EQ(reader.state().consumed_samples, 800);
    EXPECT_EQ(reader.state().config_text, "a: 1\n");
    EXPECT_EQ(reader.state().mesh, "dp 2");
    EXPECT_EQ(reader.state().version, "abc");
    for (int rank = 0; rank < size; ++rank) {
      EXPECT_EQ(reader.blob(fmt::format("rng_{}", rank)), std::string("\0bytes", 6));
    }
    EXPECT_FALSE(reader.has_blob("rng_9"));
    reader.require_tensors(identities(tensors));
    EXPECT_EQ(reader.tensors().size(), tensors.size());
    for (const TestTensor& t : tensors) {
      std::string whole(t.bytes.size(), '\0');
      reader.read_box(t.tensor.name, t.tensor.part, Box::whole(t.tensor.shape), whole.data());
      EXPECT_EQ(whole, t.bytes);
      if (t.bytes.empty()) continue;
      for (const Region& region : testing::random_tiling(rng, t.tensor.shape)) {
        const std::string expected = t.cut_out(region);
        std::string got(expected.size(), '\0');
        reader.read_region(t.tensor.name, t.tensor.part, region, got.data());
        EXPECT_EQ(got, expected);
      }
    }
    reader.verify_checksums();
  }
}

TEST(Checkpoint, PiecesThatLeaveAHoleOrOverlapAreNotPublished) {
  const TempDir dir;
  const TestTensor t({"w", "up", DType::f32, {4, 6}}, 1);
  const Region top = Region::whole({{0, 0}, {2, 6}});
  const Region bottom = Region::whole({{2, 0}, {2, 6}});
  const Region most_of_bottom = {{{2, 0}, {2, 6}}, 0, 11};
  const CheckpointState state{5, 0, "", "", ""};
  const auto write = [&](const std::vector<Region>& regions) {
    std::vector<PieceView> pieces;
    for (const Region& region : regions) pieces.push_back({t.tensor, region, t.bytes.data()});
    write_checkpoint(dir.file("c"), state, pieces);
  };
  expect_user_error([&] { write({top}); },
                    {"step 5 was not written", "element [2, 0] of tensor 'w (part up)'", "no piece"});
  expect_user_error([&] { write({most_of_bottom, top}); }, {"element [3, 5]", "no piece"});
  expect_user_error(
      [&] {
        write({top, bottom, most_of_bottom});
      },
      {"element [2, 0]", "stored twice", "shard_00000_of_00001"});
  EXPECT_TRUE(fs::is_empty(dir.file("c")));
  write({top, bottom});
  EXPECT_EQ(find_latest_checkpoint(dir.file("c"))->step, 5);
}

TEST(Checkpoint, ARankThatFailsFailsEveryRankAndKeepsTheOldCheckpoint) {
  const TempDir dir;
  const auto tensors = small_model();
  write_whole(dir.file("c"), 1, tensors);
  std::atomic<int> failures = 0;
  run_ranks(3, [&](const CheckpointRanks& ranks) {
    CheckpointWriter writer(dir.file("c"), 2, ranks);
    const TestTensor& t = tensors[2];
    Region region = {Box::whole(t.tensor.shape), 8 * ranks.rank, 8 * ranks.rank + 8};
    std::map<std::string, std::string> blobs;
    if (ranks.rank == 1) blobs["no/slash"] = "x";
    writer.write_shard({{t.tensor, region, t.bytes.data()}}, blobs);
    expect_user_error([&] { writer.commit({2, 16, "", "", ""}); }, {"step 2 was not written", "rank 1", "no/slash"});
    ++failures;
  });
  EXPECT_EQ(failures, 3);
  EXPECT_FALSE(fs::exists(dir.file("c/.tmp_step_00000002")));
  EXPECT_EQ(find_latest_checkpoint(dir.file("c"))->step, 1);
}

TEST(Checkpoint, AnotherConfigurationIsNamedByItsFirstTensor) {
  const TempDir dir;
  auto tensors = small_model();
  const CheckpointReader reader(write_whole(dir.file("c"), 1, tensors));
  auto expected = identities(tensors);
  reader.require_tensors(expected);
  expected[0].shape[2] = 8;
  expect_user_error([&] { reader.require_tensors(expected); },
                    {"another configuration", "gate_up (part gate)", "f32 [3, 5, 4] there", "f32 [3, 5, 8] here"});
  expected = identities(tensors);
  expected.pop_back();
  expect_user_error([&] { reader.require_tensors(expected); }, {"'no_rows' has no place here"});
  expected = identities(tensors);
  expected.push_back({"router", "", DType::f32, {4}});
  expect_user_error([&] { reader.require_tensors(expected); }, {"no tensor 'router'"});
  expect_user_error([&] { reader.read_box("router", "", Box::whole({4}), nullptr); }, {"no tensor 'router'"});
}

// Loads a checkpoint and holds every value to the original.
void expect_loads_exactly(const std::string& directory, const std::vector<TestTensor>& tensors) {
  const CheckpointReader reader(directory);
  reader.verify_checksums();
  reader.require_tensors(identities(tensors));
  EXPECT_EQ(reader.state().step, 1);
  EXPECT_EQ(reader.blob("sampler"), "state 1");
  for (const TestTensor& t : tensors) {
    std::string got(t.bytes.size(), '\0');
    reader.read_box(t.tensor.name, t.tensor.part, Box::whole(t.tensor.shape), got.data());
    EXPECT_EQ(got, t.bytes);
  }
}

// Whatever bit of whatever file is flipped, and wherever a file is cut, the reader says so.
TEST(Checkpoint, EveryDamagedFileIsNamed) {
  const TempDir dir;
  const auto tensors = small_model();
  const std::string directory = write_whole(dir.file("c"), 1, tensors);
  const auto load = [&] { expect_loads_exactly(directory, tensors); };
  load();
  std::mt19937 rng(11);
  for (const auto& entry : std::vector<fs::directory_entry>{fs::directory_iterator(directory), {}}) {
    const std::string path = entry.path().string();
    const std::string name = entry.path().filename().string();
    const std::string bytes = read_bytes(path);
    uint64_t header_bytes = 0;
    const bool is_shard = name.ends_with(".safetensors");
    if (is_shard) std::memcpy(&header_bytes, bytes.data(), 8);
    for (int round = 0; round < 150; ++round) {
      const auto position = static_cast<size_t>(uniform(rng, 0, static_cast<int64_t>(bytes.size()) - 1));
      std::string damaged = bytes;
      damaged[position] = static_cast<char>(damaged[position] ^ (1 << uniform(rng, 0, 7)));
      write_bytes(path, damaged);
      // Padding and free text of a shard's header and the last line end of a json file carry no information: there a
      // changed byte may go unnoticed if every value is still right.
      const bool may_be_harmless = (is_shard && position < 8 + header_bytes) || position + 1 == bytes.size();
      if (!may_be_harmless) {
        expect_user_error(load, {name});
        continue;
      }
      try {
        load();
      } catch (const UserError& error) {
        EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
      }
    }
    for (int round = 0; round < 20; ++round) {
      write_bytes(path, bytes.substr(0, static_cast<size_t>(uniform(rng, 0, static_cast<int64_t>(bytes.size()) - 2))));
      expect_user_error(load, {name});
    }
    fs::remove(path);
    expect_user_error(load, {name, "No such file"});
    write_bytes(path, bytes);
  }
  fs::create_directory(dir.file("foreign"));
  write_bytes(dir.file("foreign/index.json"), "{\"weight_map\": {}}");
  expect_user_error([&] { CheckpointReader reader(dir.file("foreign")); },
                    {"foreign/index.json", "not a Switchyard checkpoint"});
  expect_user_error([&] { CheckpointReader reader(dir.file("absent")); }, {"absent"});
}

TEST(CheckpointFolder, KeepLastNDeletesTheOldestOnly) {
  const TempDir dir;
  const auto tensors = small_model();
  for (int64_t step = 1; step <= 5; ++step) write_whole(dir.file("c"), step, tensors, 2);
  EXPECT_FALSE(fs::exists(dir.file("c/step_00000003")));
  EXPECT_TRUE(fs::exists(dir.file("c/step_00000004")));
  EXPECT_TRUE(fs::exists(dir.file("c/step_00000005")));
  EXPECT_EQ(read_bytes(dir.file("c/latest")), "step_00000005\n");
  // A damaged directory neither counts nor is deleted: somebody may still want to rescue it.
  fs::remove(dir.file("c/step_00000004/state.json"));
  write_whole(dir.file("c"), 6, tensors, 2);
  EXPECT_TRUE(fs::exists(dir.file("c/step_00000004")));
  EXPECT_TRUE(fs::exists(dir.file("c/step_00000005")));
  // A run set back to step 2 does not lose its new checkpoints to those of its abandoned future.
  write_whole(dir.file("c"), 2, tensors, 1);
  EXPECT_EQ(find_latest_checkpoint(dir.file("c"))->step, 2);
  EXPECT_TRUE(fs::exists(dir.file("c/step_00000006")));
}

TEST(CheckpointFolder, AStepWrittenAgainReplacesTheOldOne) {
  const TempDir dir;
  write_whole(dir.file("c"), 3, {TestTensor({"w", "", DType::f32, {8}}, 1)});
  const TestTensor changed({"w", "", DType::f32, {8}}, 2);
  const CheckpointReader reader(write_whole(dir.file("c"), 3, {changed}));
  std::string got(changed.bytes.size(), '\0');
  reader.read_box("w", "", Box::whole({8}), got.data());
  EXPECT_EQ(got, changed.bytes);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.file("c")), {}), 2);  // step_00000003 and latest
}

TEST(CheckpointFolder, ACrashWhileReplacingLeavesTheOldOneFindableAndPutBack) {
  const TempDir dir;
  const std::string directory = write_whole(dir.file("c"), 3, small_model());
  fs::rename(directory, dir.file("c/.replaced_step_00000003"));
  fs::create_directory(dir.file("c/.tmp_step_00000003"));
  const auto found = find_latest_checkpoint(dir.file("c"));
  ASSERT_TRUE(found.has_value());
  CheckpointReader(found->directory).verify_checksums();
  EXPECT_EQ(prepare_checkpoint_folder(dir.file("c")).size(), 2u);
  EXPECT_EQ(find_latest_checkpoint(dir.file("c"))->directory, directory);
  // Had the replacement arrived, the old one would go.
  fs::create_directory(dir.file("c/.replaced_step_00000003"));
  EXPECT_EQ(prepare_checkpoint_folder(dir.file("c")).size(), 1u);
  EXPECT_EQ(find_latest_checkpoint(dir.file("c"))->directory, directory);
}

TEST(CheckpointFolder, LatestMissingDanglingOrIncompleteFallsBackAndSaysSo) {
  const TempDir dir;
  const std::string folder = dir.file("c");
  EXPECT_FALSE(find_latest_checkpoint(folder).has_value());
  EXPECT_TRUE(prepare_checkpoint_folder(folder).empty());
  EXPECT_FALSE(find_latest_checkpoint(folder).has_value());
  for (int64_t step = 1; step <= 3; ++step) write_whole(folder, step, small_model());
  EXPECT_EQ(find_latest_checkpoint(folder)->note, "");
  fs::create_directory(dir.file("c/.tmp_step_00000009"));
  write_bytes(dir.file("c/latest"), "step_00000002\n");  // `latest` decides, not the highest number
  EXPECT_EQ(find_latest_checkpoint(folder)->step, 2);
  fs::remove(dir.file("c/step_00000002/index.json"));
  auto found = find_latest_checkpoint(folder);
  EXPECT_EQ(found->step, 3);
  EXPECT_NE(found->note.find("incomplete"), std::string::npos);
  write_bytes(dir.file("c/latest"), "step_00000008\n");
  found = find_latest_checkpoint(folder);
  EXPECT_EQ(found->step, 3);
  EXPECT_NE(found->note.find("does not exist"), std::string::npos);
  fs::remove(dir.file("c/latest"));
  EXPECT_EQ(find_latest_checkpoint(folder)->step, 3);
  EXPECT_EQ(resolve_checkpoint(dir.path() + "/c"), dir.file("c/step_00000003"));
  EXPECT_EQ(resolve_checkpoint(dir.file("c/step_00000001")), dir.file("c/step_00000001"));
  // Nothing complete is an error, not a start from scratch.
  fs::remove(dir.file("c/step_00000001/state.json"));
  fs::resize_file(dir.file("c/step_00000003/shard_00000_of_00001.safetensors"), 100);
  expect_user_error([&] { find_latest_checkpoint(folder); },
                    {folder, "no complete checkpoint", "shard_00000_of_00001"});
  EXPECT_EQ(prepare_checkpoint_folder(folder).size(), 1u);
  EXPECT_FALSE(fs::exists(dir.file("c/.tmp_step_00000009")));
  fs::rename(folder, dir.file("checkpoints"));
  write_whole(dir.file("checkpoints"), 7, small_model());
  EXPECT_EQ(resolve_checkpoint(dir.path()), dir.file("checkpoints/step_00000007"));
  expect_user_error([&] { resolve_checkpoint(dir.file("nowhere")); }, {"nowhere", "does not exist"});
}

}  // namespace
}  // namespace sy
