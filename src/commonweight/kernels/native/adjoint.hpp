// What stands at each position of a tied tensor, and the gradient of its weights: g[p] = Σ ± G[position].
//
// Sums are held in double precision, and made of parts that do not depend on the number of threads: the same call gives
// the same bits. There are two ways. `add_in_parts` reads G in a row and adds to sums that lie in the second cache; with
// more weights than fit there, `sorted` reads the positions of one weight after the other, sorted once. Where 16 cells
// in a row hold 16 weights in a row, one number does for all.
#pragma once

#include <cstdint>
#include <functional>

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

// Whether the sums of all weights lie in the second cache, and cells are so many that threads have sums of their own.
bool adds_in_parts(const Index& index);

// Adds the gradients of the cells first .. last - 1 to a part's sums. Where there are runs, first is a multiple of 16.
template <class Float>
using AddCells = std::function<void(const Float* grad, std::int64_t first, std::int64_t last)>;

// Has the cells first .. last - 1 added, in a row.
template <class Float>
using PartOfCells = std::function<void(std::int64_t first, std::int64_t last, const AddCells<Float>& add)>;

// The same as `adjoint`, with gradients that `part_of` makes where they are added, for multiples of `grain` cells, which
// is one of 16.
template <class Float>
void add_in_parts(const Index& index, std::int64_t grain, Float* sums, int threads, const PartOfCells<Float>& part_of);

}  // namespace commonweight
