// Every collective on device memory has the bits of the host's, on simulated CUDA and on a GPU: the verbs of NCCL
// between ranks that have a GPU each (one rank always has), and the same on tensors, which ranks that share a GPU stage
// through the host.
#include "parallel/device_comm.h"

#include <gtest/gtest.h>

#include "csrc/core/device.h"
#include "parallel/mesh.h"
#include "parallel/tensor_collectives.h"
#include "tests/parallel/device_values.h"
#include "tests/parallel/mpi_main.h"

namespace sy::testing {
namespace {

// Nothing, one, odd, and more than one block of a kernel.
const std::vector<int64_t> kCounts = {0, 1, 3, 1001};

class OnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (device_api::device_count() == 0) GTEST_SKIP() << "there is no GPU";
  }
};

class OnNccl : public AnyOrder<OnGpu> {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (IsSkipped()) return;
    const std::string why = Mesh(mpi_world(), {.ranks = mpi_world().size()}).connect_devices(CommBackend::kAuto);
    if (!why.empty()) GTEST_SKIP() << why;
  }
};

// A group of all ranks that moves device memory, and a context to compute in. The group lives longer than the context's
// streams, on which its transfers may be.
struct Ranks {
  Comm& world = mpi_world();
  std::unique_ptr<Comm> comm = world.split(0, world.rank(), "gpu");
  Context ctx{DeviceType::cuda};

  Ranks() { comm->set_device(make_nccl_comm(*comm)); }
  DeviceComm& device() { return *comm->device(); }
  int64_t size() const { return comm->size(); }
  int64_t rank() const { return comm->rank(); }

  template <class T>
  Tensor tensor(const std::vector<T>& values) {
    return ctx.from_host<T>(values, {static_cast<int64_t>(values.size())}, MemoryKind::data);
  }
};

template <class T>
class DeviceMoves : public OnNccl {};
using RowTypes = ::testing::Types<float, double, bf16, int32_t, int64_t, uint8_t>;
TYPED_TEST_SUITE(DeviceMoves, RowTypes);

TYPED_TEST(DeviceMoves, AllGatherEqualsTheHosts) {
  Ranks ranks;
  this->for_each_seed([&] {
    for (const int64_t count : kCounts)
      for (const bool in_place : {false, true}) {
        const std::vector<TypeParam> mine = values_of<TypeParam>(ranks.rank(), count);
        std::vector<TypeParam> all(static_cast<std::size_t>(count * ranks.size()), TypeParam(99)), expected = all;
        if (in_place) std::copy(mine.begin(), mine.end(), all.begin() + ranks.rank() * count);
        ranks.comm->all_gather(std::span<const TypeParam>(mine), std::span<TypeParam>(expected));
        const Tensor to = ranks.tensor(all);
        const Tensor from = in_place ? to.slice(ranks.rank() * count, (ranks.rank() + 1) * count) : ranks.tensor(mine);
        ranks.device().all_gather(std::span<const TypeParam>(span_of<TypeParam>(from)), span_of<TypeParam>(to),
                                  ranks.ctx.stream());
        EXPECT_TRUE(same_bytes(ranks.ctx.to_host<TypeParam>(to), expected)) << count << " in place: " << in_place;
      }
  });
}

// Elements that rank `from` sends to rank `to`: nothing for some pairs, and ranks that send or get nothing.
int64_t pair_count(int64_t from, int64_t to, int64_t scale) {
  if (from == 1 || to == 2) return 0;
  return (from * 3 + to * 5 + 1) % 4 * scale;
}

TYPED_TEST(DeviceMoves, AllToAllEqualsTheHosts) {
  Ranks ranks;
  this->for_each_seed([&] {
    for (const int64_t scale : {0, 1, 333}) {
      std::vector<int64_t> send_counts, recv_counts;
      int64_t sent = 0, received = 0;
      for (int64_t r = 0; r < ranks.size(); ++r) {
        sent += send_counts.emplace_back(pair_count(ranks.rank(), r, scale));
        received += recv_counts.emplace_back(pair_count(r, ranks.rank(), scale));
      }
      // Buffers are bounds: what lies behind the counted elements stays as it is.
      const std::vector<TypeParam> send = values_of<TypeParam>(ranks.rank(), sent + 5);
      std::vector<TypeParam> recv(static_cast<std::size_t>(received + 3), TypeParam(99));
      const Tensor from = ranks.tensor(send), to = ranks.tensor(recv);
      ranks.comm->all_to_all(std::span<const TypeParam>(send), send_counts, std::span<TypeParam>(recv), recv_counts);
      ranks.device().all_to_all(std::span<const TypeParam>(span_of<TypeParam>(from)), send_counts,
                                span_of<TypeParam>(to), recv_counts, ranks.ctx.stream());
      EXPECT_TRUE(same_bytes(ranks.ctx.to_host<TypeParam>(to), recv)) << scale;
    }
  });
}

TYPED_TEST(DeviceMoves, BroadcastGivesEveryRankTheRootsValues) {
  Ranks ranks;
  this->for_each_seed([&] {
    for (int root = 0; root < ranks.size(); ++root)
      for (const int64_t count : kCounts) {
        const Tensor values = ranks.tensor(values_of<TypeParam>(ranks.rank(), count));
        ranks.device().broadcast(span_of<TypeParam>(values), root, ranks.ctx.stream());
        EXPECT_TRUE(same_bytes(ranks.ctx.to_host<TypeParam>(values), values_of<TypeParam>(root, count)))
            << count << " from " << root;
      }
  });
}

template <class T>
class DeviceSums : public OnNccl {};
using FloatTypes = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(DeviceSums, FloatTypes);

TYPED_TEST(DeviceSums, ReduceScatterHasTheHostsBits) {
  Ranks ranks;
  this->for_each_seed([&] {
    for (const int64_t count : kCounts)
      for (const bool in_place : {false, true}) {
        const std::vector<TypeParam> all = addends_of<TypeParam>(ranks.rank(), count * ranks.size());
        std::vector<TypeParam> expected(static_cast<std::size_t>(count));
        ranks.comm->reduce_scatter_sum(std::span<const TypeParam>(all), std::span<TypeParam>(expected));
        const Tensor from = ranks.tensor(all);
        const Tensor to = in_place ? from.slice(ranks.rank() * count, (ranks.rank() + 1) * count)
                                   : ranks.ctx.empty({count}, dtype_of<TypeParam>(), MemoryKind::data);
        ranks.device().reduce_scatter_sum(std::span<const TypeParam>(span_of<TypeParam>(from)), span_of<TypeParam>(to),
                                          ranks.ctx.stream());
        EXPECT_TRUE(same_bytes(ranks.ctx.to_host<TypeParam>(to), expected)) << count << " in place: " << in_place;
      }
  });
}

// Tensors, over whatever carries them: NCCL where it can, and the host.
class OnTensors : public AnyOrder<OnGpu> {
 protected:
  // collective(ctx) returns the values that it set.
  template <class Collective>
  void expect_the_hosts_bits(const Collective& collective) {
    for (const CommBackend backend : {CommBackend::kMpi, CommBackend::kAuto}) {
      Mesh mesh(world_, {.ranks = world_.size()});
      const std::string why = mesh.connect_devices(backend);
      SCOPED_TRACE(backend == CommBackend::kMpi ? "staged" : why.empty() ? "over NCCL" : why);
      Context host(DeviceType::cpu), gpu(DeviceType::cuda);
      host.mesh = gpu.mesh = &mesh;
      const auto expected = collective(host);
      for_each_seed([&] { EXPECT_TRUE(same_bytes(collective(gpu), expected)); });
    }
  }
  template <class T>
  static Tensor tensor(Context& ctx, const std::vector<T>& values) {
    return ctx.from_host<T>(values, {static_cast<int64_t>(values.size())}, MemoryKind::data);
  }

  Comm& world_ = mpi_world();
};

template <class T>
class TensorMoves : public OnTensors {};
TYPED_TEST_SUITE(TensorMoves, RowTypes);

TYPED_TEST(TensorMoves, AllGatherHasTheHostsBits) {
  for (const int64_t count : kCounts)
    this->expect_the_hosts_bits([&](Context& ctx) {
      const Tensor mine = this->tensor(ctx, values_of<TypeParam>(this->world_.rank(), count));
      const Tensor all = ctx.zeros({count * this->world_.size()}, mine.dtype(), MemoryKind::data);
      all_gather(ctx, ctx.mesh->world(), mine, all, "values");
      return ctx.to_host<TypeParam>(all);
    });
}

TYPED_TEST(TensorMoves, RowsForEveryRankHaveTheHostsBits) {
  constexpr int64_t kWidth = 5;
  std::vector<int64_t> send_rows, recv_rows;
  int64_t sent = 0, received = 0;
  for (int64_t r = 0; r < this->world_.size(); ++r) {
    sent += send_rows.emplace_back(pair_count(this->world_.rank(), r, 7));
    received += recv_rows.emplace_back(pair_count(r, this->world_.rank(), 7));
  }
  this->expect_the_hosts_bits([&](Context& ctx) {
    const Tensor from = this->tensor(ctx, values_of<TypeParam>(this->world_.rank(), sent * kWidth));
    const Tensor to = ctx.zeros({received, kWidth}, from.dtype(), MemoryKind::data);
    start_all_to_all_rows(ctx, ctx.mesh->world(), from.reshape({sent, kWidth}), send_rows, to, recv_rows).wait();
    return ctx.to_host<TypeParam>(to);
  });
}

template <class T>
class TensorSums : public OnTensors {};
TYPED_TEST_SUITE(TensorSums, FloatTypes);

TYPED_TEST(TensorSums, ReduceScatterAndAllReduceHaveTheHostsBits) {
  for (const int64_t count : kCounts) {
    const auto addends = addends_of<TypeParam>(this->world_.rank(), count * this->world_.size());
    this->expect_the_hosts_bits([&](Context& ctx) {
      const Tensor all = this->tensor(ctx, addends), mine = ctx.zeros({count}, all.dtype(), MemoryKind::data);
      reduce_scatter_sum(ctx, ctx.mesh->world(), all, mine, "values");
      return ctx.to_host<TypeParam>(mine);
    });
    this->expect_the_hosts_bits([&](Context& ctx) {
      const Tensor values = this->tensor(ctx, addends);
      all_reduce_sum(ctx, ctx.mesh->world(), values, "values");
      return ctx.to_host<TypeParam>(values);
    });
  }
}

}  // namespace
}  // namespace sy::testing
