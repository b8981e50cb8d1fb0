// The codebook product in plain C++, for every processor.
#include <algorithm>
#include <cstring>
#include <vector>

#include "codebook_tile.hpp"

namespace commonweight {
namespace {

struct Sixteen {
  struct Vec {
    float of[16];
  };
  static constexpr int lanes = 16, rows = 1, samples = 4;

  static Vec zero() { return {}; }
  static Vec load(const float* x) {
    Vec loaded;
    std::copy(x, x + 16, loaded.of);
    return loaded;
  }
  static Vec fma(Vec a, Vec b, Vec c) {
    for (int j = 0; j < 16; ++j) c.of[j] += a.of[j] * b.of[j];
    return c;
  }
  static float sum(Vec v) {
    for (int width = 8; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) v.of[j] += v.of[j + width];
    return v.of[0];
  }
};

struct Portable : Sixteen {
  using Plain = Sixteen;
  template <int bits>
  static constexpr int rows = 1;
  static constexpr int samples = 4, together = 1;

  template <int bits>
  struct Table {
    Table() = default;
    Table(const float* start, std::ptrdiff_t held) { std::copy(start, start + held, values); }
    float values[1 << bits] = {};
  };

  struct Words {
    std::uint32_t of[16];
  };

  static Words words(const void* start) {
    Words loaded;
    std::memcpy(loaded.of, start, sizeof loaded.of);
    return loaded;
  }

  template <int bits>
  static Vec lookup(const Table<bits>& table, const Words& words, int shift) {
    Vec found;
    for (int j = 0; j < 16; ++j) found.of[j] = table.values[(words.of[j] >> shift) & ((1u << bits) - 1)];
    return found;
  }

  static void store(float* y, Vec v) { std::copy(v.of, v.of + 16, y); }
};

}  // namespace

CodebookKernels codebook_portable(int bits) { return codebook_for<Portable>(bits); }

void codebook_sums(const float* grad, const std::uint32_t* codes, double* sums, std::ptrdiff_t columns,
                   std::ptrdiff_t blocks, int bits, std::ptrdiff_t first, std::ptrdiff_t last) {
  const int per = 32 / bits, size = 1 << bits;
  const std::uint32_t mask = size - 1;
  std::vector<double> lanes(static_cast<std::size_t>(size) * block_words);  // a sum for each code and lane
  for (std::ptrdiff_t row = first; row < last; ++row) {
    std::fill(lanes.begin(), lanes.end(), 0.0);
    const std::uint32_t* words = codes + row * blocks * block_words;
    std::ptrdiff_t column = 0;
    for (std::ptrdiff_t block = 0; block < blocks; ++block, words += block_words) {
      for (int k = 0; k < per && column < columns; ++k, column += block_words) {
        const std::ptrdiff_t here = std::min(block_words, columns - column);
        for (std::ptrdiff_t j = 0; j < here; ++j)
          lanes[(words[j] >> (bits * k) & mask) * block_words + j] += grad[row * columns + column + j];
      }
    }
    for (int code = 0; code < size; ++code) {
      double sum = 0.0;
      for (std::ptrdiff_t j = 0; j < block_words; ++j) sum += lanes[code * block_words + j];
      sums[row * size + code] = sum;
    }
  }
}

}  // namespace commonweight
