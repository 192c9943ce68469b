// Embedding rows:  y[t] = table[id[t]].  Backward:  dtable[id[t]] += dy[t], tokens in ascending order (deterministic).
//
// table [vocab, dim] in T, id [tokens] i32 in [0, vocab), y [tokens, dim] in T; y is set, dtable in Acc<T> accumulated.
#pragma once

#include "kernels/types.h"

namespace sy::kernels {

template <class T>
struct EmbeddingForward {
  const T* table = nullptr;
  const int32_t* id = nullptr;
  T* y = nullptr;
  int64_t tokens = 0, vocab = 0, dim = 0;
};

template <class T>
struct EmbeddingBackward {
  const T* dy = nullptr;
  const int32_t* id = nullptr;
  Acc<T>* dtable = nullptr;
  int64_t tokens = 0, vocab = 0, dim = 0;
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
