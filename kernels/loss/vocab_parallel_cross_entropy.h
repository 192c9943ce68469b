// Softmax cross-entropy (kernels/loss/cross_entropy.h) of logits whose vocabulary is split over the ranks of a tensor
// group: each rank reduces its columns, the ranks exchange three numbers per row, each rank forms its gradient.
//
// A rank holds logits [rows, ld] in Acc<T>: columns [first_column, first_column + columns) of the vocabulary, of which
// those below `vocab` count; the others, and the pads [columns, ld), are masked. A rank may hold no counting column.
// target [rows] i32 holds ids of the whole vocabulary, equal on all ranks; a negative one is ignored.
//
// cross_entropy_partial: partial [rows, 3] in Acc<T>, set:
//   (m = max l,  sum exp(l - m),  l[target] if the target lies here, else 0)   over the counting columns l
//   (-inf, 0, 0) where no column counts and in ignored rows
// cross_entropy_merge, given the partials of all ranks [ranks, rows, 3] in rank order, with M = max of the m:
//   loss[r] = M + log(sum over ranks of sum * exp(m - M)) - l[target]    (0 for an ignored row), in Acc<T>, set
//   dlogits [rows, ld] in T, nullable, set: (softmax - onehot) * state->inv_loss_tokens; zero in ignored rows, masked
//   columns and pads. May alias logits when T is Acc<T>.
// The loss is computed from the partials alone: the same bits on every rank, and with one rank those of cross_entropy's
// CPU body. Deterministic.
#pragma once

#include "kernels/step_state.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class A>
struct CrossEntropyPartial {
  const A* logits = nullptr;
  const int32_t* target = nullptr;
  A* partial = nullptr;
  int64_t rows = 0, ld = 0, columns = 0, first_column = 0, vocab = 0;

  Work work() const { return {.bytes = bytes_of<A>(rows * columns)}; }
};

template <class T>
struct CrossEntropyMerge {
  const Acc<T>* logits = nullptr;  // read only when dlogits is wanted
  const int32_t* target = nullptr;
  const Acc<T>* partials = nullptr;
  Acc<T>* loss = nullptr;
  T* dlogits = nullptr;
  const StepState* state = nullptr;  // read only when dlogits is wanted
  int64_t ranks = 1, rows = 0, ld = 0, columns = 0, first_column = 0, vocab = 0;

  Work work() const { return {.bytes = bytes_of<Acc<T>, T>(rows * columns)}; }
};

// How many of the rank's columns count (shared by the bodies).
SY_HD inline int64_t counting_columns(int64_t columns, int64_t first_column, int64_t vocab) {
  const int64_t left = vocab - first_column;
  return left < 0 ? 0 : left < columns ? left : columns;
}

template <class A>
void cross_entropy_partial(Cpu, const CrossEntropyPartial<A>& args);
template <class A>
void cross_entropy_partial(Cuda, const CrossEntropyPartial<A>& args);
template <class T>
void cross_entropy_merge(Cpu, const CrossEntropyMerge<T>& args);
template <class T>
void cross_entropy_merge(Cuda, const CrossEntropyMerge<T>& args);

}  // namespace sy::kernels
