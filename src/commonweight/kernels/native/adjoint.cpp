// The sums over the uses of each weight, in one of two orders, and the way back.
#include "adjoint.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "threads.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace commonweight {
namespace {

constexpr int run = 16;                    // cells that one number may do for
constexpr int stretch = 64;                // cells that are made ready in the first cache
constexpr std::int64_t piece = 1 << 14;    // connections that are summed in one go
constexpr std::int64_t ahead = 1024;       // cells that are asked for so early
constexpr std::int64_t large = 1 << 20;    // cells that the caches do not hold, with what else is used
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

// Calls `alone(cell, n)` for n cells from there on, or `together(cell, number)` for 16 that one number does for, from
// first to last - 1.
template <class Alone, class Together>
void each(const Index& it, std::int64_t first, std::int64_t last, Alone alone, Together together) {
  for (std::int64_t cell = first, n; cell < last; cell += n) {
    n = std::min<std::int64_t>(last - cell, it.runs ? run : stretch);
    const std::int32_t number = it.runs && n == run ? it.runs[cell / run] : 0;
    if (number) together(cell, number);
    else alone(cell, n);
  }
}

// Signs are random, and a branch would be guessed wrong.
template <class Float>
Float sign(std::int32_t number) { return static_cast<Float>((number >> 31) | 1); }

// Adds what the cells first .. last - 1 receive to the sums of a part: own[0] for nothing, own[p + 1] for weight p.
// Gradients and numbers are asked for early, into the second cache. Asked for as what is read only once, they go to the
// first alone, where an Intel Xeon has lost them again when they are needed: twice the time.
template <class Float>
void add(const Index& it, const Float* grad, double* own, std::int64_t first, std::int64_t last) {
  each(
      it, first, last,
      [=](std::int64_t cell, std::int64_t n) {
        std::int32_t slots[stretch];
        Float terms[stretch];
        for (int j = 0; j < n && cell + ahead < last; j += run) {
          __builtin_prefetch(grad + cell + ahead + j, 0, 2);
          __builtin_prefetch(it.numbers + cell + ahead + j, 0, 2);
        }
        for (int j = 0; j < n; ++j) {
          const std::int32_t number = it.numbers[cell + j];
          slots[j] = std::abs(number);
          terms[j] = sign<Float>(number) * grad[cell + j];
        }
        for (int j = 0; j < n; ++j) own[slots[j]] += static_cast<double>(terms[j]);
      },
      [=](std::int64_t cell, std::int32_t number) {
        __builtin_prefetch(grad + cell + ahead, 0, 2);
        const double* later = own + std::abs(it.runs[std::min(cell / run + 4, it.cells / run - 1)]);
        for (int j = 0; j < run; j += 8) __builtin_prefetch(later + j, 1);
        double* to = own + std::abs(number);
        const double by = sign<double>(number);
#pragma GCC unroll 1  // sixteen lines are not made vector instructions; a loop is
        for (int j = 0; j < run; ++j) to[j] += by * static_cast<double>(grad[cell + j]);
      });
}

// n numbers to where they stay. A large tensor is written past the caches: otherwise its old contents would be read
// first, and would drive out the weights that are looked up.
template <class Float>
void write(Float* to, const Float* from, std::int64_t n, bool past_caches) {
#if defined(__SSE2__)
  if (past_caches && n % run == 0 && reinterpret_cast<std::uintptr_t>(to) % 16 == 0) {
    const auto* pieces = reinterpret_cast<const __m128i*>(from);
    for (std::size_t at = 0; at < n * sizeof(Float) / 16; ++at)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to) + at, _mm_loadu_si128(pieces + at));
    return;
  }
#endif
  std::copy(from, from + n, to);
}

// What was written past the caches is there for all threads.
void fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace

bool adds_in_parts(const Index& it) { return it.weights <= cached && it.cells >= 8 * it.weights; }

template <class Float>
void add_in_parts(const Index& it, std::int64_t grain, Float* sums, int threads, const PartOfCells<Float>& part_of) {
  // Sums of each weight, for threads of their own: more where that costs little beside the adding.
  const std::int64_t parts = std::clamp<std::int64_t>(it.cells / (32 * it.weights + 1), 2, 16);
  const std::int64_t slots = it.weights + 1;
  const std::unique_ptr<double[]> all(new double[parts * slots]);  // each thread zeroes its own
  const std::int64_t size = ((it.cells + parts - 1) / parts + grain - 1) / grain * grain;
  parallel(parts, 1, threads, [&](std::ptrdiff_t first_part, std::ptrdiff_t last_part) {
    for (std::ptrdiff_t part = first_part; part < last_part; ++part) {
      double* own = all.get() + part * slots;
      std::fill(own, own + slots, 0.0);
      part_of(std::min(it.cells, part * size), std::min(it.cells, (part + 1) * size),
              [&](const Float* grad, std::int64_t first, std::int64_t last) {
                const Index here{it.numbers + first, it.runs ? it.runs + first / run : nullptr, last - first,
                                 it.positions,       it.starts, it.weights};
                add(here, grad, own, 0, last - first);
              });
    }
  });
  parallel(it.weights, piece, threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    for (std::ptrdiff_t p = first; p < last; ++p) {
      double sum = 0.0;
      for (std::int64_t part = 0; part < parts; ++part) sum += all[part * slots + p + 1];
      sums[p] = static_cast<Float>(sum);
    }
  });
}

template <class Float>
void adjoint(const Index& it, const Float* grad, Float* sums, int threads) {
  if (!adds_in_parts(it)) return sorted(it, grad, sums, threads);
  add_in_parts<Float>(it, run, sums, threads,
                      [&](std::int64_t first, std::int64_t last, const AddCells<Float>& add) {
                        add(grad + first, first, last);
                      });
}

template <class Float>
void spread(const Index& it, const Float* theta, Float* out, int threads) {
  std::vector<Float> table(it.weights + 1);  // 0 for nothing, then θ
  std::copy(theta, theta + it.weights, table.data() + 1);
  const Float* const values = table.data();
  const bool past_caches = it.cells >= large;
  parallel(it.cells, piece, threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    each(
        it, first, last,
        [=](std::int64_t cell, std::int64_t n) {
          Float found[stretch];
          std::int32_t slots[stretch];
          for (int j = 0; j < n; ++j) slots[j] = std::abs(it.numbers[cell + j]);
          for (int j = 0; j < n; ++j) found[j] = values[slots[j]];
          for (int j = 0; j < n; ++j) found[j] *= sign<Float>(it.numbers[cell + j]);
          write(out + cell, found, n, past_caches);
        },
        [=](std::int64_t cell, std::int32_t number) {
          Float found[run];
          for (int j = 0; j < run; ++j) found[j] = sign<Float>(number) * theta[std::abs(number) - 1 + j];
          write(out + cell, found, run, past_caches);
        });
    fence();
  });
}

template void add_in_parts<float>(const Index&, std::int64_t, float*, int, const PartOfCells<float>&);
template void spread<float>(const Index&, const float*, float*, int);
template void spread<double>(const Index&, const double*, double*, int);
template void adjoint<float>(const Index&, const float*, float*, int);
template void adjoint<double>(const Index&, const double*, double*, int);

}  // namespace commonweight
