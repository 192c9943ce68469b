// What all communicators have in common: checks of what they are given, and texts.
#include "parallel/comm.h"

#include "csrc/core/check.h"
#include "parallel/device_comm.h"

namespace sy {

Comm::Comm() = default;
Comm::~Comm() = default;

void Comm::set_device(std::unique_ptr<DeviceComm> device) { device_ = std::move(device); }

int64_t Comm::begin_on_device(CommKind kind, CommElement, int64_t, int, std::span<const int64_t>,
                              std::span<const int64_t>) {
  throw Error(fmt::format("{} on a device in group '{}', which has no other ranks", comm_kind_name(kind), name()));
}
void Comm::poll(CommKind, int64_t, const std::function<bool()>& is_done) {
  while (!is_done()) {
  }
}

void Comm::check_counts(std::size_t available, std::span<const int64_t> counts) const {
  SY_CHECK(counts.size() == static_cast<std::size_t>(size()), "{} counts for the {} ranks of group '{}'", counts.size(),
           size(), name());
  auto left = static_cast<int64_t>(available);
  for (const int64_t count : counts) {
    SY_CHECK(count >= 0 && count <= left, "a count of {} where {} of {} elements are left, in group '{}'", count, left,
             available, name());
    left -= count;
  }
}

void Comm::check_segments(std::size_t all, std::size_t mine) const {
  SY_CHECK(all == mine * static_cast<std::size_t>(size()), "{} elements are not {} for each of the {} ranks of '{}'",
           all, mine, size(), name());
}

std::string Comm::broadcast_string(std::string text, int root) {
  int64_t length = rank() == root ? static_cast<int64_t>(text.size()) : 0;
  all_reduce_sum(std::span<int64_t>(&length, 1));
  text.resize(static_cast<std::size_t>(length));
  broadcast(std::as_writable_bytes(std::span(text.data(), text.size())), root);
  return text;
}

}  // namespace sy
