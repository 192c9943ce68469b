// CPU body of sum_segments: blocks of sums that stay in the first cache, over the threads.
#include "kernels/dense/sum_segments.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"

namespace sy::kernels {

template <class T>
void sum_segments(Cpu, const SumSegments<T>& args) {
  constexpr int64_t kBlock = 1024;
  const int64_t blocks = (args.count + kBlock - 1) / kBlock;
  cpu::parallel_pieces(blocks, kBlock * args.ranks, [&](int64_t first, int64_t last) {
    for (int64_t begin = first * kBlock; begin < std::min(last * kBlock, args.count); begin += kBlock) {
      const int64_t width = std::min(args.count - begin, kBlock);
      Acc<T> sum[kBlock];
      const T* segment = args.segments + begin;
      for (int64_t i = 0; i < width; ++i) sum[i] = static_cast<Acc<T>>(segment[i]);
      for (int64_t r = 1; r < args.ranks; ++r) {
        segment += args.count;
        for (int64_t i = 0; i < width; ++i) sum[i] += static_cast<Acc<T>>(segment[i]);
      }
      for (int64_t i = 0; i < width; ++i) args.sum[begin + i] = static_cast<T>(sum[i]);
    }
  });
}

template void sum_segments(Cpu, const SumSegments<float>&);
template void sum_segments(Cpu, const SumSegments<bf16>&);
template void sum_segments(Cpu, const SumSegments<double>&);

}  // namespace sy::kernels
