// g[p] = Σ ± G[position] over the connections of weight p: the gradient of tied weights.
//
// Connections are sorted by weight once. They are summed in pieces of a fixed number, whatever the number of threads, so
// that the same call gives the same bits; sums are held in double precision.
#pragma once

#include <cstdint>

namespace commonweight {

template <class Float>
struct Adjoint {
  const Float* grad;               // what is summed
  const std::int32_t* positions;   // (connections), sorted by weight: where in grad; ~position to subtract it
  const std::int64_t* starts;      // (weights + 1): the connections of weight p are starts[p] .. starts[p + 1] - 1
  Float* sums;                     // (weights)
  std::int64_t weights;
};

template <class Float>
void adjoint(const Adjoint<Float>& it, int threads);

}  // namespace commonweight
