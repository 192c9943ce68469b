#include "parallel/comm_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace sy {

const char* comm_kind_name(CommKind kind) {
  switch (kind) {
    case CommKind::kAllReduceSum:
      return "all_reduce_sum";
    case CommKind::kAllGather:
      return "all_gather";
    case CommKind::kAllToAll:
      return "all_to_all";
    case CommKind::kReduceScatterSum:
      return "reduce_scatter_sum";
    case CommKind::kBroadcast:
      return "broadcast";
    case CommKind::kBarrier:
      return "barrier";
    case CommKind::kSplit:
      return "split";
    case CommKind::kFinish:
      return "finish";
  }
  return "?";
}

CommCall::CommCall(CommKind kind, int64_t number, CommElement element, int64_t count, int root)
    : number(number), count(count), element_bytes(element.bytes), kind(kind), root(root) {
  std::memcpy(this->element, element.name, std::min(std::strlen(element.name), sizeof(this->element) - 1));
}

std::string comm_call_text(const CommCall& call) {
  std::string text = comm_kind_name(call.kind);
  if (call.element_bytes > 0 && call.count >= 0) text += fmt::format(" of {} {}", call.count, call.element);
  else if (call.element_bytes > 0) text += fmt::format(" of {}", call.element);
  if (call.element_bytes > 0 && std::strcmp(call.element, "elements") == 0)
    text += fmt::format(" of {} bytes", call.element_bytes);
  if (call.root >= 0) text += fmt::format(" from group rank {}", call.root);
  return text;
}

std::string describe_difference(const std::string& group, std::span<const int> world_ranks,
                                std::span<const CommCall> calls) {
  const auto other = std::find_if(calls.begin(), calls.end(), [&](const CommCall& c) { return !(c == calls.front()); });
  if (other == calls.end()) return "";
  std::string numbers = fmt::format("{}", calls.front().number);
  if (other->number != calls.front().number) numbers = fmt::format("{} and {}", other->number, calls.front().number);
  return fmt::format("rank {} calls {}, rank {} {}, as number {} of group '{}'",
                     world_ranks[static_cast<std::size_t>(other - calls.begin())], comm_call_text(*other),
                     world_ranks.front(), comm_call_text(calls.front()), numbers, group);
}

std::string describe_difference(const std::string& group, std::span<const int> world_ranks, const CommCall& call,
                                std::span<const int64_t> counts) {
  const std::size_t size = world_ranks.size();
  for (std::size_t from = 0; from < size; ++from)
    for (std::size_t to = 0; to < size; ++to) {
      const int64_t sent = counts[from * 2 * size + to], expected = counts[to * 2 * size + size + from];
      if (sent == expected) continue;
      return fmt::format("rank {} sends {} {} to rank {}, which expects {}, in {} number {} of group '{}'",
                         world_ranks[from], sent, call.element, world_ranks[to], expected, comm_kind_name(call.kind),
                         call.number, group);
    }
  return "";
}

}  // namespace sy
