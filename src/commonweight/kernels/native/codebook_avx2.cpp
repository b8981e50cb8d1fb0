// The codebook product with AVX2: a register holds 8 values, so that 16 take two permutations and a choice.
#include "codebook_tile.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace commonweight {
namespace {

struct Eight {
  using Vec = __m256;
  static constexpr int lanes = 8, rows = 3, samples = 4;

  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec load(const float* x) { return _mm256_loadu_ps(x); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static float sum(Vec v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
};

struct Avx2 {
  using Plain = Eight;
  struct Vec {
    __m256 low, high;
  };
  template <int bits>
  static constexpr int rows = 2;
  static constexpr int samples = 2, together = 1;

  template <int bits>
  struct Table {
    Table() = default;
    Table(const float* start, std::ptrdiff_t held) : from(start) {
      const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), end = _mm256_set1_epi32(static_cast<int>(held));
      const __m256i own = _mm256_and_si256(lanes, _mm256_set1_epi32((1 << bits) - 1));
      low = _mm256_permutevar8x32_ps(_mm256_maskload_ps(start, _mm256_cmpgt_epi32(end, lanes)), own);
      const __m256i upper = _mm256_add_epi32(lanes, _mm256_set1_epi32(8));
      high = _mm256_maskload_ps(start + 8, _mm256_cmpgt_epi32(end, upper));
    }
    __m256 low, high;
    const float* from;
  };

  struct Words {
    __m256i low, high;
  };

  static Words words(const void* start) {
    const auto* halves = static_cast<const __m256i*>(start);
    return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
  }

  template <int bits>
  static __m256 eight(const Table<bits>& table, __m256i words, int shift) {
    const __m256i codes = _mm256_srli_epi32(words, shift);
    if constexpr (bits == 8) {
      return _mm256_i32gather_ps(table.from, _mm256_and_si256(codes, _mm256_set1_epi32(255)), 4);
    } else {
      const __m256 low = _mm256_permutevar8x32_ps(table.low, codes);
      if constexpr (bits < 4) return low;
      const __m256 high = _mm256_permutevar8x32_ps(table.high, codes);
      return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));  // by the fourth bit
    }
  }

  template <int bits>
  static Vec lookup(const Table<bits>& table, const Words& words, int shift) {
    return {eight(table, words.low, shift), eight(table, words.high, shift)};
  }

  static Vec zero() { return {Eight::zero(), Eight::zero()}; }
  static Vec load(const float* x) { return {Eight::load(x), Eight::load(x + 8)}; }
  static void store(float* y, Vec v) { _mm256_storeu_ps(y, v.low), _mm256_storeu_ps(y + 8, v.high); }
  static Vec fma(Vec a, Vec b, Vec c) { return {Eight::fma(a.low, b.low, c.low), Eight::fma(a.high, b.high, c.high)}; }
  static float sum(Vec v) { return Eight::sum(_mm256_add_ps(v.low, v.high)); }
};

}  // namespace

CodebookKernels codebook_avx2(int bits) { return codebook_for<Avx2>(bits); }

}  // namespace commonweight
#else
namespace commonweight {
CodebookKernels codebook_avx2(int) { return {}; }
}  // namespace commonweight
#endif
