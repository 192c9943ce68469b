// Simulated bulk tensor copies. A box of the tensor lies in shared memory row by row, each row swizzled on its absolute
// address. Loads fill what lies outside the tensor with zeros and report the bytes of the full box to their mbarrier;
// stores leave out what lies outside. The source is read and the destination written when the copy is carried out.
// Faults: see shared_bytes.h; misaligned boxes; stores from negative coordinates, not committed, or not waited for
// before the block exits.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "kernels/types.h"
#include "tests/cuda_sim/tensor_map.h"
#include "tests/cuda_sim/units.h"

namespace sy::cuda_sim {

namespace {

struct Box {
  TensorMap map;
  std::array<int64_t, 5> start{};
  uint32_t shared;

  uint32_t row_bytes() const { return map.box[0] * static_cast<uint32_t>(map.element_bytes()); }
  uint32_t num_rows() const { return map.box_bytes() / row_bytes(); }
};

// One element: where it lies in shared memory, and in the tensor (null: outside).
struct Element {
  uint32_t shared;
  unsigned char* global;
};

// Address bits 4.. are exchanged by exclusive or with the bits from 7 on: as many as the span has 16-byte chunks.
uint32_t swizzled(uint32_t address, uint32_t span_bytes) {
  const uint32_t chunk_bits = span_bytes == 0 ? 0 : span_bytes - 16;
  return address ^ ((address >> 3) & chunk_bits);
}

// Calls f(Element) for the box's rows [first, last) in the order of shared memory.
template <class F>
void for_each_element(const Box& box, uint32_t first, uint32_t last, F&& f) {
  const TensorMap& m = box.map;
  const auto element = static_cast<uint32_t>(m.element_bytes());
  for (uint32_t row = first; row < last; ++row) {
    int64_t offset = 0;
    bool inside = true;
    uint32_t rest = row;
    for (int d = 1; d < m.rank; ++d) {
      const int64_t at = box.start[d] + rest % m.box[d];
      rest /= m.box[d];
      inside = inside && at >= 0 && at < static_cast<int64_t>(m.dims[d]);
      offset += at * static_cast<int64_t>(m.strides[d - 1]);
    }
    for (uint32_t i = 0; i < m.box[0]; ++i) {
      const int64_t at = box.start[0] + i;
      const bool element_inside = inside && at >= 0 && at < static_cast<int64_t>(m.dims[0]);
      const uint32_t shared = swizzled(box.shared + row * box.row_bytes() + i * element, m.swizzle_bytes());
      f(Element{shared, element_inside ? m.base + offset + at * element : nullptr});
    }
  }
}

Box make_box(const CUtensorMap* map, uint32_t shared, const int* coordinates, int rank, const char* who) {
  Box box{decode_tensor_map(map), {}, shared};
  if (rank != box.map.rank) fault(fmt::format("{} with {} coordinates of a {}-d tensor", who, rank, box.map.rank));
  for (int d = 0; d < rank; ++d) box.start[d] = coordinates[d];
  shared_bytes().at(shared, box.map.box_bytes(), 128, who);
  return box;
}

// A store under way: its source is held until read, its destination written after that.
struct Store {
  Box box;
  StoreKind kind;
  uint64_t reading = 0, writing = 0;
  bool is_read = false;
  std::vector<std::pair<unsigned char*, std::array<unsigned char, 4>>> elements{};
};

void write(const Store& store) {
  const auto bytes = static_cast<size_t>(store.box.map.element_bytes());
  for (const auto& [to, value] : store.elements) {
    if (store.kind == StoreKind::kWrite) {
      std::memcpy(to, value.data(), bytes);
    } else if (store.box.map.type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32) {
      float sum, addend;
      std::memcpy(&sum, to, 4), std::memcpy(&addend, value.data(), 4);
      sum += addend;
      std::memcpy(to, &sum, 4);
    } else {
      bf16 sum, addend;
      std::memcpy(&sum, to, 2), std::memcpy(&addend, value.data(), 2);
      sum = bf16(static_cast<float>(sum) + static_cast<float>(addend));
      std::memcpy(to, &sum, 2);
    }
  }
}

void read(const std::shared_ptr<Store>& store) {
  const auto bytes = static_cast<uint32_t>(store->box.map.element_bytes());
  for_each_element(store->box, 0, store->box.num_rows(), [&](const Element& e) {
    if (e.global == nullptr) return;
    std::memcpy(store->elements.emplace_back(e.global, std::array<unsigned char, 4>{}).second.data(),
                shared_bytes().held(e.shared), bytes);
  });
  store->is_read = true;
  store->writing = async_work().start([store] { write(*store); });
}

void finish_reading(const std::shared_ptr<Store>& store) {
  async_work().finish(store->reading);
  const auto bytes = static_cast<uint32_t>(store->box.map.element_bytes());
  for_each_element(store->box, 0, store->box.num_rows(), [&](const Element& e) {
    if (e.global != nullptr) shared_bytes().release(e.shared, bytes);
  });
}

using Group = std::vector<std::shared_ptr<Store>>;
struct ThreadStores {
  Group open;
  std::deque<Group> reading, writing;  // a group leaves `reading` first
};
std::vector<ThreadStores> threads;

ThreadStores& own_stores() {
  if (threads.empty()) threads.resize(kMaxThreadsPerBlock);
  return threads[static_cast<size_t>(thread_rank())];
}

}  // namespace

void begin_tensor_copies() { threads.clear(); }

void end_tensor_copies() {
  for (ThreadStores& own : threads) {
    if (!own.open.empty()) fault("the block exits with a bulk store that was not committed");
    if (!own.reading.empty()) fault("the block exits while a bulk store may still read its shared memory");
    for (const Group& group : own.writing)
      for (const auto& store : group) async_work().finish(store->writing);
  }
  threads.clear();
}

void tensor_load(uint32_t to, const CUtensorMap* map, uint32_t barrier, const int* coordinates, int rank) {
  const Box box = make_box(map, to, coordinates, rank, "a tensor load");
  mbarrier_state(barrier);  // faults where there is none
  shared_bytes().expect(to, box.map.box_bytes(), "a tensor load");
  const auto bytes = static_cast<uint32_t>(box.map.element_bytes());
  const uint32_t rows = box.num_rows(),
                 pieces = std::min<uint32_t>(rows, static_cast<uint32_t>(async_work().draw_pieces()));
  for (uint32_t p = 0; p < pieces; ++p) {
    const uint32_t first = rows * p / pieces, last = rows * (p + 1) / pieces;
    async_work().start([=] {
      for_each_element(box, first, last, [&](const Element& e) {
        constexpr unsigned char kZeros[4] = {};
        shared_bytes().arrive(e.shared, e.global != nullptr ? e.global : kZeros, bytes);
      });
      mbarrier_complete_tx(barrier, (last - first) * box.row_bytes());
    });
  }
}

void tensor_store(StoreKind kind, const CUtensorMap* map, uint32_t from, const int* coordinates, int rank) {
  const char* const who = "a tensor store";
  const auto store = std::make_shared<Store>(Store{make_box(map, from, coordinates, rank, who), kind});
  const TensorMap& m = store->box.map;
  for (int d = 0; d < rank; ++d)
    if (coordinates[d] < 0) fault("a tensor store from a negative coordinate");
  if (kind == StoreKind::kAdd && m.type != CU_TENSOR_MAP_DATA_TYPE_FLOAT32 &&
      m.type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16)
    fault("the simulator adds f32 and bf16 tensors only");
  const auto bytes = static_cast<uint32_t>(m.element_bytes());
  for_each_element(store->box, 0, store->box.num_rows(), [&](const Element& e) {
    if (e.global != nullptr) shared_bytes().hold(e.shared, bytes, thread_rank(), 1, who);
  });
  store->reading = async_work().start([store] { read(store); });
  own_stores().open.push_back(store);
}

void bulk_commit() {
  ThreadStores& own = own_stores();
  own.reading.push_back(own.open);
  own.writing.push_back(std::move(own.open));
  own.open.clear();
}

void bulk_wait(int num_pending_groups, bool reads_only) {
  ThreadStores& own = own_stores();
  const auto pending = static_cast<size_t>(num_pending_groups);
  for (; own.reading.size() > pending; own.reading.pop_front())
    for (const auto& store : own.reading.front()) finish_reading(store);
  if (reads_only) return;
  for (; own.writing.size() > pending; own.writing.pop_front())
    for (const auto& store : own.writing.front()) async_work().finish(store->writing);
}

}  // namespace sy::cuda_sim
