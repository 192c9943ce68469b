// One collective call as words and as numbers: what debug mode compares between ranks, and what reports about waiting
// ranks name. No communication here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "kernels/types.h"

namespace sy {

enum class CommKind : int32_t {
  kAllReduceSum,
  kAllGather,
  kAllToAll,
  kReduceScatterSum,
  kBroadcast,
  kBarrier,
  kSplit,
  kFinish,  // the end of the program
};
const char* comm_kind_name(CommKind kind);

// The type of the elements that a collective carries. Transfers need the bytes; people, the name.
struct CommElement {
  const char* name = "";
  int64_t bytes = 0;
};
template <class T>
constexpr CommElement comm_element() {
  static_assert(std::is_trivially_copyable_v<T>, "ranks exchange plain bytes");
  const char* name = "elements";
  if (std::is_same_v<T, float>) name = "f32";
  if (std::is_same_v<T, double>) name = "f64";
  if (std::is_same_v<T, bf16>) name = "bf16";
  if (std::is_same_v<T, int32_t>) name = "i32";
  if (std::is_same_v<T, int64_t>) name = "i64";
  if (std::is_same_v<T, uint8_t>) name = "u8";
  if (std::is_same_v<T, std::byte>) name = "bytes";
  return {name, static_cast<int64_t>(sizeof(T))};
}

// What must be equal on all ranks of a group when they call its next collective. Travels between ranks as bytes.
struct CommCall {
  int64_t number = 0;  // of the calls on this group, from 1
  int64_t count = -1;  // elements; -1: each rank has its own
  int64_t element_bytes = 0;
  CommKind kind = CommKind::kBarrier;
  int32_t root = -1;  // rank in the group; -1: there is none
  char element[16] = {};

  CommCall() = default;
  CommCall(CommKind kind, int64_t number, CommElement element, int64_t count, int root);
  bool operator==(const CommCall&) const = default;
};
// "all_gather of 12 f32"
std::string comm_call_text(const CommCall& call);

// The calls of a group's ranks, in group order, of which `world_ranks` are the numbers in the job. "" when all are
// equal, else the first that differs from the group's first rank:
//   "rank 2 calls all_gather of 12 f32, rank 0 all_reduce_sum of 7 f64, as number 31 of group 'tp'"
std::string describe_difference(const std::string& group, std::span<const int> world_ranks,
                                std::span<const CommCall> calls);
// For an all-to-all: `counts` holds, for each rank, what it sends to each rank and then what it expects from each. ""
// when every message has the length that its receiver expects, else the first that has not.
std::string describe_difference(const std::string& group, std::span<const int> world_ranks, const CommCall& call,
                                std::span<const int64_t> counts);

}  // namespace sy
