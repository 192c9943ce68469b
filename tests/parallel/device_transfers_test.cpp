// Device collectives (NCCL, simulated) beside the compute stream: what their order needs, that the host does not wait,
// and each fault that they promise to report.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "csrc/core/device.h"
#include "kernels/dense/elementwise.h"
#include "parallel/device_transfers.h"
#include "parallel/mesh.h"
#include "parallel/tensor_collectives.h"
#include "tests/cuda_sim/nccl.h"
#include "tests/parallel/device_values.h"
#include "tests/parallel/mpi_main.h"

namespace sy::testing {
namespace {

// Transfers on the communication stream, beside the compute stream.
class Transfers : public AnyOrder<::testing::Test> {
 protected:
  Transfers() { ctx_.mesh = &mesh_; }
  // `count` elements, written by the compute stream.
  Tensor computed(int64_t count, double value) {
    const Tensor tensor = ctx_.empty({count}, DType::f32, MemoryKind::data);
    kernels::fill<float>(kernels::Cuda{ctx_.stream()}, {.y = tensor.data<float>(), .count = count, .value = value});
    return tensor;
  }
  // rank + 1, `count` times for each rank.
  std::vector<float> gathered(int64_t count) const {
    std::vector<float> all;
    for (int r = 0; r < world_.size(); ++r)
      all.insert(all.end(), static_cast<std::size_t>(count), static_cast<float>(r + 1));
    return all;
  }
  // What one that puts a collective on the communication stream must not leave out.
  enum class Waits { kBoth, kNoneBefore, kNoneAfter };
  std::vector<float> gather(Waits waits) {
    const int64_t count = 100;
    const Tensor mine = computed(count, mpi_world().rank() + 1.0);
    const Tensor all = computed(count * world_.size(), -1), copy = computed(all.count(), -2);
    Stream &compute = ctx_.compute_stream(), &communication = ctx_.communication_stream();
    Event before(ctx_.device()), after(ctx_.device());
    before.record(compute);
    if (waits != Waits::kNoneBefore) communication.wait_for(before);
    mesh_.world().device()->all_gather(std::span<const float>(span_of<float>(mine)), span_of<float>(all),
                                       communication.handle());
    after.record(communication);
    // The lazy device does no more than this asks for.
    if (waits == Waits::kNoneBefore) device_api::synchronize(communication.handle());
    if (waits != Waits::kNoneAfter) compute.wait_for(after);
    ctx_.copy(copy, all);
    const std::vector<float> seen = ctx_.to_host<float>(copy);
    compute.wait_for(after);  // the tensors go only now
    ctx_.synchronize();
    return seen;
  }

  Comm& world_ = mpi_world();
  Mesh mesh_{world_, {.ranks = world_.size()}};
  Context ctx_{DeviceType::cuda};
};

TEST_F(Transfers, AStreamWaitThatIsLeftOutIsSeen) {
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kNccl), "");
  for_each_seed([&] { EXPECT_EQ(gather(Waits::kBoth), gathered(100)); });
  cuda_sim::set_schedule_seed(kLazy);
  EXPECT_NE(gather(Waits::kNoneAfter), gathered(100)) << "read before it came";
  world_.barrier();
  EXPECT_THROW(gather(Waits::kNoneBefore), cuda_sim::Fault) << "sent from memory that does not exist yet";
}

TEST_F(Transfers, OnTensorsGiveTheHostsBitsWithoutAWaitOfTheHost) {
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kAuto), "");
  Context host(DeviceType::cpu);
  host.mesh = &mesh_;
  const int64_t ranks = world_.size(), count = 1001;
  const std::vector<float> values = values_of<float>(world_.rank(), count * ranks);
  const std::vector<int64_t> rows(static_cast<std::size_t>(ranks), 13);
  const auto results = [&](Context& ctx) {
    const auto tensor = [&] { return ctx.from_host<float>(values, {count * ranks}, MemoryKind::data); };
    const Tensor gathered = tensor(), summed = tensor(), reduced = tensor(), sent = tensor().reshape({ranks * 13, 77});
    const Tensor received = ctx.zeros(sent.shape(), DType::f32, MemoryKind::data);
    const auto share = [&](const Tensor& all) { return all.slice(count * world_.rank(), count * (world_.rank() + 1)); };
    cuda_sim::reset_counters();
    CommRequest gathering = start_all_gather(ctx, mesh_.world(), share(gathered), gathered);
    CommRequest summing = start_reduce_scatter_sum(ctx, mesh_.world(), summed, share(summed));
    CommRequest rows_travel = start_all_to_all_rows(ctx, mesh_.world(), sent, rows, received, rows);
    all_reduce_sum(ctx, mesh_.world(), reduced, "sums");
    rows_travel.wait();
    gathering.wait();
    summing.wait();
    if (ctx.device() == DeviceType::cuda) {
      EXPECT_EQ(cuda_sim::counters().host_syncs, 0);
    }
    std::vector<std::vector<float>> all;
    for (const Tensor& t : {gathered, share(summed), reduced, received}) all.push_back(ctx.to_host<float>(t));
    return all;
  };
  const auto expected = results(host);
  for_each_seed([&] {
    const auto got = results(ctx_);
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(same_bytes(got[i], expected[i])) << i;
  });
}

TEST_F(Transfers, ARequestThatIsDroppedKeepsItsMemoryUntilItIsDone) {
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kNccl), "");
  for_each_seed([&] {
    const Tensor all = computed(100 * world_.size(), -1);
    // Nobody else holds the tensor that travels.
    { const CommRequest dropped = start_all_gather(ctx_, mesh_.world(), computed(100, world_.rank() + 1.0), all); }
    EXPECT_EQ(ctx_.to_host<float>(all), gathered(100));
  });
}

TEST_F(Transfers, AHostThatWaitsForTheDeviceSaysWhichCollectiveItWaitsFor) {
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kNccl), "");
  const Tensor mine = computed(5, 1), all = computed(5 * world_.size(), -1);
  const DeviceComm::Call call = mesh_.world().device()->all_gather(std::span<const float>(span_of<float>(mine)),
                                                                   span_of<float>(all), ctx_.stream());
  int polls = 0;
  char text[200];
  std::size_t length = 0;
  DeviceComm::poll(call, [&] {
    length = world_.describe_wait(text);
    return ++polls == 3;
  });
  EXPECT_EQ(std::string(text, length),
            fmt::format("rank {} was waiting in all_gather number {} of group 'world'", world_.rank(), call.number));
  ctx_.synchronize();
}

TEST_F(Transfers, AGroupThatNcclReportsAsFailedEndsTheHostsWait) {
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kNccl), "");
  // Rank 0 expects elements that nobody sends.
  if (world_.rank() == 0) {
    std::vector<int64_t> nothing(static_cast<std::size_t>(world_.size()), 0), expected(nothing);
    expected[1] = 4;
    const Tensor from = computed(4, 1), to = computed(4, -1);
    const CommRequest request = mesh_.transfers().start(ctx_, {from, to}, [&](void* stream) {
      return mesh_.world().device()->all_to_all(std::span<const float>(span_of<float>(from)), nothing,
                                                span_of<float>(to), expected, stream);
    });
    cuda_sim::set_nccl_async_error(ncclRemoteError);
    std::string error;
    try {
      mesh_.transfers().wait_for(ctx_.communication_stream());
    } catch (const Error& e) {
      error = e.what();
    }
    cuda_sim::set_nccl_async_error(ncclSuccess);
    EXPECT_EQ(error, "NCCL reports for group 'world': remote process exited or there was a network error");
  }
  world_.barrier();
}

TEST_F(Transfers, AMessageOfAnotherLengthThanItsReceiverExpectsIsAFault) {
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kNccl), "");
  const bool expects_less = world_.rank() + 1 == world_.size();
  const auto n = static_cast<std::size_t>(world_.size());
  std::vector<int64_t> to(n, 0), from(n, 0);
  if (world_.rank() == 0) to.back() = 4;
  if (expects_less) from[0] = 3;
  const Tensor sent = computed(4, 1), received = computed(4, -1);
  std::string fault;
  try {  // by whichever call lets the device go on
    mesh_.world().device()->all_to_all(std::span<const float>(span_of<float>(sent)), to, span_of<float>(received), from,
                                       ctx_.stream());
    ctx_.synchronize();
  } catch (const cuda_sim::Fault& e) {
    fault = e.what();
  }
  EXPECT_EQ(fault, expects_less ? fmt::format("simulated NCCL: rank 0 sends 16 bytes, rank {} expects 12", n - 1) : "");
  world_.barrier();
}

TEST_F(Transfers, DebugModeComparesCallsBeforeTheyAreEnqueued) {
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kNccl), "");
  world_.configure({.debug = true});
  const int last = world_.size() - 1;
  const bool is_last = world_.rank() == last;
  const auto error_of = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  DeviceComm& device = *mesh_.world().device();
  const Tensor mine = computed(4, 1), all = computed(4 * world_.size(), -1);
  const std::span<const float> from(span_of<float>(mine));
  const auto n = static_cast<std::size_t>(world_.size());
  const std::string lengths = error_of([&] {
    std::vector<int64_t> to(n, 0), expected(n, 0);
    to[0] = 2;
    if (world_.rank() == 0) expected.assign(n, 1);
    if (world_.rank() == 0) expected[0] = 2;
    device.all_to_all(from, to, span_of<float>(all), expected, ctx_.stream());
  });
  EXPECT_NE(lengths.find("rank 1 sends 2 f32 to rank 0, which expects 1, in all_to_all number"), std::string::npos)
      << lengths;
  const std::string kinds = error_of([&] {
    if (is_last) device.broadcast(span_of<float>(mine), 0, ctx_.stream());
    else device.all_gather(from, span_of<float>(all), ctx_.stream());
  });
  EXPECT_NE(
      kinds.find(fmt::format("rank {} calls broadcast of 4 f32 from group rank 0, rank 0 all_gather of 4 f32", last)),
      std::string::npos)
      << kinds;
  // Nothing was enqueued, and the group can still be used.
  device.all_gather(from, span_of<float>(all), ctx_.stream());
  EXPECT_EQ(ctx_.to_host<float>(all), std::vector<float>(4 * n, 1.0f));
  world_.configure({});
}

TEST_F(Transfers, RanksThatShareAGpuStageThroughTheHost) {
  ::setenv("SY_SIM_GPUS", "1", 1);
  const std::string why = mesh_.connect_devices(CommBackend::kAuto);
  EXPECT_TRUE(why.starts_with("ranks 0 and 1 share the GPU ")) << why;
  EXPECT_EQ(mesh_.world().device(), nullptr);
  EXPECT_THROW(mesh_.connect_devices(CommBackend::kNccl), UserError);
  ::unsetenv("SY_SIM_GPUS");
  EXPECT_EQ(mesh_.connect_devices(CommBackend::kMpi), "");
  EXPECT_EQ(mesh_.world().device(), nullptr);
  const Tensor mine = computed(3, world_.rank() + 1.0), all = computed(3 * world_.size(), -1);
  all_gather(ctx_, mesh_.world(), mine, all, "rows");
  EXPECT_EQ(ctx_.to_host<float>(all), gathered(3));
}

}  // namespace
}  // namespace sy::testing
