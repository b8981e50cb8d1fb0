// The product of `codebook.hpp` in tiles of rows × samples held in registers; included once for each instruction set.
//
// `Isa` has: Vec, 16 floats; Table<bits>(values, held), a codebook made ready: one of at most 4 bits is repeated to 16
// values, so that bits of a word beyond its own do not matter, and values that it does not hold are zeros;
// lookup<bits>(table, words, k), the weights of the k-th codes of 16 words; load, store, zero, fma and sum;
// rows<bits> × samples, the largest tile that its registers hold.
#pragma once

#include <algorithm>

#include "codebook.hpp"

namespace commonweight {
namespace {

constexpr std::ptrdiff_t block_words = 16;
constexpr std::ptrdiff_t ahead = 12288;  // words, 48 KiB: codes asked for so early are in the second cache when needed

template <class Isa, int bits>
typename Isa::template Table<bits> table_of(const CodebookProduct& it, std::ptrdiff_t row) {
  return typename Isa::template Table<bits>(it.values + row / it.rows_per_codebook * it.held, it.held);
}

template <class Isa, int bits, int rows, int samples>
void tile(const CodebookProduct& product, std::ptrdiff_t row, std::ptrdiff_t sample) {
  constexpr int per = 32 / bits;
  const std::ptrdiff_t width = product.blocks * block_words * per;
  typename Isa::template Table<bits> tables[rows];
  const std::uint32_t* words[rows];
  typename Isa::Vec sums[rows][samples];
  for (int r = 0; r < rows; ++r) {
    tables[r] = table_of<Isa, bits>(product, row + r);
    words[r] = product.codes + (row + r) * product.blocks * block_words;
    for (int n = 0; n < samples; ++n) sums[r][n] = Isa::zero();
  }
  const float* x = product.x + sample * width;
  for (std::ptrdiff_t block = 0; block < product.blocks; ++block) {
#pragma GCC unroll 32
    for (int k = 0; k < per; ++k) {
      typename Isa::Vec weights[rows];
      for (int r = 0; r < rows; ++r) weights[r] = Isa::template lookup<bits>(tables[r], words[r], k);
      for (int n = 0; n < samples; ++n) {
        const typename Isa::Vec inputs = Isa::load(x + n * width);
        for (int r = 0; r < rows; ++r) sums[r][n] = Isa::fma(weights[r], inputs, sums[r][n]);
      }
      x += block_words;
    }
    for (int r = 0; r < rows; ++r) {
      __builtin_prefetch(words[r] + ahead, 0, 2);
      words[r] += block_words;
    }
  }
  for (int n = 0; n < samples; ++n) {
    for (int r = 0; r < rows; ++r) {
      const float bias = product.bias ? product.bias[row + r] : 0.0f;
      product.y[(sample + n) * product.rows + row + r] = Isa::sum(sums[r][n]) + bias;
    }
  }
}

// All samples from `sample` to `end` of so many rows: tiles as wide as they come, then one that is left.
template <class Isa, int bits, int rows, int samples>
void strip(const CodebookProduct& product, std::ptrdiff_t row, std::ptrdiff_t sample, std::ptrdiff_t end) {
  for (; sample + samples <= end; sample += samples) tile<Isa, bits, rows, samples>(product, row, sample);
  if constexpr (samples > 1) strip<Isa, bits, rows, samples / 2>(product, row, sample, end);
}

// Samples in blocks that stay in the second cache while rows pass by.
template <class Isa, int bits>
void codebook_rows(const CodebookProduct& product, std::ptrdiff_t first, std::ptrdiff_t last) {
  constexpr int rows = Isa::template rows<bits>;
  constexpr std::ptrdiff_t cache = 1 << 17;  // floats: 512 KiB
  const std::ptrdiff_t width = std::max<std::ptrdiff_t>(1, product.blocks * block_words * (32 / bits));
  const std::ptrdiff_t some = std::max<std::ptrdiff_t>(1, cache / width / Isa::samples) * Isa::samples;
  for (std::ptrdiff_t sample = 0; sample < product.batch; sample += some) {
    const std::ptrdiff_t end = std::min(product.batch, sample + some);
    std::ptrdiff_t row = first;
    if (rows > 1 && end - sample == 1)
      for (; row + 2 * rows <= last; row += 2 * rows) tile<Isa, bits, 2 * rows, 1>(product, row, sample);
    for (; row + rows <= last; row += rows) strip<Isa, bits, rows, Isa::samples>(product, row, sample, end);
    for (; row < last; ++row) strip<Isa, bits, 1, Isa::samples>(product, row, sample, end);
  }
}

template <class Isa, int bits>
void expand_rows(const CodebookProduct& it, float* matrix, std::ptrdiff_t first, std::ptrdiff_t last) {
  constexpr int per = 32 / bits;
  for (std::ptrdiff_t row = first; row < last; ++row) {
    const auto table = table_of<Isa, bits>(it, row);
    const std::uint32_t* words = it.codes + row * it.blocks * block_words;
    float* to = matrix + row * it.blocks * block_words * per;
    for (std::ptrdiff_t block = 0; block < it.blocks; ++block, words += block_words)
      for (int k = 0; k < per; ++k, to += block_words) Isa::store(to, Isa::template lookup<bits>(table, words, k));
  }
}

template <class Isa>
CodebookKernels codebook_for(int bits) {
  switch (bits) {
    case 1: return {codebook_rows<Isa, 1>, expand_rows<Isa, 1>};
    case 2: return {codebook_rows<Isa, 2>, expand_rows<Isa, 2>};
    case 3: return {codebook_rows<Isa, 3>, expand_rows<Isa, 3>};
    case 4: return {codebook_rows<Isa, 4>, expand_rows<Isa, 4>};
    case 8: return {codebook_rows<Isa, 8>, expand_rows<Isa, 8>};
    default: return {};
  }
}

}  // namespace
}  // namespace commonweight
