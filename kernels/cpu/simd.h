// Vectors for CPU kernels: as wide as the machine has (64, 32 or 16 bytes), portable through compiler vector
// extensions.
//
// Vec<T> is a vector of kLanes<T> elements with the usual operators. Kernels over storage type T (f32, bf16, f64) load
// into Vec<Acc<T>>, compute there and store back rounded once. The partial forms touch only the first n elements.
// exp_vec: f32 by range reduction and a polynomial (relative error below 2e-7, -inf -> 0, NaN -> NaN, results below the
// smallest normal number flush to 0); f64 through std::exp.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/types.h"

namespace sy::kernels::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

template <class T, int kBytes = kVectorBytes>
struct VecOf {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <class T>
using Vec = typename VecOf<T>::type;
template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vec<T> broadcast(T value) {
  return value - Vec<T>{};  // value - 0 keeps every bit, signed zeros and NaN included
}

// Loads kLanes<Acc<T>> elements of T, widened.
template <class T>
inline Vec<Acc<T>> load(const T* p) {
  if constexpr (std::is_same_v<T, bf16>) {
    typename VecOf<uint16_t, kVectorBytes / 2>::type half;
    memcpy(&half, p, sizeof(half));
    return std::bit_cast<Vec<float>>(__builtin_convertvector(half, Vec<uint32_t>) << 16);
  } else {
    Vec<T> v;
    memcpy(&v, p, sizeof(v));
    return v;
  }
}

// Rounds as bf16(float) does, lane by lane.
inline auto round_to_bf16(Vec<float> v) {
  const auto u = std::bit_cast<Vec<uint32_t>>(v);
  const auto rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const auto is_nan = (u & 0x7fffffffu) > 0x7f800000u;
  const auto bits = is_nan ? ((u >> 16) | 0x40u) : rounded;
  return __builtin_convertvector(bits, typename VecOf<uint16_t, kVectorBytes / 2>::type);
}

template <class T>
inline void store(T* p, Vec<Acc<T>> v) {
  if constexpr (std::is_same_v<T, bf16>) {
    const auto half = round_to_bf16(v);
    memcpy(p, &half, sizeof(half));
  } else {
    memcpy(p, &v, sizeof(v));
  }
}

// The first n < kLanes elements; the other lanes are `pad`.
template <class T>
inline Vec<Acc<T>> load_partial(const T* p, int64_t n, Acc<T> pad = 0) {
  Acc<T> lanes[kLanes<Acc<T>>];
  for (int64_t i = 0; i < kLanes<Acc<T>>; ++i) lanes[i] = i < n ? static_cast<Acc<T>>(p[i]) : pad;
  return load(lanes);
}

template <class T>
inline void store_partial(T* p, Vec<Acc<T>> v, int64_t n) {
  Acc<T> lanes[kLanes<Acc<T>>];
  store(lanes, v);
  for (int64_t i = 0; i < n; ++i) p[i] = static_cast<T>(lanes[i]);
}

// Calls step(i, n) for consecutive pieces of [0, count): n = kLanes for full vectors, less for the last.
template <class A, class F>
inline void for_vectors(int64_t count, F&& step) {
  int64_t i = 0;
  for (; i + kLanes<A> <= count; i += kLanes<A>) step(i, static_cast<int64_t>(kLanes<A>));
  if (i < count) step(i, count - i);
}

template <class T>
inline Vec<Acc<T>> load_n(const T* p, int64_t n, Acc<T> pad = 0) {
  return n == kLanes<Acc<T>> ? load(p) : load_partial(p, n, pad);
}
template <class T>
inline void store_n(T* p, Vec<Acc<T>> v, int64_t n) {
  if (n == kLanes<Acc<T>>) store(p, v);
  else store_partial(p, v, n);
}

// Sum of the lanes in lane order.
template <class A>
inline A sum_lanes(Vec<A> v) {
  A sum = 0;
  for (int i = 0; i < kLanes<A>; ++i) sum += v[i];
  return sum;
}
template <class A>
inline A max_lanes(Vec<A> v) {
  A best = v[0];
  for (int i = 1; i < kLanes<A>; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

inline Vec<float> exp_vec(Vec<float> x) {
  // exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2)/2; ln 2 in two parts so that r keeps its low bits.
  const Vec<float> low = broadcast(-87.336544f), high = broadcast(88.722839f);
  const auto underflow = x < low;
  const auto overflow = x > high;
  x = underflow ? low : x;
  x = overflow ? high : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer held in the low mantissa bits
  const Vec<float> shifted = x * 1.44269504f + magic;
  const Vec<float> n = shifted - magic;
  const Vec<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec<float> p = broadcast(1.0f / 5040.0f);
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // 2^n in two factors: n reaches 128, beyond what one exponent field can hold.
  const auto exponent = std::bit_cast<Vec<int32_t>>(shifted) - std::bit_cast<int32_t>(magic);
  const auto half = exponent >> 1;
  const auto first = std::bit_cast<Vec<float>>((half + 127) << 23);
  const auto second = std::bit_cast<Vec<float>>((exponent - half + 127) << 23);
  p = p * first * second;
  p = underflow ? broadcast(0.0f) : p;
  return overflow ? broadcast(INFINITY) : p;
}
inline Vec<double> exp_vec(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

}  // namespace sy::kernels::cpu
