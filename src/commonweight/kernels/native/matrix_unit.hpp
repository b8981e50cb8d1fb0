// Products of float32 numbers on a matrix unit (AMX), which multiplies bfloat16 numbers, many at a time, and adds the
// products up in float32.
//
// A float32 number is the sum of three bfloat16 numbers, x = x₀ + x₁ + x₂, each the upper half of what those before it
// leave. So x w = Σ xᵢ wⱼ; the six products with i + j ≤ 2 are taken, the other three come to less than 2⁻²⁰ |x w|.
// Numbers below 2⁻¹⁰² count with fewer bits, since the unit takes what is below 2⁻¹²⁶ for 0. Of a number that is not
// finite the parts are no numbers, and neither is any output that it has a share in.
//
// Source of the parts: Henry, Tang, Heinecke 2019, arXiv:1904.06376.
#pragma once

#include <cstddef>

#include "adjoint.hpp"
#include "codebook.hpp"

namespace commonweight {

// Whether the processor has such a unit, the system lets us use it, and this was compiled for it.
bool has_matrix_unit();

// The functions below return whether all they computed is finite. If not, it may be wrong, and has to be computed
// without them.

// The codebook product. With `parts` = 1, x and the values are bfloat16 numbers; otherwise 3.
bool codebook_product_on_matrix_unit(const CodebookProduct& it, int bits, int parts, int threads);

// The codebook product in integers of 8 bits, for codes of up to 4. Whether it was computed: it is not where the unit
// multiplies none, or where that would not be exact enough; see matrix_unit_codes.cpp.
bool codebook_product_in_integers(const CodebookProduct& it, int bits, int threads);

// A matrix (rows, columns) whose cells hold weights, and samples.
struct SpreadProduct {
  Index index;  // rows · columns cells
  std::ptrdiff_t rows, columns, samples;
};

// y = x Wᵀ for x (samples, columns), or y = x W for x (samples, rows), with W = ±theta, or 0, as the index says.
bool spread_product_on_matrix_unit(const SpreadProduct& it, bool transposed, const float* theta, const float* x,
                                   float* y, int threads);

// Its gradient: sums[p] = Σ ± (gᵀ x)[cell] over the cells of weight p, for g (samples, rows) and x (samples, columns).
bool spread_adjoint_on_matrix_unit(const SpreadProduct& it, const float* g, const float* x, float* sums, int threads);

}  // namespace commonweight
