// Points in order: sorted by radix, equal ones merged into one with their weights added, those of no weight left out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "threads.hpp"

namespace commonweight {

template <class Float>
struct Distinct {
  std::vector<Float> values;    // rising
  std::vector<double> weights;  // positive
};

template <class Float>
using Bits = std::conditional_t<sizeof(Float) == 4, std::uint32_t, std::uint64_t>;

// A whole number for each value, in the same order.
template <class Float>
Bits<Float> key_of(Float value) {
  value += 0;  // -0 is 0
  Bits<Float> bits;
  std::memcpy(&bits, &value, sizeof bits);
  const Bits<Float> sign = Bits<Float>(1) << (8 * sizeof bits - 1);
  return bits & sign ? ~bits : bits | sign;
}

template <class Float>
Float value_of(Bits<Float> key) {
  const Bits<Float> sign = Bits<Float>(1) << (8 * sizeof key - 1);
  const Bits<Float> bits = key & sign ? key ^ sign : ~key;
  Float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class Float>
struct Point {
  Bits<Float> key;
  static constexpr double weight = 1.0;
};

template <class Float>
struct WeightedPoint {
  Bits<Float> key;
  double weight;
};

// Sorts by key, digit by digit from the lowest; each thread counts and moves a part of its own.
template <class Item>
void sort_by_key(std::vector<Item>& items, int threads) {
  const std::int64_t n = items.size();
  if (n < 256) {
    std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.key < b.key; });
    return;
  }
  const int digit = n < (1 << 15) ? 8 : 11, buckets = 1 << digit, width = 8 * sizeof(Item::key);
  const int parts = n < (1 << 20) ? 1 : std::max(1, threads);
  const std::int64_t size = (n + parts - 1) / parts;
  std::vector<Item> other(n);
  std::vector<std::int64_t> places(std::int64_t(parts) * buckets);
  const auto each_part = [&](auto&& work) {
    parallel(parts, 1, threads, [&](std::ptrdiff_t first_part, std::ptrdiff_t last_part) {
      for (std::ptrdiff_t part = first_part; part < last_part; ++part)
        work(places.data() + part * buckets, part * size, std::min(n, (part + 1) * size));
    });
  };
  for (int shift = 0; shift < width; shift += digit) {
    const auto digit_of = [&](const Item& item) { return (item.key >> shift) & (buckets - 1); };
    std::fill(places.begin(), places.end(), 0);
    each_part([&](std::int64_t* counts, std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) ++counts[digit_of(items[i])];
    });
    std::int64_t place = 0, largest = 0;
    for (int bucket = 0; bucket < buckets; ++bucket) {
      const std::int64_t before = place;
      for (int part = 0; part < parts; ++part) {
        const std::int64_t count = places[std::int64_t(part) * buckets + bucket];
        places[std::int64_t(part) * buckets + bucket] = place;
        place += count;
      }
      largest = std::max(largest, place - before);
    }
    if (largest == n) continue;  // all have this digit
    each_part([&](std::int64_t* next, std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) other[next[digit_of(items[i])]++] = items[i];
    });
    std::swap(items, other);
  }
}

template <class Float, class Item>
Distinct<Float> merged(std::vector<Item>& items, int threads) {
  sort_by_key(items, threads);
  std::size_t count = 0;
  for (std::size_t i = 0; i < items.size(); ++i) count += i == 0 || items[i].key != items[i - 1].key;
  Distinct<Float> found{std::vector<Float>(count), std::vector<double>(count, 0.0)};
  std::size_t at = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    at += i > 0 && items[i].key != items[i - 1].key;
    found.values[at] = value_of<Float>(items[i].key);
    found.weights[at] += items[i].weight;
  }
  return found;
}

// weights: of the points, not negative; null: 1 each.
template <class Float>
Distinct<Float> distinct(const Float* points, const double* weights, std::int64_t n, int threads) {
  if (!weights) {
    std::vector<Point<Float>> items(n);
    for (std::int64_t i = 0; i < n; ++i) items[i].key = key_of(points[i]);
    return merged<Float>(items, threads);
  }
  std::vector<WeightedPoint<Float>> items;
  items.reserve(n);
  for (std::int64_t i = 0; i < n; ++i)
    if (weights[i] > 0) items.push_back({key_of(points[i]), weights[i]});
  return merged<Float>(items, threads);
}

}  // namespace commonweight
