// The sums of 16 rows with 16 others are a tile; 32 columns of them, a step, are added to it by one instruction. Its left
// factor lies row by row, its right one column by column, 16 pairs of numbers in each line. Pair j holds column j of two
// groups of 16 columns, so that lines are made of registers with 16 neighbouring floats.
//
// Weights are taken apart where they are used, some rows and steps at a time, in the first caches; x before, once.
#include "matrix_unit.hpp"

#if defined(__AMX_BF16__) && defined(__AVX512BW__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "codebook_avx512.hpp"
#include "threads.hpp"

namespace commonweight {
namespace {

using Size = std::ptrdiff_t;

constexpr Size lanes = 16, tile = 16 * 16;  // floats of a register, of a tile of sums
constexpr Size tile_bytes = 1024;           // of 16 × 32 numbers of 16 bits
constexpr Size strip = 32;                  // rows of weights that are taken apart together
constexpr Size inputs_bytes = 8 << 20;      // of inputs that are taken apart together
constexpr Size sums_bytes = 512 << 10;      // of sums that a thread holds in its second cache
constexpr Size most_rows = 256;             // of weights that these sums are for
constexpr Size columns_at_once = 512;       // of a matrix whose elements are added up

struct Release {
  void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

template <class T>
using Room = std::unique_ptr<T[], Release>;

template <class T>
Room<T> room(Size n) {
  return Room<T>(static_cast<T*>(::operator new(static_cast<std::size_t>(n) * sizeof(T), std::align_val_t{64})));
}

Size pieces(Size n, Size piece) { return (n + piece - 1) / piece; }

// All eight tiles have 16 rows of 64 bytes.
struct TileShapes {
  TileShapes() {
    std::fill(bytes, bytes + 8, std::uint16_t{64});
    std::fill(rows, rows + 8, std::uint8_t{16});
  }
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Where step t of 32 columns finds its two groups of 16: neighbours, or those that one word's codes are for.
struct Groups {
  Size per = 2;  // groups in a block
  Size steps(Size columns) const { return pieces(columns, per * lanes) * per / 2; }
  Size first(Size t) const { return (t / (per / 2) * per + t % (per / 2)) * lanes; }
  Size second(Size t) const { return first(t) + per / 2 * lanes; }
};

// The parts of 16 numbers of each group, as pairs, into the same place of `parts` tiles.
template <int parts>
void store_parts(__m512 first, __m512 second, std::uint8_t* to) {
  const __m512i upper_half = _mm512_set1_epi32(-65536);
  for (int part = 0; part < parts; ++part, to += tile_bytes) {
    const __m512i low = _mm512_castps_si512(first), high = _mm512_castps_si512(second);
    _mm512_store_si512(to, _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(low, 16), high));
    if (part + 1 == parts) break;
    first = _mm512_sub_ps(first, _mm512_castsi512_ps(_mm512_and_si512(low, upper_half)));
    second = _mm512_sub_ps(second, _mm512_castsi512_ps(_mm512_and_si512(high, upper_half)));
  }
}

void transpose(__m512 (&line)[16]) {
  __m512 other[16];
  for (int i = 0; i < 16; i += 2) {
    other[i] = _mm512_unpacklo_ps(line[i], line[i + 1]);
    other[i + 1] = _mm512_unpackhi_ps(line[i], line[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int k = 0; k < 2; ++k) {
      const __m512d a = _mm512_castps_pd(other[i + k]), b = _mm512_castps_pd(other[i + 2 + k]);
      line[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      line[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
  for (int i = 0; i < 16; i += 8) {
    for (int k = 0; k < 4; ++k) {
      other[i + k] = _mm512_shuffle_f32x4(line[i + k], line[i + 4 + k], 0x88);
      other[i + 4 + k] = _mm512_shuffle_f32x4(line[i + k], line[i + 4 + k], 0xDD);
    }
  }
  for (int k = 0; k < 8; ++k) {
    line[k] = _mm512_shuffle_f32x4(other[k], other[8 + k], 0x88);
    line[8 + k] = _mm512_shuffle_f32x4(other[k], other[8 + k], 0xDD);
  }
}

__mmask16 before(Size n) { return static_cast<__mmask16>((1u << std::clamp<Size>(n, 0, lanes)) - 1); }

// A matrix of which the element (row, column) is start[row · row_step + column · column_step]; one of the steps is 1.
template <class T>
struct Strided {
  const T* start;
  Size rows, columns, row_step, column_step;
};

struct Numbers {
  Strided<float> at;
  __m512 line(const float* start, __mmask16 here) const { return _mm512_maskz_loadu_ps(here, start); }
};

// Cells that hold weights: entry p + 1 of a table, or its negative, or 0, which is entry 0.
struct Cells {
  Strided<std::int32_t> at;
  const float* table;

  __m512 line(const std::int32_t* start, __mmask16 here) const {
    const __m512i cell = _mm512_maskz_loadu_epi32(here, start), minus = _mm512_set1_epi32(INT32_MIN);
    const __m512 found = _mm512_i32gather_ps(_mm512_abs_epi32(cell), table, 4);
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(found), _mm512_and_si512(cell, minus)));
  }
};

// 16 × 16 numbers from (row, column) on, zeros beyond the matrix: line i runs along that axis whose step is 1.
template <class Matrix>
void load_lines(const Matrix& from, Size row, Size column, __m512 (&line)[16]) {
  constexpr Size ahead = 128;  // columns that are asked for before their turn
  const auto& at = from.at;
  const bool along_row = at.column_step == 1;
  const Size n_lines = along_row ? at.rows - row : at.columns - column;
  const __mmask16 here = before(along_row ? at.columns - column : at.rows - row);
  const Size step = along_row ? at.row_step : at.column_step;
  const auto* start = at.start + row * at.row_step + column * at.column_step;
  for (Size i = 0; i < lanes; ++i) {
    line[i] = i < n_lines && here ? from.line(start + i * step, here) : _mm512_setzero_ps();
    __builtin_prefetch(start + i * step + ahead * at.column_step, 0, 2);
  }
}

// 16 rows of two groups of columns, as the left factor of a tile, with its lines along rows, or as the right one.
template <int parts, class Matrix>
void take_apart(const Matrix& from, Size row, Size first, Size second, bool left, std::uint8_t* to) {
  __m512 low[16], high[16];
  load_lines(from, row, first, low);
  load_lines(from, row, second, high);
  if ((from.at.column_step == 1) != left) {
    transpose(low);
    transpose(high);
  }
  for (Size i = 0; i < lanes; ++i) store_parts<parts>(low[i], high[i], to + 64 * i);
}

// Some steps of a strip of weights, taken apart: (2, parts) tiles, `step` bytes after those of the step before.
struct Panel {
  const std::uint8_t* tiles;
  Size step;
};

// Weights in a matrix of numbers or cells.
template <class Matrix>
struct InMatrix {
  static constexpr Size together = 16;  // steps that are taken apart together: 96 KiB, in the second cache
  Matrix matrix;
  bool left;

  Groups groups() const { return {}; }

  template <int parts>
  Panel panel(Size row, Size first, Size last, std::uint8_t* room) const {
    std::uint8_t* to = room;
    for (Size t = first; t < last; ++t)
      for (Size half = 0; half < 2; ++half, to += parts * tile_bytes)
        take_apart<parts>(matrix, row + half * lanes, groups().first(t), groups().second(t), left, to);
    return {room, 2 * parts * tile_bytes};
  }
};

// Weights that are looked up.
template <int bits>
struct LookedUp {
  static constexpr Size together = 4;  // 24 KiB, in the first cache
  const CodebookProduct& it;

  Groups groups() const { return {32 / bits}; }

  template <int parts>
  Panel panel(Size row, Size first, Size last, std::uint8_t* to) const {
    constexpr int half = 32 / bits / 2;
    constexpr Size ahead = 4 * lanes;  // words of a row that are asked for before their turn
    for (Size r = 0; r < strip; ++r) {
      std::uint8_t* place = to + r / lanes * parts * tile_bytes + r % lanes * 64;
      if (row + r >= it.rows) {
        for (Size t = first; t < last; ++t, place += 2 * parts * tile_bytes)
          store_parts<parts>(_mm512_setzero_ps(), _mm512_setzero_ps(), place);
        continue;
      }
      const Avx512::Table<bits> table(it.values + (row + r) / it.rows_per_codebook * it.held, it.held);
      for (Size block = first / half; block * half < last; ++block) {
        const std::uint32_t* words = it.codes + ((row + r) * it.blocks + block) * lanes;
        __builtin_prefetch(words + ahead, 0, 2);
        const __m512i codes = Avx512::words(words);
#pragma GCC unroll 16
        for (int k = 0; k < half; ++k) {
          if (block * half + k < first || block * half + k >= last) continue;
          const auto low = Avx512::lookup<bits>(table, codes, bits * k);
          store_parts<parts>(low, Avx512::lookup<bits>(table, codes, bits * (k + half)), place);
          place += 2 * parts * tile_bytes;
        }
      }
    }
    return {to, 2 * parts * tile_bytes};
  }
};

// Adds up the products of tiles 4 and 5, of weights, with 6, and if there are two blocks 7, of inputs.
template <bool left, int blocks>
void add_products() {
  if constexpr (left) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    if constexpr (blocks == 2) {
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  } else {
    _tile_dpbf16ps(0, 6, 4);
    _tile_dpbf16ps(1, 6, 5);
    if constexpr (blocks == 2) {
      _tile_dpbf16ps(2, 7, 4);
      _tile_dpbf16ps(3, 7, 5);
    }
  }
}

// Some steps of a strip of weights times one or two blocks of 16 inputs. The sums are tiles, too: (blocks, 2).
template <int parts, bool left, int blocks>
void multiply(const Panel& of_weights, const Panel& of_x, Size steps, float* sums, bool begin) {
  const std::uint8_t *weights = of_weights.tiles, *x = of_x.tiles;
  const auto load_weights = [&](int part) {
    _tile_loadd(4, weights + part * tile_bytes, 64);
    _tile_loadd(5, weights + (parts + part) * tile_bytes, 64);
  };
  const auto load_x = [&](int part) {
    _tile_loadd(6, x + part * tile_bytes, 64);
    if constexpr (blocks == 2) _tile_loadd(7, x + (parts + part) * tile_bytes, 64);
  };
  if (begin) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + tile, 64);
    if constexpr (blocks == 2) {
      _tile_loadd(2, sums + 2 * tile, 64);
      _tile_loadd(3, sums + 3 * tile, 64);
    }
  }
  for (Size t = 0; t < steps; ++t, weights += of_weights.step, x += of_x.step) {
    load_weights(0);
    if constexpr (parts == 3) {  // from product to product one factor stays
      load_x(2);
      add_products<left, blocks>();
      load_x(1);
      add_products<left, blocks>();
      load_weights(1);
      add_products<left, blocks>();
      load_x(0);
      add_products<left, blocks>();
      load_weights(2);
      add_products<left, blocks>();
      load_weights(0);
    } else {
      load_x(0);
    }
    add_products<left, blocks>();
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + tile, 64);
  if constexpr (blocks == 2) {
    _tile_stored(2, sums + 2 * tile, 64);
    _tile_stored(3, sums + 3 * tile, 64);
  }
}

// Where y[n, m] is, of input n and row m of the weights: start[n · of_input + m · of_row]; one of the steps is 1.
struct Answers {
  float* start;
  Size of_input, of_row;
};

// The sums of a strip, (blocks, 2) tiles, into y, with biases where y lies row by row. Whether all are finite.
bool write_sums(const float* sums, bool left, Size row, Size rows, Size n, const float* bias, const Answers& y) {
  const bool along_rows = y.of_row == 1;
  const Size step = along_rows ? y.of_input : y.of_row;
  __mmask16 odd = 0;
  for (Size half = 0; half < 2 && row < rows; ++half, row += lanes) {
    const __mmask16 rows_here = before(rows - row);
    const __m512 offset = bias ? _mm512_maskz_loadu_ps(rows_here, bias + row) : _mm512_setzero_ps();
    for (Size input = 0; input < n; input += lanes) {
      __m512 line[16];
      for (Size i = 0; i < lanes; ++i) line[i] = _mm512_load_ps(sums + (input / lanes * 2 + half) * tile + i * lanes);
      if (left == along_rows) transpose(line);
      float* to = y.start + input * y.of_input + row * y.of_row;
      const __mmask16 here = along_rows ? rows_here : before(n - input);
      const Size lines = std::min(lanes, along_rows ? n - input : rows - row);
      for (Size i = 0; i < lines; ++i, to += step) {
        const __m512 answer = _mm512_add_ps(line[i], offset), zero = _mm512_sub_ps(answer, answer);
        odd |= _mm512_mask_cmp_ps_mask(here, zero, zero, _CMP_UNORD_Q);
        _mm512_mask_storeu_ps(to, here, answer);
      }
    }
  }
  return !odd;
}

// Rows of a matrix, 16 of them a block, taken apart in (steps, blocks, parts) tiles.
template <int parts>
struct Apart {
  Apart(Size most_blocks, Size n_steps) : steps(n_steps), tiles(room<std::uint8_t>(most_blocks * n_steps * of_block)) {}

  // Takes the rows first .. first + rows - 1 apart; those beyond the matrix are zeros.
  void hold(const Numbers& x, Size first, Size rows, const Groups& groups, bool left, int threads) {
    n = rows, blocks = pieces(rows, lanes);
    parallel(steps, steps / (4 * threads) + 1, threads, [&](Size begin, Size end) {
      std::uint8_t* to = tiles.get() + begin * blocks * of_block;
      for (Size t = begin; t < end; ++t)
        for (Size block = 0; block < blocks; ++block, to += of_block)
          take_apart<parts>(x, first + block * lanes, groups.first(t), groups.second(t), left, to);
    });
  }

  Panel panel(Size row, Size step) const {
    return {tiles.get() + (step * blocks + row / lanes) * of_block, blocks * of_block};
  }

  static constexpr Size of_block = parts * tile_bytes;
  Size n = 0, blocks = 0, steps;
  Room<std::uint8_t> tiles;
};

// Weights that were taken apart before.
struct TakenApart {
  static constexpr Size together = 4;
  const Apart<3>& weights;

  template <int parts>
  Panel panel(Size row, Size first, Size, std::uint8_t*) const {
    return weights.panel(row, first);
  }
};

// What a thread needs for some rows of weights.
template <int parts, class Weights>
struct Space {
  Space(Size rows, Size blocks)
      : panel(room<std::uint8_t>(Weights::together * 2 * parts * tile_bytes)),
        sums(room<float>(pieces(rows, strip) * blocks * 2 * tile)) {}
  Room<std::uint8_t> panel;
  Room<float> sums;
};

// The rows first .. last - 1 of the weights, with all inputs; y is where the first of these rows goes.
template <int parts, bool left, class Weights>
bool rows_of_product(const Weights& weights, Size first, Size last, const Apart<parts>& x, const float* bias,
                     const Answers& y, const Space<parts, Weights>& space) {
  constexpr Size together = Weights::together;
  const Size of_strip = x.blocks * 2 * tile;
  const TileShapes shapes;
  _tile_loadconfig(&shapes);
  for (Size t = 0; t < x.steps; t += together) {
    const Size here = std::min(together, x.steps - t);
    float* to = space.sums.get();
    for (Size row = first; row < last; row += strip) {
      const Panel panel = weights.template panel<parts>(row, t, t + here, space.panel.get());
      Size block = 0;
      for (; block + 2 <= x.blocks; block += 2, to += 4 * tile)
        multiply<parts, left, 2>(panel, x.panel(block * lanes, t), here, to, t == 0);
      for (; block < x.blocks; ++block, to += 2 * tile)
        multiply<parts, left, 1>(panel, x.panel(block * lanes, t), here, to, t == 0);
    }
  }
  _tile_release();
  bool finite = true;
  const float* sums = space.sums.get();
  for (Size row = 0; row < last - first; row += strip, sums += of_strip)
    finite &= write_sums(sums, left, row, last - first, x.n, bias ? bias + first : nullptr, y);
  return finite;
}

// y[n, m] = Σ x[n, k] · weights[m, k], in rows as long as there are weights. What is done in which order depends on the
// sizes alone, not on the threads.
template <int parts, bool left, class Weights>
bool product(const Weights& weights, Size rows, const Numbers& x, const float* bias, float* y, int threads) {
  const Groups groups = weights.groups();
  const Size steps = groups.steps(x.at.columns), most = inputs_bytes / (steps * Apart<parts>::of_block);
  const Size blocks = std::min(std::max<Size>(2, most), pieces(x.at.rows, lanes));
  Apart<parts> apart(blocks, steps);
  const Size fit = sums_bytes / (blocks * lanes * Size{sizeof(float)}), fair = rows / (4 * threads);
  const Size piece = std::max<Size>(1, std::min({fit, fair, most_rows}) / strip) * strip;
  std::atomic<bool> finite{true};
  for (Size sample = 0; sample < x.at.rows; sample += blocks * lanes) {
    apart.hold(x, sample, std::min(blocks * lanes, x.at.rows - sample), groups, !left, threads);
    parallel(rows, piece, threads, [&](Size first, Size last) {
      const Answers answers{y + sample * rows + first, rows, 1};
      const Space<parts, Weights> space(last - first, apart.blocks);
      if (!rows_of_product<parts, left>(weights, first, last, apart, bias, answers, space))
        finite.store(false, std::memory_order_relaxed);
    });
  }
  return finite;
}

template <int bits>
bool codebook_product_of(const CodebookProduct& it, int parts, int threads) {
  const Size columns = it.blocks * lanes * (32 / bits);
  const Numbers x{{it.x, it.batch, columns, columns, 1}};
  const LookedUp<bits> weights{it};
  return parts == 1 ? product<1, true>(weights, it.rows, x, it.bias, it.y, threads)
                    : product<3, true>(weights, it.rows, x, it.bias, it.y, threads);
}

bool allowed() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bfloat16_products = 1u << 22, tiles = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & bfloat16_products) || !(d & tiles)) return false;
  constexpr long ask_for_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM: Linux saves tiles if asked to
  return syscall(SYS_arch_prctl, ask_for_permission, tile_data) == 0;
}

}  // namespace

bool has_matrix_unit() {
  static const bool has = allowed();
  return has;
}

bool spread_product_on_matrix_unit(const SpreadProduct& it, bool transposed, const float* theta, const float* x,
                                   float* y, int threads) {
  const Room<float> table = room<float>(it.index.weights + 1);
  table[0] = 0;
  std::copy(theta, theta + it.index.weights, table.get() + 1);
  const Size rows = transposed ? it.columns : it.rows, columns = transposed ? it.rows : it.columns;
  const Strided<std::int32_t> cells{it.index.numbers, rows, columns, transposed ? 1 : it.columns,
                                    transposed ? it.columns : 1};
  const InMatrix<Cells> weights{{cells, table.get()}, !transposed};
  const Numbers inputs{{x, it.samples, columns, columns, 1}};
  return transposed ? product<3, false>(weights, rows, inputs, nullptr, y, threads)
                    : product<3, true>(weights, rows, inputs, nullptr, y, threads);
}

// A piece of gᵀ x at a time stays in the second cache, where it is added up.
bool spread_adjoint_on_matrix_unit(const SpreadProduct& it, const float* g, const float* x, float* sums, int threads) {
  const Numbers rows{{g, it.rows, it.samples, 1, it.rows}}, columns{{x, it.columns, it.samples, 1, it.columns}};
  const Groups groups;
  const Size steps = groups.steps(it.samples), strips = pieces(it.rows, strip);
  Apart<3> of_rows(2 * strips, steps);
  of_rows.hold(rows, 0, strips * strip, groups, true, threads);
  const TakenApart weights{of_rows};
  std::vector<Apart<3>> apart;
  for (Size column = 0; column < it.columns; column += columns_at_once) {
    apart.emplace_back(columns_at_once / lanes, steps);
    apart.back().hold(columns, column, std::min(columns_at_once, it.columns - column), groups, false, threads);
  }
  std::atomic<bool> finite{true};
  const auto part = [&](std::int64_t first_cell, std::int64_t last_cell, const AddCells<float>& add) {
    const Space<3, TakenApart> space(strip, columns_at_once / lanes);
    const Room<float> piece = room<float>(strip * columns_at_once);
    const Size first = first_cell / it.columns, last = last_cell / it.columns;
    Size cell = 0;
    for (const Apart<3>& here : apart) {
      for (Size row = first; row < last; row += strip) {
        const Size n = std::min(strip, last - row);
        if (!rows_of_product<3, true>(weights, row, row + n, here, nullptr, {piece.get(), 1, here.n}, space))
          finite.store(false, std::memory_order_relaxed);
        for (Size r = 0; r < n; ++r) {
          const Size begin = (row + r) * it.columns + cell;
          add(piece.get() + r * here.n, begin, begin + here.n);
        }
      }
      cell += here.n;
    }
  };
  add_in_parts<float>(it.index, strip * it.columns, sums, threads, part);
  return finite;
}

bool codebook_product_on_matrix_unit(const CodebookProduct& it, int bits, int parts, int threads) {
  switch (bits) {
    case 1: return codebook_product_of<1>(it, parts, threads);
    case 2: return codebook_product_of<2>(it, parts, threads);
    case 3: return codebook_product_of<3>(it, parts, threads);
    case 4: return codebook_product_of<4>(it, parts, threads);
    default: return codebook_product_of<8>(it, parts, threads);
  }
}

}  // namespace commonweight
#else
namespace commonweight {
bool has_matrix_unit() { return false; }
bool codebook_product_on_matrix_unit(const CodebookProduct&, int, int, int) { return false; }
bool spread_product_on_matrix_unit(const SpreadProduct&, bool, const float*, const float*, float*, int) {
  return false;
}
bool spread_adjoint_on_matrix_unit(const SpreadProduct&, const float*, const float*, float*, int) { return false; }
}  // namespace commonweight
#endif
