// The codebook product with AVX-512: a register holds 16 values, one permutation looks 16 codes up.
#include "codebook_tile.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>

namespace commonweight {
namespace {

struct Avx512 {
  using Vec = __m512;
  static constexpr int rows = 4, samples = 5;

  template <int bits>
  struct Table {
    Table() = default;
    Table(const float* start, std::ptrdiff_t held) : from(start) {
      const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      const __m512i own = _mm512_and_si512(lanes, _mm512_set1_epi32((1 << bits) - 1));
      const __mmask16 here = _mm512_cmplt_epi32_mask(lanes, _mm512_set1_epi32(static_cast<int>(held)));
      values = _mm512_permutexvar_ps(own, _mm512_maskz_loadu_ps(here, start));
    }
    __m512 values;
    const float* from;
  };

  template <int bits>
  static Vec lookup(const Table<bits>& table, const std::uint32_t* words, int k) {
    const __m512i codes = _mm512_srli_epi32(_mm512_loadu_si512(words), bits * k);
    if constexpr (bits == 8)
      return _mm512_i32gather_ps(_mm512_and_si512(codes, _mm512_set1_epi32(255)), table.from, 4);
    else  // the permutation reads 4 bits: a codebook of fewer is repeated, so that the rest does not matter
      return _mm512_permutexvar_ps(codes, table.values);
  }

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* y, Vec v) { _mm512_storeu_ps(y, v); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Vec v) { return _mm512_reduce_add_ps(v); }
};

}  // namespace

CodebookKernels codebook_avx512(int bits) { return codebook_for<Avx512>(bits); }

}  // namespace commonweight
#else
namespace commonweight {
CodebookKernels codebook_avx512(int) { return {}; }
}  // namespace commonweight
#endif
