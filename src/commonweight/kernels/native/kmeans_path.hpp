// Where to cut sorted, weighted points into k runs of the least cost: exactly, in memory that does not grow with k · n.
#pragma once

#include <cstdint>
#include <vector>

namespace commonweight {

using Cuts = std::vector<std::int32_t>;  // 0 = b₀ < b₁ < … < b_k = n: run t holds the points b_t … b_{t+1} - 1

// Of all points before a cut: Σ w, Σ w y, Σ w y².
struct Sums {
  double weight, first, second;
};

// Points y = scale · value - centre, small numbers around 0, in rising order, and their sums.
template <class Float>
struct Line {
  const Float* values;
  double scale, centre;
  const Sums* sums;  // n + 1
  std::int32_t n;

  double at(std::int32_t i) const { return values[i] * scale - centre; }
};

// The cuts of the least Σ_t cost(b_t, b_{t+1}), for 1 ≤ k ≤ n.
template <class Float>
Cuts best_cuts(const Line<Float>& line, std::int32_t k, int threads);

}  // namespace commonweight
