// Embedding rows:  y[t] = table[id[t] - first_row].  Backward:  dtable[id[t] - first_row] += dy[t], tokens in ascending
// order (deterministic).
//
// table [vocab, dim] in T holds the ids [first_row, first_row + vocab): a rank's share of the vocabulary, or all of it.
// id [tokens] i32; an id outside the table gives a row of zeros forward and adds nothing backward, so that the rows of
// all shares add up to the whole table's. y [tokens, dim] in T is set, dtable in Acc<T> accumulated.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct EmbeddingForward {
  const T* table = nullptr;
  const int32_t* id = nullptr;
  T* y = nullptr;
  int64_t tokens = 0, vocab = 0, dim = 0;
  int64_t first_row = 0;

  Work work() const { return {.bytes = bytes_of<T, T>(tokens * dim)}; }
};

template <class T>
struct EmbeddingBackward {
  const T* dy = nullptr;
  const int32_t* id = nullptr;
  Acc<T>* dtable = nullptr;
  int64_t tokens = 0, vocab = 0, dim = 0;
  int64_t first_row = 0;

  Work work() const { return {.bytes = bytes_of<T, Acc<T>, Acc<T>>(tokens * dim)}; }
};

template <class T>
void embedding_forward(Cpu, const EmbeddingForward<T>& args);
template <class T>
void embedding_forward(Cuda, const EmbeddingForward<T>& args);
template <class T>
void embedding_backward(Cpu, const EmbeddingBackward<T>& args);
template <class T>
void embedding_backward(Cuda, const EmbeddingBackward<T>& args);

}  // namespace sy::kernels
