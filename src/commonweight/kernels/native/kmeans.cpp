// Sorts, cuts, and says which cluster each point is in.
#include "kmeans.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kmeans_path.hpp"
#include "kmeans_sort.hpp"
#include "threads.hpp"

namespace commonweight {
namespace {

constexpr std::int64_t piece = 1 << 12;

// The power of two that brings the largest number below 1, and above 1/4.
double power_below(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0, -std::clamp(exponent, -1000, 1000));
}

// Sums before each cut. Those of a piece are added to what came before it with the rounding error carried along.
template <class Float>
std::vector<Sums> sums_of(const Distinct<Float>& points, double scale, double centre, double unit) {
  const std::int64_t n = points.values.size();
  std::vector<Sums> sums(n + 1);
  double total[3] = {}, carried[3] = {};
  for (std::int64_t start = 0; start < n; start += piece) {
    double part[3] = {};
    for (std::int64_t i = start; i < std::min(n, start + piece); ++i) {
      sums[i] = {total[0] + (part[0] + carried[0]), total[1] + (part[1] + carried[1]),
                 total[2] + (part[2] + carried[2])};
      const double y = points.values[i] * scale - centre, w = points.weights[i] * unit;
      part[0] += w, part[1] += w * y, part[2] += w * y * y;
    }
    for (int s = 0; s < 3; ++s) {
      const double term = part[s] + carried[s], sum = total[s] + term, moved = sum - total[s];
      carried[s] = (total[s] - (sum - moved)) + (term - moved);
      total[s] = sum;
    }
  }
  sums[n] = {total[0] + carried[0], total[1] + carried[1], total[2] + carried[2]};
  return sums;
}

template <class Float>
Cuts cuts_of(const Distinct<Float>& points, std::int32_t k, int threads) {
  const std::int32_t n = static_cast<std::int32_t>(points.values.size());
  const double largest = std::max(std::fabs(double(points.values.front())), std::fabs(double(points.values.back())));
  const double scale = power_below(largest);
  const double unit = power_below(*std::max_element(points.weights.begin(), points.weights.end()));
  double weight = 0.0, first = 0.0;
  for (std::int32_t i = 0; i < n; ++i)
    weight += points.weights[i] * unit, first += points.weights[i] * unit * (points.values[i] * scale);
  const double centre = first / weight;
  const std::vector<Sums> sums = sums_of(points, scale, centre, unit);
  return best_cuts(Line<Float>{points.values.data(), scale, centre, sums.data(), n}, k, threads);
}

struct Measured {
  Cuts cuts;
  std::vector<double> centres;
  double cost;
};

// Means and cost of the runs between cuts, from the points themselves.
template <class Float>
Measured measured(const Distinct<Float>& points, const Cuts& cuts) {
  Measured it{cuts, std::vector<double>(cuts.size() - 1), 0.0};
  for (std::size_t t = 0; t + 1 < cuts.size(); ++t) {
    const double *first = points.weights.data() + cuts[t], *last = points.weights.data() + cuts[t + 1];
    const double origin = points.values[cuts[t]], unit = power_below(*std::max_element(first, last));
    double weight = 0.0, moment = 0.0, square = 0.0;
    for (std::int32_t i = cuts[t]; i < cuts[t + 1]; ++i) {
      const double w = points.weights[i] * unit, half = static_cast<double>(points.values[i]) / 2;
      weight += w, moment += w * (half - origin / 2);  // halves: no difference is too large
    }
    it.centres[t] = origin + 2 * (moment / weight);
    for (std::int32_t i = cuts[t]; i < cuts[t + 1]; ++i) {
      const double error = points.values[i] - it.centres[t];
      square += points.weights[i] * error * error;
    }
    it.cost += square;
  }
  return it;
}

// The best cuts, and those steps of Lloyd from them that rounding had hidden: no point is nearer to another centre.
template <class Float>
Measured best(const Distinct<Float>& points, std::int32_t k, int threads) {
  Measured it = measured(points, cuts_of(points, k, threads));
  for (int step = 0; step < 16; ++step) {
    Cuts moved = it.cuts;
    bool rising = true;
    for (std::int32_t t = 1; t < k; ++t) {
      const double middle = it.centres[t - 1] / 2 + it.centres[t] / 2;
      moved[t] = std::lower_bound(points.values.begin(), points.values.end(), middle) - points.values.begin();
      rising = rising && moved[t - 1] < moved[t];
    }
    if (!rising || moved[k - 1] == moved[k] || moved == it.cuts) return it;
    Measured next = measured(points, moved);
    if (!(next.cost <= it.cost)) return it;
    it = std::move(next);
  }
  return it;
}

// The least point of each cluster but the first: the middle between the centres, or the first of the cluster's own
// points where rounding has brought the middle to the wrong side of one.
template <class Float>
std::vector<Float> thresholds(const Distinct<Float>& points, const Measured& it) {
  std::vector<Float> found(it.cuts.size() - 2);
  for (std::size_t t = 0; t < found.size(); ++t) {
    const Float below = points.values[it.cuts[t + 1] - 1], least = points.values[it.cuts[t + 1]];
    const Float middle = static_cast<Float>(it.centres[t] / 2 + it.centres[t + 1] / 2);
    found[t] = below < middle && middle <= least ? middle : least;
  }
  return found;
}

template <class Float>
void assign(const Float* points, std::int64_t n, const std::vector<Float>& thresholds, std::int32_t* codes,
            int threads) {
  parallel(n, piece, n < (1 << 20) ? 1 : threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    if (thresholds.size() > 32) {
      for (std::ptrdiff_t i = first; i < last; ++i)
        codes[i] = std::upper_bound(thresholds.begin(), thresholds.end(), points[i]) - thresholds.begin();
      return;
    }
    std::fill(codes + first, codes + last, 0);
    for (const Float threshold : thresholds)
      for (std::ptrdiff_t i = first; i < last; ++i) codes[i] += points[i] >= threshold;
  });
}

}  // namespace

template <class Float>
void kmeans(const Float* points, const double* weights, std::int64_t n, std::int32_t k, const Clusters& out,
            int threads) {
  const Distinct<Float> sorted = distinct(points, weights, n, threads);
  const std::int64_t count = sorted.values.size();
  *out.found = static_cast<std::int32_t>(std::min<std::int64_t>(k, count));
  const Measured it = best(sorted, *out.found, threads);
  std::copy(it.centres.begin(), it.centres.end(), out.centres);
  *out.cost = it.cost;
  assign(points, n, thresholds(sorted, it), out.codes, threads);
}

template void kmeans<float>(const float*, const double*, std::int64_t, std::int32_t, const Clusters&, int);
template void kmeans<double>(const double*, const double*, std::int64_t, std::int32_t, const Clusters&, int);

}  // namespace commonweight
