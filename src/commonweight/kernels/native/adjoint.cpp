// Sums over sorted connections, in pieces that do not depend on the number of threads.
#include "adjoint.hpp"

#include <algorithm>
#include <vector>

#include "threads.hpp"

namespace commonweight {
namespace {

constexpr std::int64_t piece = 1 << 14;

template <class Float>
double sum(const Adjoint<Float>& it, std::int64_t first, std::int64_t last) {
  double sums[4] = {};  // additions that need not wait for each other
  std::int64_t e = first;
  const auto term = [&](std::int64_t at) {
    const std::int32_t position = it.positions[at];
    return static_cast<double>(position < 0 ? -it.grad[~position] : it.grad[position]);
  };
  for (; e + 4 <= last; e += 4)
    for (int lane = 0; lane < 4; ++lane) sums[lane] += term(e + lane);
  for (; e < last; ++e) sums[0] += term(e);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

template <class Float>
void adjoint(const Adjoint<Float>& it, int threads) {
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
        const double part = sum(it, at, end);
        if (begins && ends) it.sums[p] = static_cast<Float>(part);
        else (begins ? tails : heads)[number] = part;
        at = end;
      }
    }
  };
  for (std::int64_t p = 0; p < it.weights; ++p)
    if (it.starts[p] == it.starts[p + 1]) it.sums[p] = 0;
  parallel(pieces, 1, threads, work);
  double carried = 0.0;
  for (std::int64_t number = 0; number < pieces; ++number) {
    const std::int64_t first = number * piece, last = std::min(connections, first + piece), p = owners[number];
    if (it.starts[p] < first) {
      carried += heads[number];
      if (it.starts[p + 1] <= last) it.sums[p] = static_cast<Float>(carried), carried = 0.0;
      else continue;
    }
    carried = tails[number];
  }
}

template void adjoint<float>(const Adjoint<float>&, int);
template void adjoint<double>(const Adjoint<double>&, int);

}  // namespace commonweight
