// Registers of sixteen floats, with codebooks in them: one permutation looks 16 codes up. For files compiled for
// AVX-512.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace commonweight {
namespace {

struct Sixteen {
  using Vec = __m512;
  static constexpr int lanes = 16, rows = 6, samples = 4;

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec load(const float* x) { return _mm512_loadu_ps(x); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Vec v) { return _mm512_reduce_add_ps(v); }
};

struct Avx512 : Sixteen {
  using Plain = Sixteen;
  template <int bits>
  static constexpr int rows = bits == 8 ? 1 : 4;  // a codebook of 256 values takes half of the registers
  static constexpr int samples = 5, together = 4;

  template <int bits>
  struct Table {
    Table() = default;
    Table(const float* start, std::ptrdiff_t held) {
      const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      const __m512i own = _mm512_and_si512(lanes, _mm512_set1_epi32((1 << bits) - 1));
      const __mmask16 here = _mm512_cmplt_epi32_mask(lanes, _mm512_set1_epi32(static_cast<int>(held)));
      values = _mm512_permutexvar_ps(own, _mm512_maskz_loadu_ps(here, start));
    }
    __m512 values;
  };

  using Words = __m512i;
  static Words words(const void* start) { return _mm512_loadu_si512(start); }

  template <int bits>
  static Vec lookup(const Table<bits>& table, Words words, int shift) {
    const __m512i codes = _mm512_srli_epi32(words, shift);
    if constexpr (bits == 8) {
      // Every other code is looked up in memory, whose ports the permutations of the rest leave idle.
      if (shift & 8) return _mm512_i32gather_ps(_mm512_and_si512(codes, _mm512_set1_epi32(255)), table.start, 4);
      const __mmask16 odd = _mm512_test_epi32_mask(codes, _mm512_set1_epi32(32));
      const __mmask16 second = _mm512_test_epi32_mask(codes, _mm512_set1_epi32(64));
      const __mmask16 upper = _mm512_test_epi32_mask(codes, _mm512_set1_epi32(128));
      const Vec* const values = table.values;
      const Vec low = _mm512_mask_blend_ps(second, of_64(values, codes, odd), of_64(values + 4, codes, odd));
      const Vec high = _mm512_mask_blend_ps(second, of_64(values + 8, codes, odd), of_64(values + 12, codes, odd));
      return _mm512_mask_blend_ps(upper, low, high);
    } else {  // the permutation reads 4 bits: a codebook of fewer is repeated, so that the rest does not matter
      return _mm512_permutexvar_ps(codes, table.values);
    }
  }

  // By the lowest 6 bits of the codes: a permutation of two registers reads 5; the codes whose sixth bit is set wait
  // for the second one.
  static Vec of_64(const __m512* values, __m512i codes, __mmask16 odd) {
    const Vec even = _mm512_mask2_permutex2var_ps(values[0], codes, _knot_mask16(odd), values[1]);
    return _mm512_mask2_permutex2var_ps(values[2], _mm512_castps_si512(even), odd, values[3]);
  }

  static void store(float* y, Vec v) { _mm512_storeu_ps(y, v); }
};

template <>
struct Avx512::Table<8> {
  Table() = default;
  Table(const float* from, std::ptrdiff_t) : start(from) {
    for (int part = 0; part < 16; ++part) values[part] = _mm512_loadu_ps(start + 16 * part);
  }
  const float* start;
  __m512 values[16];
};

}  // namespace
}  // namespace commonweight
