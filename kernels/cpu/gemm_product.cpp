// The blocked product: for each chunk of columns and piece of k, pack B once; for each block of rows pack A; then
// tiles.
#include "kernels/cpu/gemm_product.h"

#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/parallel.h"

namespace sy::kernels::cpu {
namespace {

constexpr int64_t kPieceUnits = 384;  // most units of k in a piece: longer ones leave the caches, shorter ones reread C
constexpr int64_t kRowBlock = 20 * kTileRows;  // the packed block of A stays in the second-level cache
constexpr int64_t kColumnChunk = 1024;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Adds or sets one tile's sums, rounded to Out, for the rows and columns that exist.
template <int kRows, class Unit, class Out>
[[gnu::always_inline]] inline void write_tile(const Tile<kRows, Unit>& tile, Out* c, int64_t ldc, int64_t rows,
                                              int64_t columns, bool accumulate) {
  using Sum = TileSum<Unit>;
  constexpr int kL = kLanes<Sum>;
  if (rows >= kRows && columns >= 2 * kL) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      Out* row = c + i * ldc;
      store(row, accumulate ? tile.sum[i][0] + load(row) : tile.sum[i][0]);
      store(row + kL, accumulate ? tile.sum[i][1] + load(row + kL) : tile.sum[i][1]);
    }
    return;
  }
  Sum edge[kRows][2 * kL];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    store(edge[i], tile.sum[i][0]);
    store(edge[i] + kL, tile.sum[i][1]);
  }
  for (int64_t i = 0; i < std::min<int64_t>(rows, kRows); ++i)
    for (int64_t j = 0; j < std::min<int64_t>(columns, 2 * kL); ++j) {
      Out& out = c[i * ldc + j];
      out = static_cast<Out>(accumulate ? edge[i][j] + static_cast<Sum>(out) : edge[i][j]);
    }
}

// One tile; `rows` of it exist. The lines of C are fetched while the sums run.
template <int kRows, class Unit, class Out>
[[gnu::always_inline]] inline void multiply_tile(const Unit* a, const Unit* b, Out* c, int64_t ldc, int64_t rows,
                                                 int64_t columns, int64_t units, bool accumulate) {
  for (int64_t i = 0; i < std::min<int64_t>(rows, kRows); ++i) {
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + std::min<int64_t>(columns, kTileColumns<Unit>) - 1, 1);
  }
  Tile<kRows, Unit> tile;
  tile.run(units, a, 1, kTileRows, b, kTileColumns<Unit>);
  write_tile(tile, c, ldc, rows, columns, accumulate);
}

// The tiles of one packed block of A against one packed chunk of B. The last rows take a lower tile where that suffices
// (generation: one row): each sum is the same chain of operations.
template <class Unit, class Out>
void multiply_block(const Unit* a, const Unit* b, Out* c, int64_t ldc, int64_t rows, int64_t columns, int64_t units,
                    bool accumulate) {
  constexpr int kLowRows = 4;
  for (int64_t j = 0; j < columns; j += kTileColumns<Unit>)
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const Unit* panel = a + i * units;
      Out* out = c + i * ldc + j;
      if (rows - i > kLowRows)
        multiply_tile<kTileRows>(panel, b + j * units, out, ldc, rows - i, columns - j, units, accumulate);
      else multiply_tile<kLowRows>(panel, b + j * units, out, ldc, rows - i, columns - j, units, accumulate);
    }
}

template <class Out>
void clear(Out* c, int64_t ldc, int64_t m, int64_t n) {
  for (int64_t i = 0; i < m; ++i) std::fill(c + i * ldc, c + i * ldc + n, Out(0));
}

}  // namespace

template <class In, class Out>
void serial_product(const Product<In, Out>& args) {
  using Unit = typename Pack<In>::Unit;
  using Sum = TileSum<Unit>;
  constexpr int kColumns = kTileColumns<Unit>;
  if (args.m <= 0 || args.n <= 0) return;
  if (args.k <= 0) {
    if (!args.accumulate) clear(args.c, args.ldc, args.m, args.n);
    return;
  }
  // K in equal pieces (multiples of 32, so that packing moves whole vectors), of a length that depends on K alone.
  constexpr int64_t kMost = kPieceUnits * Pack<In>::kPerUnit;
  const int64_t pieces = (args.k + kMost - 1) / kMost;
  const int64_t piece = std::min(kMost, round_up((args.k + pieces - 1) / pieces, 32));
  // Sums of several pieces pass through memory; a narrower Out would round them at every piece, so they get a buffer.
  const bool needs_sums = !std::is_same_v<Out, Sum> && args.k > piece;
  constexpr int64_t kSlab = 4 * kRowBlock;  // bounds that buffer
  if (needs_sums && args.m > kSlab) {
    for (int64_t m0 = 0; m0 < args.m; m0 += kSlab)
      serial_product(args.part(m0, std::min(kSlab, args.m - m0), 0, args.n));
    return;
  }
  static thread_local Scratch a_scratch, b_scratch, sum_scratch;
  const int64_t chunk = std::min(kColumnChunk, round_up(args.n, kColumns));
  Unit* a_panels = a_scratch.reserve<Unit>(kRowBlock * kPieceUnits + kLanes<Unit>);
  Unit* b_panels = b_scratch.reserve<Unit>(chunk * kPieceUnits + kLanes<Unit>);
  Sum* sums = needs_sums ? sum_scratch.reserve<Sum>(args.m * chunk) : nullptr;
  for (int64_t n0 = 0; n0 < args.n; n0 += chunk) {
    const int64_t columns = std::min(chunk, args.n - n0);
    for (int64_t k0 = 0; k0 < args.k; k0 += piece) {
      const int64_t count = std::min(piece, args.k - k0);
      const int64_t units = (count + Pack<In>::kPerUnit - 1) / Pack<In>::kPerUnit;
      const bool last = k0 + count == args.k;
      pack_panels<kColumns>(args.b.at(n0, k0), args.b.stride, args.b.k_contiguous, columns, count, b_panels);
      for (int64_t m0 = 0; m0 < args.m; m0 += kRowBlock) {
        const int64_t rows = std::min(kRowBlock, args.m - m0);
        pack_panels<kTileRows>(args.a.at(m0, k0), args.a.stride, args.a.k_contiguous, rows, count, a_panels);
        Out* c = args.c + m0 * args.ldc + n0;
        if (!needs_sums) {
          multiply_block(a_panels, b_panels, c, args.ldc, rows, columns, units, args.accumulate || k0 > 0);
          continue;
        }
        Sum* partial = sums + m0 * chunk;
        multiply_block(a_panels, b_panels, partial, chunk, rows, columns, units, k0 > 0);
        if (!last) continue;
        for (int64_t i = 0; i < rows; ++i)
          for_vectors<Sum>(columns, [&](int64_t j, int64_t n) {
            Vec<Sum> value = load_n(partial + i * chunk + j, n);
            Out* out = c + i * args.ldc + j;
            if (args.accumulate) value += load_n(out, n);
            store_n(out, value, n);
          });
      }
    }
  }
}

template <class In, class Out>
void parallel_product(const Product<In, Out>& args) {
  constexpr int64_t kSerialFlops = 1 << 18;
  const int64_t row_step = kTileRows, column_step = product_column_step<In>();
  const int64_t row_tiles = (args.m + row_step - 1) / row_step, column_tiles = (args.n + column_step - 1) / column_step;
  const int threads = omp_get_max_threads();
  if (threads == 1 || args.m * args.n * std::max<int64_t>(1, args.k) <= kSerialFlops || row_tiles * column_tiles == 1)
    return serial_product(args);
  // A grid of row_parts x column_parts; every part packs its own operands. Small parts pack more in all, large ones let
  // threads wait for the slowest, about a twelfth of a part where other programs run as well: take the best grid.
  int64_t row_parts = 1, column_parts = 1;
  double best = -1;
  for (int64_t rows = 1; rows <= std::min<int64_t>(row_tiles, 4 * threads); ++rows)
    for (int64_t columns = 1; columns <= std::min(column_tiles, 4 * threads / rows); ++columns) {
      const int64_t row_len = (row_tiles + rows - 1) / rows * row_step;
      const int64_t column_len = (column_tiles + columns - 1) / columns * column_step;
      // Cost of one part per k, in multiply-adds: a packed element costs about as much as sixteen.
      const double part_cost = static_cast<double>(row_len * column_len + 16 * (row_len + column_len));
      const double cost = part_cost * (static_cast<double>((rows * columns + threads - 1) / threads) + 1.0 / 12);
      if (best < 0 || cost < best) best = cost, row_parts = rows, column_parts = columns;
    }
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t part = 0; part < row_parts * column_parts; ++part) {
    const int64_t r = part / column_parts, s = part % column_parts;
    const int64_t m0 = row_tiles * r / row_parts * row_step,
                  m1 = std::min(args.m, row_tiles * (r + 1) / row_parts * row_step);
    const int64_t n0 = column_tiles * s / column_parts * column_step;
    const int64_t n1 = std::min(args.n, column_tiles * (s + 1) / column_parts * column_step);
    serial_product(args.part(m0, m1 - m0, n0, n1 - n0));
  }
}

int64_t product_row_step() { return kTileRows; }
template <class In>
int64_t product_column_step() {
  return kTileColumns<typename Pack<In>::Unit>;
}

#define SY_INSTANTIATE(In, Out)                          \
  template void serial_product(const Product<In, Out>&); \
  template void parallel_product(const Product<In, Out>&);
SY_INSTANTIATE(float, float)
SY_INSTANTIATE(double, double)
SY_INSTANTIATE(bf16, bf16)
SY_INSTANTIATE(bf16, float)
#undef SY_INSTANTIATE
template int64_t product_column_step<float>();
template int64_t product_column_step<double>();
template int64_t product_column_step<bf16>();

}  // namespace sy::kernels::cpu
