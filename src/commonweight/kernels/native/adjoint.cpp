// The sums over the uses of each weight, in one of two orders, and the way back.
#include "adjoint.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "threads.hpp"

namespace commonweight {
namespace {

constexpr int run = 16;                    // cells that one number may do for
constexpr std::int64_t piece = 1 << 14;    // connections that are summed in one go
constexpr std::int64_t cached = 1 << 17;   // weights whose sums fit into the second cache

template <class Float>
double sum(const Index& it, const Float* grad, std::int64_t first, std::int64_t last) {
  double sums[4] = {};  // additions that need not wait for each other
  std::int64_t e = first;
  const auto term = [&](std::int64_t at) {
    const std::int32_t position = it.positions[at];
    return static_cast<double>(position < 0 ? -grad[~position] : grad[position]);
  };
  for (; e + 4 <= last; e += 4)
    for (int lane = 0; lane < 4; ++lane) sums[lane] += term(e + lane);
  for (; e < last; ++e) sums[0] += term(e);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

template <class Float>
void sorted(const Index& it, const Float* grad, Float* sums, int threads) {
  const std::int64_t connections = it.starts[it.weights];
  const std::int64_t pieces = (connections + piece - 1) / piece;
  // A weight's connections may begin in one piece and end in a later one: such parts are added up at the end.
  std::vector<double> heads(pieces, 0.0), tails(pieces, 0.0);
  std::vector<std::int64_t> owners(pieces);  // of the first connection in a piece
  const auto work = [&](std::ptrdiff_t first_piece, std::ptrdiff_t last_piece) {
    for (std::ptrdiff_t number = first_piece; number < last_piece; ++number) {
      const std::int64_t first = number * piece, last = std::min(connections, first + piece);
      std::int64_t p = std::upper_bound(it.starts, it.starts + it.weights + 1, first) - it.starts - 1;
      owners[number] = p;
      for (std::int64_t at = first; at < last; ++p) {
        const std::int64_t end = std::min(last, it.starts[p + 1]);
        const bool begins = it.starts[p] >= first, ends = it.starts[p + 1] <= last;
        const double part = sum(it, grad, at, end);
        if (begins && ends) sums[p] = static_cast<Float>(part);
        else (begins ? tails : heads)[number] = part;
        at = end;
      }
    }
  };
  for (std::int64_t p = 0; p < it.weights; ++p)
    if (it.starts[p] == it.starts[p + 1]) sums[p] = 0;
  parallel(pieces, 1, threads, work);
  double carried = 0.0;
  for (std::int64_t number = 0; number < pieces; ++number) {
    const std::int64_t first = number * piece, last = std::min(connections, first + piece), p = owners[number];
    if (it.starts[p] < first) {
      carried += heads[number];
      if (it.starts[p + 1] <= last) sums[p] = static_cast<Float>(carried), carried = 0.0;
      else continue;
    }
    carried = tails[number];
  }
}

// Calls `alone(cell, number)` and `together(cell, number)`, the latter for the first of 16 cells, from first to last - 1.
template <class Alone, class Together>
void each(const Index& it, std::int64_t first, std::int64_t last, Alone alone, Together together) {
  std::int64_t cell = first;
  for (; it.runs && cell + run <= last; cell += run) {
    const std::int32_t number = it.runs[cell / run];
    if (number) together(cell, number);
    else for (std::int64_t at = cell; at < cell + run; ++at) alone(at, it.numbers[at]);
  }
  for (; cell < last; ++cell) alone(cell, it.numbers[cell]);
}

template <class Float>
void scattered(const Index& it, const Float* grad, Float* sums, int threads) {
  // Sums of each weight, for threads of their own: more where that costs little beside the adding.
  const std::int64_t parts = std::clamp<std::int64_t>(it.cells / (32 * it.weights + 1), 2, 16);
  const std::int64_t slots = 2 * it.weights + 1;  // of a part: numbers from -weights to weights, so that no sign counts
  const std::unique_ptr<double[]> all(new double[parts * slots]);  // each thread zeroes its own
  const std::int64_t size = ((it.cells + parts - 1) / parts + run - 1) / run * run;
  parallel(parts, 1, threads, [&](std::ptrdiff_t first_part, std::ptrdiff_t last_part) {
    for (std::ptrdiff_t part = first_part; part < last_part; ++part) {
      double* middle = all.get() + part * slots + it.weights;
      std::fill(middle - it.weights, middle + it.weights + 1, 0.0);
      each(
          it, std::min(it.cells, part * size), std::min(it.cells, (part + 1) * size),
          [=](std::int64_t cell, std::int32_t number) { middle[number] += static_cast<double>(grad[cell]); },
          [=](std::int64_t cell, std::int32_t number) {
            const double sign = (number >> 31) | 1;  // signs are random, and a branch would be guessed wrong
            for (int j = 0; j < run; ++j) middle[std::abs(number) + j] += sign * static_cast<double>(grad[cell + j]);
          });
    }
  });
  parallel(it.weights, piece, threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    for (std::ptrdiff_t p = first; p < last; ++p) {
      const double* middle = all.get() + it.weights;
      double sum = 0.0;
      for (std::int64_t part = 0; part < parts; ++part, middle += slots) sum += middle[p + 1] - middle[-p - 1];
      sums[p] = static_cast<Float>(sum);
    }
  });
}

}  // namespace

template <class Float>
void adjoint(const Index& it, const Float* grad, Float* sums, int threads) {
  if (it.weights <= cached && it.cells >= 8 * it.weights)
    scattered(it, grad, sums, threads);
  else
    sorted(it, grad, sums, threads);
}

template <class Float>
void spread(const Index& it, const Float* theta, Float* out, int threads) {
  std::vector<Float> signed_values(2 * it.weights + 1);  // -θ backwards, 0, θ: one look-up, whatever the sign
  Float* middle = signed_values.data() + it.weights;
  *middle = 0;
  for (std::int64_t p = 0; p < it.weights; ++p) middle[p + 1] = theta[p], middle[-p - 1] = -theta[p];
  parallel(it.cells, piece, threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    each(
        it, first, last, [=](std::int64_t cell, std::int32_t number) { out[cell] = middle[number]; },
        [=](std::int64_t cell, std::int32_t number) {
          const Float sign = (number >> 31) | 1;
          for (int j = 0; j < run; ++j) out[cell + j] = sign * theta[std::abs(number) - 1 + j];
        });
  });
}

template void spread<float>(const Index&, const float*, float*, int);
template void spread<double>(const Index&, const double*, double*, int);
template void adjoint<float>(const Index&, const float*, float*, int);
template void adjoint<double>(const Index&, const double*, double*, int);

}  // namespace commonweight
