// Numbers taken apart into parts of 16 bits, as the tiles of a matrix unit. For files compiled for AVX-512.
//
// The sums of 16 rows with 16 others are a tile; 32 columns of them, a step, are added to it by one instruction. Its
// left factor lies row by row, its right one column by column, 16 pairs of numbers in each line. Pair j holds column j
// of two groups of 16 columns, so that lines are made of registers with 16 neighbouring floats.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "threads.hpp"

namespace commonweight {
namespace {

using Size = std::ptrdiff_t;

constexpr Size lanes = 16, tile = 16 * 16;  // floats of a register, of a tile of sums
constexpr Size tile_bytes = 1024;           // of 16 × 32 numbers of 16 bits

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

// A matrix whose neighbouring numbers are those of a row, or of a column; the next row, or column, is a step away.
template <class T>
struct Strided {
  const T* start;
  Size rows, columns, step;
  bool along_rows;
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

// 16 numbers of line i from (row, column) on, zeros beyond the matrix: neighbours are in one line.
template <class Matrix>
__m512 load_line(const Matrix& from, Size row, Size column, Size i) {
  constexpr Size ahead = 128;  // columns that are asked for before their turn
  const auto& at = from.at;
  const bool along = at.along_rows;
  const auto* start = at.start + (along ? (row + i) * at.step + column : row + (column + i) * at.step);
  __builtin_prefetch(start + (along ? ahead : ahead * at.step), 0, 2);
  const __mmask16 here = before(along ? at.columns - column : at.rows - row);
  return here && i < (along ? at.rows - row : at.columns - column) ? from.line(start, here) : _mm512_setzero_ps();
}

// 16 rows of two groups of columns, as the left factor of a tile, with its lines along rows, or as the right one.
template <int parts, class Matrix>
void take_apart(const Matrix& from, Size row, Size first, Size second, bool left, std::uint8_t* to) {
  __m512 low[16], high[16];
  for (Size i = 0; i < lanes; ++i) low[i] = load_line(from, row, first, i), high[i] = load_line(from, row, second, i);
  if (from.at.along_rows != left) {
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

}  // namespace
}  // namespace commonweight
