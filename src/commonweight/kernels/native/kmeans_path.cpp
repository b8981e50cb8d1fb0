// The cheapest path over cuts b₀ < b₁ < … < b_k, by dynamic programming on cells of cuts that get finer.
//
// A cell stands for the cuts first … last, and stage t has a list of cells that b_t may be in. From cell to cell a run
// costs at least what the points that surely belong to it cost, from the last cut of the one to the first of the other.
// The cheapest path over cells, forwards and backwards, so bounds from below what a cut in each cell costs. Cells where
// that is above the cost of cuts that are known already (of the path, improved as Lloyd does) are dropped, the others
// are divided. When cells are single cuts, bounds are costs, and the cheapest path is the answer: whatever was dropped
// cannot be part of it.
//
// The matrix of bounds is Monge, as that of costs is, so that all row minima of R × C cells take O((R + C) log R) of
// its entries (Aggarwal, Klawe, Moran, Shor, Wilber 1987, and for k-means Grønlund et al. 2017, arXiv:1701.07204).
#include "kmeans_path.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "threads.hpp"

namespace commonweight {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t cells_at_first = 16;      // of a cut, for each cluster
constexpr std::int64_t cells_for_threads = 1 << 18;
constexpr std::int64_t cells_at_least = 1 << 23;  // that memory is taken for, and twice as many as there are points

// Σ w (y - mean)² of the points between two cuts; 0 where there are none, or the second cut is before the first.
inline double cost(const Sums& from, const Sums& to) {
  const double weight = to.weight - from.weight, first = to.first - from.first;
  return weight > 0 ? std::max(0.0, to.second - from.second - first * first / weight) : 0.0;
}

// For each row the column of its leftmost least entry, among those from begins(row) to ends(row) - 1. All three rise.
template <class Entry, class Begins, class Ends, class Found>
void row_minima(std::int32_t row, std::int32_t rows_end, std::int32_t left, std::int32_t right, const Entry& entry,
                const Begins& begins, const Ends& ends, const Found& found) {
  while (row < rows_end) {
    const std::int32_t middle = row + (rows_end - row) / 2;
    const std::int32_t first = std::max(left, begins(middle)), last = std::min(right, ends(middle) - 1);
    double least = infinity;
    std::int32_t at = std::min(first, right);
    for (std::int32_t column = first; column <= last; ++column) {
      const double value = entry(middle, column);
      if (value < least) least = value, at = column;
    }
    found(middle, least, at);
    row_minima(row, middle, left, at, entry, begins, ends, found);
    row = middle + 1, left = at;
  }
}

// The cells that one cut may be in.
struct Stage {
  std::vector<std::int32_t> first, last;  // cuts
  std::vector<double> floor;              // what the points within the cell cost at least, in one run or the other
  std::vector<double> before, after;      // the least cost of all before the cell, with the floor; of all after it
  std::vector<std::int32_t> from;         // the cell before, on the cheapest path

  std::int32_t size() const { return static_cast<std::int32_t>(first.size()); }
};

template <class Float>
class Search {
 public:
  Search(const Line<Float>& line, std::int32_t k) : line_(line), k_(k), stages_(k + 1), lowest_(k), highest_(k) {
    const Sums& all = line.sums[line.n];
    of_points_ = 1.0 / line.n, of_weight_ = 1 / all.weight, of_square_ = all.second > 0 ? 1 / all.second : 0.0;
    slack_ = 16.0 * k * std::numeric_limits<double>::epsilon() * (all.second + cost(line.sums[0], all));
  }

  // False if more cells would have to be kept than memory is given for.
  bool run(Cuts& best, int threads) {
    const std::int64_t cells = std::min<std::int64_t>(line_.n + 1, cells_at_first * k_);
    if (!affordable(cells * k_)) return false;
    start(cells);
    while (true) {
      std::int64_t count = 0;
      bool single = true;  // cells of one cut each
      for (const Stage& stage : stages_) count += stage.size(), single = single && stage.first == stage.last;
      const int team = count < cells_for_threads ? 1 : threads;
      parallel(single ? 1 : 2, 1, team, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
        if (first == 0)
          for (std::int32_t t = 1; t <= k_; ++t) forwards(stages_[t - 1], stages_[t]);
        if (last == 2)
          for (std::int32_t t = k_; t-- > 0;) backwards(stages_[t], stages_[t + 1]);
      });
      const Cuts path = cheapest();
      if (single) return best = path, true;
      least_ = std::min(least_, improved(path));
      for (Stage& stage : stages_) drop(stage);
      const std::int32_t parts = affordable(divided(4)) ? 4 : 2;
      if (!affordable(divided(parts))) return false;
      bound_means();
      for (std::int32_t t = 0; t <= k_; ++t) divide(t, parts);
    }
  }

 private:
  bool affordable(std::int64_t cells) const { return cells <= cells_at_least + 2 * std::int64_t(line_.n); }

  const Sums& sums(std::int32_t cut) const { return line_.sums[cut]; }

  void add(Stage& stage, std::int32_t first, std::int32_t last) const {
    stage.first.push_back(first), stage.last.push_back(last);
    stage.floor.push_back(0.0);
  }

  // How many cells there would be, each divided into so many.
  std::int64_t divided(std::int32_t parts) const {
    std::int64_t count = 0;
    for (const Stage& stage : stages_)
      for (std::int32_t cell = 0; cell < stage.size(); ++cell)
        count += std::min(parts, stage.last[cell] - stage.first[cell] + 1);
    return count;
  }

  // What cells have equal parts of: points, weight and square, so that those far away are not many in a cell.
  double share(std::int32_t cut) const {
    return cut * of_points_ + sums(cut).weight * of_weight_ + sums(cut).second * of_square_;
  }

  // The cuts first … last in at most so many cells.
  void add_parts(Stage& stage, std::int32_t first, std::int32_t last, std::int64_t parts) const {
    if (last - first < parts) {
      for (; first <= last; ++first) add(stage, first, first);
      return;
    }
    const double begin = share(first), step = (share(last) - begin) / parts;
    for (std::int64_t part = 1; part < parts && first < last; ++part) {
      std::int32_t low = first + 1, high = last;  // where the next cell begins
      while (low < high) {
        const std::int32_t half = low + (high - low) / 2;
        share(half) < begin + part * step ? low = half + 1 : high = half;
      }
      add(stage, first, low - 1);
      first = low;
    }
    add(stage, first, last);
  }

  void start(std::int64_t cells) {
    Stage all;
    add_parts(all, 0, line_.n, cells);
    for (std::int32_t t = 0; t <= k_; ++t) {
      const std::int32_t least = t == k_ ? line_.n : t, most = t == 0 ? 0 : line_.n - (k_ - t);
      for (std::int32_t cell = 0; cell < all.size(); ++cell)
        if (all.last[cell] >= least && all.first[cell] <= most)
          add(stages_[t], std::max(least, all.first[cell]), std::min(most, all.last[cell]));
    }
    stages_[0].before = {0.0}, stages_[k_].after = {0.0}, stages_[0].from = {0};
  }

  // The sums at some cuts, side by side.
  std::vector<Sums> gathered(const std::vector<std::int32_t>& cuts) const {
    std::vector<Sums> found(cuts.size());
    std::transform(cuts.begin(), cuts.end(), found.begin(), [&](std::int32_t cut) { return sums(cut); });
    return found;
  }

  void forwards(const Stage& columns, Stage& rows) const {
    std::vector<std::int32_t> ends(rows.size());
    for (std::int32_t row = 0, end = 0; row < rows.size(); ends[row++] = end)
      while (end < columns.size() && columns.first[end] < rows.last[row]) ++end;
    const std::vector<Sums> tails = gathered(columns.last), heads = gathered(rows.first);
    rows.before.resize(rows.size()), rows.from.resize(rows.size());
    row_minima(
        0, rows.size(), 0, columns.size() - 1,
        [&](std::int32_t row, std::int32_t column) {
          return columns.before[column] + cost(tails[column], heads[row]);
        },
        [](std::int32_t) { return 0; }, [&](std::int32_t row) { return ends[row]; },
        [&](std::int32_t row, double least, std::int32_t at) {
          rows.before[row] = least + rows.floor[row], rows.from[row] = at;
        });
  }

  void backwards(Stage& rows, const Stage& columns) const {
    std::vector<std::int32_t> begins(rows.size());
    for (std::int32_t row = 0, begin = 0; row < rows.size(); begins[row++] = begin)
      while (begin < columns.size() && columns.last[begin] <= rows.first[row]) ++begin;
    const std::vector<Sums> tails = gathered(rows.last), heads = gathered(columns.first);
    rows.after.resize(rows.size());
    row_minima(
        0, rows.size(), 0, columns.size() - 1,
        [&](std::int32_t row, std::int32_t column) {
          return columns.after[column] + columns.floor[column] + cost(tails[row], heads[column]);
        },
        [&](std::int32_t row) { return begins[row]; }, [&](std::int32_t) { return columns.size(); },
        [&](std::int32_t row, double least, std::int32_t) { rows.after[row] = least; });
  }

  // Cuts within the cells of the cheapest path.
  Cuts cheapest() const {
    Cuts cuts(k_ + 1);
    std::int32_t cell = 0;
    for (std::int32_t t = k_; t >= 0; cell = stages_[t--].from[cell]) cuts[t] = stages_[t].first[cell];
    for (std::int32_t t = 1; t <= k_; ++t) cuts[t] = std::max(cuts[t], cuts[t - 1] + 1);
    for (std::int32_t t = k_; t-- > 0;) cuts[t] = std::min(cuts[t], cuts[t + 1] - 1);
    return cuts;
  }

  double mean(std::int32_t from, std::int32_t to) const {
    return (sums(to).first - sums(from).first) / (sums(to).weight - sums(from).weight);
  }

  // The cost of these cuts after some steps of Lloyd: each cut goes to the middle between the means beside it.
  double improved(Cuts cuts) const {
    for (std::int32_t step = 0; step < 50; ++step) {
      Cuts next = cuts;
      for (std::int32_t t = 1; t < k_; ++t) {
        const double middle = (mean(cuts[t - 1], cuts[t]) + mean(cuts[t], cuts[t + 1])) / 2;
        std::int32_t low = cuts[t - 1], high = cuts[t + 1];
        while (low < high) {
          const std::int32_t half = low + (high - low) / 2;
          line_.at(half) < middle ? low = half + 1 : high = half;
        }
        next[t] = low;
      }
      bool rising = true;
      for (std::int32_t t = 0; t < k_; ++t) rising = rising && next[t] < next[t + 1];
      if (!rising || next == cuts) break;
      cuts = next;
    }
    double total = 0.0;
    for (std::int32_t t = 0; t < k_; ++t) total += cost(sums(cuts[t]), sums(cuts[t + 1]));
    return total;
  }

  void drop(Stage& stage) const {
    Stage kept;
    for (std::int32_t cell = 0; cell < stage.size(); ++cell)
      if (stage.before[cell] + stage.after[cell] <= least_ + slack_) {
        kept.first.push_back(stage.first[cell]), kept.last.push_back(stage.last[cell]);
      }
    stage.first = std::move(kept.first), stage.last = std::move(kept.last);
  }

  // Between which two numbers the mean of each run lies, by the cells that are left.
  void bound_means() {
    for (std::int32_t t = 0; t < k_; ++t) {
      const Stage &from = stages_[t], &to = stages_[t + 1];
      const std::int32_t low = from.first.front(), low_end = std::max(to.first.front(), low + 1);
      const std::int32_t high_end = to.last.back(), high = std::min(from.last.back(), high_end - 1);
      // A mean of little weight would be lost in rounding.
      const double enough = 1e-6 * sums(line_.n).weight;
      const auto heavy = [&](std::int32_t a, std::int32_t b) { return sums(b).weight - sums(a).weight > enough; };
      lowest_[t] = heavy(low, low_end) ? mean(low, low_end) : line_.at(low);
      highest_[t] = heavy(high, high_end) ? mean(high, high_end) : line_.at(high_end - 1);
    }
  }

  double distance(double y, std::int32_t run) const {
    return std::max({0.0, lowest_[run] - y, y - highest_[run]});
  }

  void divide(std::int32_t t, std::int32_t parts) {
    Stage fine;
    const Stage& coarse = stages_[t];
    for (std::int32_t cell = 0; cell < coarse.size(); ++cell)
      add_parts(fine, coarse.first[cell], coarse.last[cell], parts);
    // The points of a cell are in the run before it or in the run after it, if no other cut can lie among them.
    if (t > 0 && t < k_ && stages_[t - 1].last.back() <= fine.first.front() &&
        fine.last.back() <= stages_[t + 1].first.front())
      for (std::int32_t cell = 0; cell < fine.size(); ++cell) {
        if (fine.first[cell] == fine.last[cell]) continue;
        const double low = line_.at(fine.first[cell]), high = line_.at(fine.last[cell] - 1);
        double nearest = infinity;
        for (const std::int32_t run : {t - 1, t}) {
          const bool apart = high < lowest_[run] || low > highest_[run];
          nearest = std::min(nearest, apart ? std::min(distance(low, run), distance(high, run)) : 0.0);
        }
        fine.floor[cell] = (sums(fine.last[cell]).weight - sums(fine.first[cell]).weight) * nearest * nearest;
      }
    fine.before = t == 0 ? std::vector<double>{0.0} : std::vector<double>{};
    fine.after = t == k_ ? std::vector<double>{0.0} : std::vector<double>{};
    if (t == 0) fine.from = {0};
    stages_[t] = std::move(fine);
  }

  const Line<Float>& line_;
  const std::int32_t k_;
  std::vector<Stage> stages_;
  std::vector<double> lowest_, highest_;  // of each run's mean
  double least_ = infinity;               // the cost of the best cuts that are known
  double slack_;                          // for rounding
  double of_points_, of_weight_, of_square_;
};

// The same where bounds drop too little: the middle cut from the costs on both sides of it, then each half by itself
// (Hirschberg 1975).
class Halves {
 public:
  Halves(const Sums* sums, Cuts& cuts, int threads) : sums_(sums), cuts_(cuts), threads_(threads) {}

  void run(std::int32_t t, std::int32_t t_end) {
    if (t_end - t < 2) return;
    const std::int32_t middle = t + (t_end - t) / 2, from = cuts_[t], to = cuts_[t_end];
    std::vector<double> sides[2];
    parallel(2, 1, threads_, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
      for (std::ptrdiff_t side = first; side < last; ++side)
        sides[side] = side == 0 ? before(from, to, middle - t) : after(from, to, t_end - middle);
    });
    double least = infinity;
    for (std::int32_t cut = from + (middle - t); cut <= to - (t_end - middle); ++cut)
      if (const double total = sides[0][cut - from] + sides[1][cut - from]; total < least)
        least = total, cuts_[middle] = cut;
    sides[0] = {}, sides[1] = {};
    run(t, middle);
    run(middle, t_end);
  }

 private:
  // For each cut the least cost of `runs` runs between `from` and it.
  std::vector<double> before(std::int32_t from, std::int32_t to, std::int32_t runs) const {
    const std::int32_t size = to - from + 1;
    std::vector<double> now(size), next(size, infinity);
    for (std::int32_t cut = 0; cut < size; ++cut) now[cut] = cost(sums_[from], sums_[from + cut]);
    now[0] = infinity;
    for (std::int32_t run = 2; run <= runs; ++run, std::swap(now, next))
      row_minima(
          0, size, 0, size - 1,
          [&](std::int32_t row, std::int32_t column) {
            return now[column] + cost(sums_[from + column], sums_[from + row]);
          },
          [](std::int32_t) { return 0; }, [](std::int32_t row) { return row; },
          [&](std::int32_t row, double best, std::int32_t) { next[row] = best; });
    return now;
  }

  std::vector<double> after(std::int32_t from, std::int32_t to, std::int32_t runs) const {
    const std::int32_t size = to - from + 1;
    std::vector<double> now(size), next(size, infinity);
    for (std::int32_t cut = 0; cut < size; ++cut) now[cut] = cost(sums_[from + cut], sums_[to]);
    now[size - 1] = infinity;
    for (std::int32_t run = 2; run <= runs; ++run, std::swap(now, next))
      row_minima(
          0, size, 0, size - 1,
          [&](std::int32_t row, std::int32_t column) {
            return now[column] + cost(sums_[from + row], sums_[from + column]);
          },
          [](std::int32_t row) { return row + 1; }, [&](std::int32_t) { return size; },
          [&](std::int32_t row, double best, std::int32_t) { next[row] = best; });
    return now;
  }

  const Sums* sums_;
  Cuts& cuts_;
  const int threads_;
};

}  // namespace

template <class Float>
Cuts best_cuts(const Line<Float>& line, std::int32_t k, int threads) {
  Cuts cuts(k + 1, 0);
  cuts[k] = line.n;
  if (k > 1 && !Search<Float>(line, k).run(cuts, threads)) {
    cuts[0] = 0, cuts[k] = line.n;
    Halves(line.sums, cuts, threads).run(0, k);
  }
  return cuts;
}

template Cuts best_cuts<float>(const Line<float>&, std::int32_t, int);
template Cuts best_cuts<double>(const Line<double>&, std::int32_t, int);

}  // namespace commonweight
