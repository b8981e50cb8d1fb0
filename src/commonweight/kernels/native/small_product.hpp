// C = A B of small matrices in one thread, tile by tile in vector registers: included by files that are compiled for an
// instruction set each.
#pragma once

#include <cstddef>

namespace commonweight {
namespace {

#if defined(__AVX512F__)
constexpr std::ptrdiff_t lanes = 16, most_vectors = 4;
#elif defined(__AVX2__)
constexpr std::ptrdiff_t lanes = 8, most_vectors = 2;
#elif defined(__GNUC__)
constexpr std::ptrdiff_t lanes = 4, most_vectors = 2;
#else
constexpr std::ptrdiff_t lanes = 1, most_vectors = 2;
#endif
constexpr int most_rows = 6;  // with the vectors of B and a factor, tiles of 6 rows just fit the registers

#if defined(__GNUC__)
typedef float Lanes __attribute__((vector_size(sizeof(float) * lanes), aligned(sizeof(float)), may_alias));
#else
using Lanes = float;
#endif

inline std::ptrdiff_t in_whole_lanes(std::ptrdiff_t n) { return (n + lanes - 1) / lanes * lanes; }

// A is read at row · row_step + column · column_step, so that it may stand transposed; rows of B and C follow each
// other after b_step and c_step numbers.
struct Product {
  const float* a;
  std::ptrdiff_t row_step, column_step;
  const float* b;
  std::ptrdiff_t b_step;
  float* c;
  std::ptrdiff_t c_step, inner;
};

template <int rows, int vectors>
inline void tile(const Product& it, std::ptrdiff_t row, std::ptrdiff_t column) {
  Lanes sums[rows][vectors] = {};
  for (std::ptrdiff_t k = 0; k < it.inner; ++k) {
    const float* a = it.a + row * it.row_step + k * it.column_step;
    const Lanes* b = reinterpret_cast<const Lanes*>(it.b + k * it.b_step + column);
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) sums[r][v] += a[r * it.row_step] * b[v];
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) reinterpret_cast<Lanes*>(it.c + (row + r) * it.c_step + column)[v] = sums[r][v];
}

template <int rows, int vectors>
void rows_from(const Product& it, std::ptrdiff_t row, std::ptrdiff_t n_rows, std::ptrdiff_t column) {
  for (; row + rows <= n_rows; row += rows) tile<rows, vectors>(it, row, column);
  if constexpr (rows > 1) rows_from<rows / 2, vectors>(it, row, n_rows, column);
}

template <int vectors>
void columns_from(const Product& it, std::ptrdiff_t n_rows, std::ptrdiff_t column, std::ptrdiff_t n_columns) {
  for (; column + vectors * lanes <= n_columns; column += vectors * lanes)
    rows_from<vectors == 1 ? 2 * most_rows : most_rows, vectors>(it, 0, n_rows, column);
  if constexpr (vectors > 1) columns_from<vectors - 1>(it, n_rows, column, n_columns);
}

// The columns are in whole lanes.
inline void multiply(const Product& it, std::ptrdiff_t n_rows, std::ptrdiff_t n_columns) {
  columns_from<most_vectors>(it, n_rows, 0, n_columns);
}

}  // namespace
}  // namespace commonweight
