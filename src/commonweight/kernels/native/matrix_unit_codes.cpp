// The codebook product on a matrix unit (AMX) in integers of 8 bits, which it multiplies 16 rows of 64 at a time.
//
// A value of a codebook becomes an integer of 24 bits, w = u (d₀ + 2⁸ d₁ + 2¹⁶ d₂) with digits from -128 to 127 and a
// power of two u for each codebook; an input one of 32 bits, four such digits, with a power of two for each sample. One
// permutation looks a digit of 64 codes up: three for 64 weights, where float32 takes four, and multiplying and adding
// cost the registers nothing. Digits of inputs are columns of a matrix: sixteen of them, those of a group of four
// samples, take the unit as long as one. Sums of products of two digits are exact, and put together in double.
//
// So all that is rounded are values, to 2⁻²³ of the largest of their codebook, and inputs, to 2⁻³¹ of the largest of
// their sample. Rows whose codebook has a value that loses more than 2⁻¹² of itself, or is not finite, are left to the
// registers; so is the product if more than one of 64 inputs of a sample loses as much, or one is not finite.
#include "matrix_unit.hpp"

#if defined(__AMX_INT8__) && defined(__AVX512VBMI__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "codebook_avx512.hpp"
#include "codebook_tile.hpp"
#include "matrix_unit_tiles.hpp"
#include "threads.hpp"

namespace commonweight {
namespace {

constexpr int digits_of_value = 3, digits_of_input = 4;
constexpr Size samples_of_group = 4;
constexpr Size block_bytes = 4 * block_words;
constexpr Size most_columns = (1 << 17) - 1;  // whose products of digits, 2¹⁴ each, stay below 2³¹
constexpr Size piece_bytes = 512 << 10;       // of codes that stay in the second cache for all samples
constexpr Size inputs_for_one_coarse = 64;

// work(0), work(1) and so on, each with a number that the compiler knows.
template <class Work, int... index>
void each(const Work& work, std::integer_sequence<int, index...>) {
  (work(std::integral_constant<int, index>()), ...);
}

// Which code of a word is looked up in byte `byte` of it at step `step` of a block; beyond `per`, none is.
template <int bits>
struct Steps {
  static constexpr int per = 32 / bits;
  static constexpr int of_block = bits == 3 ? 3 : 8 / bits;
  static constexpr int together = bits == 3 ? 1 : 2;  // of a turn
  static constexpr int code(int step, int byte) { return bits == 3 ? 4 * step + byte : byte * of_block + step; }
};

// Moves the code of each byte to its lowest bits; the bits above do not matter.
template <int bits, int step>
__m512i at_lowest_bits(__m512i words) {
  if constexpr (bits == 3) {
    constexpr auto from = [](int word, int byte) {
      const int code = Steps<bits>::code(step, byte);
      return static_cast<std::uint64_t>(code < Steps<bits>::per ? 32 * word + bits * code : 0) << 8 * (4 * word + byte);
    };
    constexpr std::uint64_t shifts = from(0, 0) | from(0, 1) | from(0, 2) | from(0, 3) | from(1, 0) | from(1, 1) |
                                     from(1, 2) | from(1, 3);
    return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(static_cast<long long>(shifts)), words);
  } else {
    return _mm512_srli_epi16(words, step * bits);
  }
}

// The exponent of the power of two that is the unit of integers of so many digits, for numbers of at most this size,
// given by its bits: more than 2⁻⁷ of the range stays free, which digits from -128 to 127 cannot reach.
__m512i unit_exponent(__m512i largest, int digits) {
  const __m512i above = _mm512_srli_epi32(_mm512_add_epi32(largest, _mm512_set1_epi32(0x20000)), 23);
  return _mm512_sub_epi32(_mm512_max_epi32(above, _mm512_set1_epi32(1)), _mm512_set1_epi32(127 + 8 * digits - 2));
}

__m512 scaled(__m512 numbers, __m512i exponent) {
  return _mm512_scalef_ps(numbers, _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_setzero_si512(), exponent)));
}

// Of which numbers more than 2⁻¹² is lost, if they are scaled and rounded to integers; of those that are no numbers, too.
__mmask16 too_coarse(__m512 numbers, __m512 exact, __m512i integers) {
  const __m512 lost = _mm512_abs_ps(_mm512_sub_ps(exact, _mm512_cvtepi32_ps(integers)));
  const __m512 most = _mm512_mul_ps(_mm512_abs_ps(exact), _mm512_set1_ps(0x1p-12f));
  const __mmask16 not_zero = _mm512_cmp_ps_mask(numbers, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  return _mm512_mask_cmp_ps_mask(not_zero, lost, most, _CMP_NLT_UQ);
}

// The digits of integers in bytes, from the lowest on.
__m512i digits_of(__m512i integers) {
  const __m512i middle = _mm512_set1_epi32(static_cast<int>(0x80808080u));
  return _mm512_xor_si512(_mm512_add_epi32(integers, middle), middle);
}

double power_of_two(__m512i exponents) {
  const auto exponent = static_cast<std::int64_t>(_mm_cvtsi128_si32(_mm512_castsi512_si128(exponents)));
  const std::int64_t bits = (exponent + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return power;
}

__m512i size_bits(__m512 numbers) { return _mm512_castps_si512(_mm512_abs_ps(numbers)); }

// The inputs as right factors (groups of samples, steps), tiles of 16 lines: line j holds, for the samples of the group
// one after the other, digit by digit, four bytes: those of the columns whose codes are in the bytes of word j. In lines
// of four samples those that are not there are left as they are; each column of a product depends on its own alone.
struct Inputs {
  explicit Inputs(const CodebookProduct& it, Size n_steps)
      : steps(n_steps), line(digits_of_input * 4 * std::min(it.batch, samples_of_group)),
        groups(pieces(it.batch, samples_of_group)), digits(room<std::uint8_t>(groups * group_bytes())),
        units(static_cast<std::size_t>(it.batch)) {}

  Size step_bytes() const { return lanes * line; }
  Size group_bytes() const { return steps * step_bytes(); }
  const std::uint8_t* group(Size g) const { return digits.get() + g * group_bytes(); }

  // Takes sample n apart; says whether the digits are exact enough.
  template <int bits>
  bool hold(const CodebookProduct& it, Size n) {
    using S = Steps<bits>;
    const Size columns = it.blocks * block_words * S::per;
    const float* x = it.x + n * columns;
    __m512i most = _mm512_setzero_si512();
    for (Size i = 0; i < columns; i += lanes) most = _mm512_max_epi32(most, size_bits(_mm512_loadu_ps(x + i)));
    const int largest = _mm512_reduce_max_epi32(most), infinite = 0x7f800000;
    if (largest >= infinite) return false;
    const __m512i exponent = unit_exponent(_mm512_set1_epi32(largest), digits_of_input);
    units[n] = power_of_two(exponent);
    __m512i coarse = _mm512_setzero_si512();  // how many
    std::uint8_t* to = digits.get() + n / samples_of_group * group_bytes() + n % samples_of_group * 16;
    for (Size block = 0; block < it.blocks; ++block, x += block_words * S::per) {
      for (int step = 0; step < S::of_block; ++step, to += step_bytes()) {
        __m512i bytes[4];
        for (int byte = 0; byte < 4; ++byte) {
          const int code = S::code(step, byte);
          const __m512 some = code < S::per ? _mm512_loadu_ps(x + code * block_words) : _mm512_setzero_ps();
          const __m512 exact = scaled(some, exponent);
          const __m512i integers = _mm512_cvtps_epi32(exact);
          coarse = _mm512_mask_add_epi32(coarse, too_coarse(some, exact, integers), coarse, _mm512_set1_epi32(1));
          bytes[byte] = digits_of(integers);
        }
        store_lines(bytes, to);
      }
    }
    return inputs_for_one_coarse * _mm512_reduce_add_epi32(coarse) <= columns;
  }

  // From (byte, lane, digit) to (lane, digit, byte).
  void store_lines(const __m512i (&bytes)[4], std::uint8_t* to) const {
    const __m512i transposed = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
    const __m512i low[2] = {_mm512_unpacklo_epi32(bytes[0], bytes[1]), _mm512_unpacklo_epi32(bytes[2], bytes[3])};
    const __m512i high[2] = {_mm512_unpackhi_epi32(bytes[0], bytes[1]), _mm512_unpackhi_epi32(bytes[2], bytes[3])};
    const __m512i fours[4] = {_mm512_unpacklo_epi64(low[0], low[1]), _mm512_unpackhi_epi64(low[0], low[1]),
                              _mm512_unpacklo_epi64(high[0], high[1]), _mm512_unpackhi_epi64(high[0], high[1])};
    for (int i = 0; i < 4; ++i, to += line) {  // lanes i, i + 4, i + 8 and i + 12
      const __m512i lines = _mm512_shuffle_epi8(fours[i], transposed);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_castsi512_si128(lines));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 4 * line), _mm512_extracti32x4_epi32(lines, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8 * line), _mm512_extracti32x4_epi32(lines, 2));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 12 * line), _mm512_extracti32x4_epi32(lines, 3));
    }
  }

  const Size steps, line, groups;
  const Room<std::uint8_t> digits;
  std::vector<double> units;
};

__m512i max_of_all(__m512i numbers) {
  numbers = _mm512_max_epi32(numbers, _mm512_shuffle_i32x4(numbers, numbers, 0x4e));
  numbers = _mm512_max_epi32(numbers, _mm512_shuffle_i32x4(numbers, numbers, 0xb1));
  numbers = _mm512_max_epi32(numbers, _mm512_shuffle_epi32(numbers, _MM_PERM_BADC));
  return _mm512_max_epi32(numbers, _mm512_shuffle_epi32(numbers, _MM_PERM_CDAB));
}

// The codebooks of a strip of rows: the digits of 16 values, the lowest ones first.
struct Codebooks {
  template <int bits>
  void hold(const CodebookProduct& it, Size row) {
    const __m512i by_digit = _mm512_setr_epi32(0x0c080400, 0x1c181410, 0x2c282420, 0x3c383430,   // bytes 4 lane
                                               0x0d090501, 0x1d191511, 0x2d292521, 0x3d393531,   // 4 lane + 1
                                               0x0e0a0602, 0x1e1a1612, 0x2e2a2622, 0x3e3a3632,   // 4 lane + 2
                                               0x0f0b0703, 0x1f1b1713, 0x2f2b2723, 0x3f3b3733);  // 4 lane + 3
    Tables<Avx512, bits> of_rows(it, row);
    for (Size r = 0; r < lanes; ++r) {
      const __m512 values = of_rows.next().values;
      const __m512i exponent = unit_exponent(max_of_all(size_bits(values)), digits_of_value);
      const __m512 exact = scaled(values, exponent);
      const __m512i integers = _mm512_cvtps_epi32(exact);
      for_registers[r] = too_coarse(values, exact, integers) != 0;
      units[r] = power_of_two(exponent);
      _mm512_store_si512(tables[r], _mm512_permutexvar_epi8(by_digit, digits_of(integers)));
    }
  }

  // A digit of the values of row r, four times over: the two highest bits of six do not matter.
  __m512i table(Size r, int digit) const {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(tables[r] + 16 * digit)));
  }

  alignas(64) std::uint8_t tables[lanes][64];
  double units[lanes];
  bool for_registers[lanes];
};

// Some steps of a strip, whose weights are looked up: where that is done, and where they go, (steps, digits) tiles.
struct LookUp {
  const Codebooks& codebooks;
  const std::uint8_t* words;  // of the first row
  Size row_bytes, ahead;
  std::uint8_t* to;

  template <int bits, int first_step>
  void row(Size r) const {
    const std::uint8_t* from = words + r * row_bytes;
    std::uint8_t* place = to + 64 * r;
    const __m512i codes = _mm512_loadu_si512(from);
    if constexpr (first_step == 0) __builtin_prefetch(from + ahead, 0, 2);
    const auto step = [&](auto index) {
      const __m512i indices = at_lowest_bits<bits, first_step + index>(codes);
      for (int digit = 0; digit < digits_of_value; ++digit, place += tile_bytes)
        _mm512_store_si512(place, _mm512_permutexvar_epi8(indices, codebooks.table(r, digit)));
    };
    each(step, std::make_integer_sequence<int, Steps<bits>::together>());
  }
};

// Tiles have literal numbers: 0 to 5 are sums (groups, digits), 6 holds weights, 7 inputs.
template <int sums>
void add_product() {
  if constexpr (sums == 0) _tile_dpbssd(0, 6, 7);
  if constexpr (sums == 1) _tile_dpbssd(1, 6, 7);
  if constexpr (sums == 2) _tile_dpbssd(2, 6, 7);
  if constexpr (sums == 3) _tile_dpbssd(3, 6, 7);
  if constexpr (sums == 4) _tile_dpbssd(4, 6, 7);
  if constexpr (sums == 5) _tile_dpbssd(5, 6, 7);
}

void begin_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
}

// Multiplies weights that were looked up, and looks others up meanwhile, if there are more: some rows for each product,
// so that neither waits for the other. The second group of samples meets the digits in the opposite order: the last
// one is there already.
template <int bits, int groups, int first_step, bool more>
void multiply(const std::uint8_t* weights, const std::uint8_t* inputs, const Inputs& x, const LookUp& next) {
  constexpr int of_step = groups * digits_of_value, n = Steps<bits>::together * of_step;
  const auto product = [&](auto index) {
    constexpr int step = index / of_step, group = index % of_step / digits_of_value, turn = index % digits_of_value;
    constexpr int digit = group ? digits_of_value - 1 - turn : turn;
    if constexpr (turn == 0) _tile_loadd(7, inputs + step * x.step_bytes() + group * x.group_bytes(), x.line);
    if constexpr (turn > 0 || group == 0) _tile_loadd(6, weights + (step * digits_of_value + digit) * tile_bytes, 64);
    if constexpr (more)
      for (Size r = lanes * index / n; r < lanes * (index + 1) / n; ++r) next.template row<bits, first_step>(r);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // compilers do not know that tiles are loaded from memory
    add_product<group * digits_of_value + digit>();
  };
  each(product, std::make_integer_sequence<int, n>());
}

// The sums of a strip, put together, into y.
template <int groups>
void write(const CodebookProduct& it, const Inputs& x, Size group, const Codebooks& codebooks, Size row) {
  alignas(64) std::int32_t sums[groups * digits_of_value][tile];
  _tile_stored(0, sums[0], x.line);
  _tile_stored(1, sums[1], x.line);
  _tile_stored(2, sums[2], x.line);
  if constexpr (groups == 2) {
    _tile_stored(3, sums[3], x.line);
    _tile_stored(4, sums[4], x.line);
    _tile_stored(5, sums[5], x.line);
  }
  const __m256d places = _mm256_setr_pd(1.0, 0x1p8, 0x1p16, 0x1p24), place = _mm256_set1_pd(0x1p8);
  const Size first = group * samples_of_group, last = std::min(it.batch, first + groups * samples_of_group);
  for (Size n = first; n < last; ++n) {
    const Size own = (n - first) / samples_of_group * digits_of_value, column = n % samples_of_group * digits_of_input;
    for (Size r = 0; r < lanes; ++r) {
      const std::int32_t* from = sums[own] + r * x.line / 4 + column;
      const auto four = [&](int digit) {
        return _mm256_cvtepi32_pd(_mm_load_si128(reinterpret_cast<const __m128i*>(from + digit * tile)));
      };
      const __m256d upper = _mm256_add_pd(_mm256_mul_pd(four(2), place), four(1));
      const __m256d all = _mm256_mul_pd(_mm256_add_pd(_mm256_mul_pd(upper, place), four(0)), places);
      const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd(all, 1));
      const double sum = _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
      const double bias = it.bias ? it.bias[row + r] : 0.0;
      it.y[n * it.rows + row + r] = static_cast<float>(sum * (codebooks.units[r] * x.units[n]) + bias);
    }
  }
}

// Whole strips of 16 rows, times one or two groups of samples. What is multiplied was looked up two turns before, and
// lies in the first cache; one turn before it would still be on the way there. Rows for registers are noted.
template <int bits, int groups>
void strips(const CodebookProduct& it, const Inputs& x, Size group, Size first, Size last,
            std::vector<Size>& for_registers) {
  using S = Steps<bits>;
  constexpr int parts = S::of_block / S::together, turns = 3;
  struct Turn {
    const std::uint8_t* inputs;
    Size row;
    bool last;  // of its strip
  };
  const Turn none{x.group(group), 0, false};
  Turn of_turn[turns] = {none, none, none};
  alignas(64) std::uint8_t weights[turns][S::together * digits_of_value * tile_bytes] = {};
  Codebooks codebooks[turns];
  const Size row_bytes = it.blocks * block_bytes;
  const auto* words = reinterpret_cast<const std::uint8_t*>(it.codes) + first * row_bytes;
  int now = 0;
  const auto finish = [&](int turn) {
    if (!of_turn[turn].last) return;
    const Size row = of_turn[turn].row;
    write<groups>(it, x, group, codebooks[row / lanes % turns], row);
    begin_sums();
  };
  begin_sums();
  for (Size row = first; row < last; row += lanes, words += lanes * row_bytes) {
    Codebooks& own = codebooks[row / lanes % turns];
    own.hold<bits>(it, row);
    for (Size r = 0; r < lanes; ++r)
      if (group == 0 && own.for_registers[r]) for_registers.push_back(row + r);
    for (Size block = 0; block < it.blocks; ++block) {
      const auto take = [&](auto part) {
        const int before = (now + 1) % turns;
        const LookUp next{own, words + block * block_bytes, row_bytes, lanes * row_bytes, weights[now]};
        multiply<bits, groups, part * S::together, true>(weights[before], of_turn[before].inputs, x, next);
        finish(before);
        const Size step = block * S::of_block + part * S::together;
        of_turn[now] = {x.group(group) + step * x.step_bytes(), row, part + 1 == parts && block + 1 == it.blocks};
        now = before;
      };
      each(take, std::make_integer_sequence<int, parts>());
    }
  }
  for (int left = 1; left < turns; ++left) {
    now = (now + 1) % turns;
    multiply<bits, groups, 0, false>(weights[now], of_turn[now].inputs, x, {codebooks[0], words, 0, 0, weights[0]});
    finish(now);
  }
}

// Strips of rows, for all samples. Some rows are computed once more, by registers.
template <int bits>
void rows_of(const CodebookProduct& it, const Inputs& x, Size first, Size last) {
  TileShapes shapes;
  for (int sums_or_inputs : {0, 1, 2, 3, 4, 5, 7}) shapes.bytes[sums_or_inputs] = static_cast<std::uint16_t>(x.line);
  _tile_loadconfig(&shapes);
  std::vector<Size> for_registers;
  Size group = 0;
  for (; group + 2 <= x.groups; group += 2) strips<bits, 2>(it, x, group, first, last, for_registers);
  if (group < x.groups) strips<bits, 1>(it, x, group, first, last, for_registers);
  _tile_release();
  for (const Size row : for_registers) codebook_avx512(bits).product(it, row, row + 1);
}

template <int bits>
bool product_of(const CodebookProduct& it, int threads) {
  Inputs x(it, it.blocks * Steps<bits>::of_block);
  std::atomic<bool> exact{true};
  parallel(it.batch, samples_of_group, threads, [&](Size first, Size last) {
    for (Size n = first; n < last; ++n)
      if (!x.hold<bits>(it, n)) exact.store(false, std::memory_order_relaxed);
  });
  if (!exact) return false;
  const Size most = std::max<Size>(1, piece_bytes / (lanes * it.blocks * block_bytes));
  const Size piece = std::clamp<Size>(it.rows / (8 * threads * lanes), 1, most) * lanes;
  parallel(it.rows, piece, threads, [&](Size first, Size last) {
    const Size whole = first + (last - first) / lanes * lanes;
    if (first < whole) rows_of<bits>(it, x, first, whole);
    if (whole < last) codebook_avx512(bits).product(it, whole, last);
  });
  return true;
}

bool has_integers() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bytes_looked_up = 1u << 1, products_of_bytes = 1u << 25;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bytes_looked_up) && (d & products_of_bytes);
}

}  // namespace

bool codebook_product_in_integers(const CodebookProduct& it, int bits, int threads) {
  static const bool has = has_matrix_unit() && has_integers();
  if (!has || it.blocks * block_words * (32 / bits) > most_columns) return false;
  switch (bits) {
    case 1: return product_of<1>(it, threads);
    case 2: return product_of<2>(it, threads);
    case 3: return product_of<3>(it, threads);
    case 4: return product_of<4>(it, threads);
    default: return false;
  }
}

}  // namespace commonweight
#else
namespace commonweight {
bool codebook_product_in_integers(const CodebookProduct&, int, int) { return false; }
}  // namespace commonweight
#endif
