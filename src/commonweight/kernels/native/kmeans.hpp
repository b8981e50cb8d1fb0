// Weighted k-means of points on a line: the best of all clusterings, not the best that a descent finds.
#pragma once

#include <cstdint>

namespace commonweight {

struct Clusters {
  double* centres;      // (k), rising; only the first `found` are set
  std::int32_t* codes;  // (n): the cluster of each point
  double* cost;         // Σ w (x - centre)²
  std::int32_t* found;  // min(k, distinct points of positive weight)
};

// n finite points; weights: (n), finite, not negative, not all 0, or null for 1 each.
template <class Float>
void kmeans(const Float* points, const double* weights, std::int64_t n, std::int32_t k, const Clusters& out,
            int threads);

}  // namespace commonweight
