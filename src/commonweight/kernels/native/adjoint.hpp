// What stands at each position of a tied tensor, and the gradient of its weights: g[p] = Σ ± G[position].
//
// Sums are held in double precision, and made of parts that do not depend on the number of threads: the same call gives
// the same bits. There are two ways. `scattered` reads G in a row and adds to sums that lie in the second cache; with
// more weights than fit there, `sorted` reads the positions of one weight after the other, sorted once. Where 16 cells
// in a row hold 16 weights in a row, one number does for all.
#pragma once

#include <cstdint>

namespace commonweight {

// A tensor whose cells hold weights: p + 1 for weight p, -(p + 1) for minus weight p, 0 for nothing.
struct Index {
  const std::int32_t* numbers;     // (cells)
  const std::int32_t* runs;        // (cells / 16), or null: the first of 16 numbers that count on, p + 1, p + 2, … or
                                   // -(p + 1), -(p + 2), …; 0 where the 16 numbers are none such
  std::int64_t cells;
  const std::int32_t* positions;   // (connections), sorted by weight: a cell; ~cell where the weight is subtracted
  const std::int64_t* starts;      // (weights + 1): the connections of weight p are starts[p] .. starts[p + 1] - 1
  std::int64_t weights;
};

// out[cell] = ±theta[p], or 0.
template <class Float>
void spread(const Index& index, const Float* theta, Float* out, int threads);

// sums[p] = Σ ± grad[cell] over the cells that hold weight p.
template <class Float>
void adjoint(const Index& index, const Float* grad, Float* sums, int threads);

}  // namespace commonweight
