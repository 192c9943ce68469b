// MPI counts are int: what is longer travels in pieces, cut alike on both sides.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sy {

// Bytes of one message at most, elements of one reduction at most: the product with 8 bytes still fits an int, which
// MPI implementations do not always avoid.
inline constexpr int64_t kMaxMessageBytes = int64_t{1} << 30;
inline constexpr int64_t kMaxReduceCount = int64_t{1} << 27;

// visit(begin, count) for the pieces of [0, total), in order, none longer than `most`; nothing for a total of 0.
template <class Visit>
void for_each_piece(int64_t total, int64_t most, Visit&& visit) {
  for (int64_t begin = 0; begin < total; begin += most) visit(begin, std::min(most, total - begin));
}

}  // namespace sy
