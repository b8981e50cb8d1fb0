// The product of `codebook.hpp` in tiles of rows × samples held in registers; included once for each instruction set.
//
// `Isa` has: Vec, 16 floats; Table<bits>(values, held), a codebook made ready: one of at most 4 bits is repeated to 16
// values, so that bits of a word beyond its own do not matter, and values that it does not hold are zeros; Words, 16
// words, and words(start); lookup<bits>(table, words, shift), the weights of their codes from that bit on; load, store,
// zero, fma and sum; rows<bits> × samples, the largest tile that its registers hold; together, the codes of a word that
// are looked up one after the other for a single sample. Isa::Plain is the same for weights that are written out: Vec,
// some `lanes` floats; load, zero, fma and sum; rows × samples.
#pragma once

#include <algorithm>

#include "codebook.hpp"

// Loops whose turns are all written out; with checks of every access in them they would take minutes to compile.
#if defined(__SANITIZE_ADDRESS__)
#define UNROLLED
#else
#define UNROLLED _Pragma("GCC unroll 32")
#endif

namespace commonweight {
namespace {

constexpr std::ptrdiff_t block_words = 16;
constexpr std::ptrdiff_t ahead = 12288;  // words, 48 KiB: codes asked for so early are in the second cache when needed
constexpr std::ptrdiff_t rows_ahead = 12;  // the same for stretches of rows, which do not follow each other in memory

// The codebooks of one row after the other, with a division for the first alone.
template <class Isa, int bits>
class Tables {
 public:
  Tables(const CodebookProduct& it, std::ptrdiff_t row)
      : it_(it), left_(it.rows_per_codebook - row % it.rows_per_codebook),
        values_(it.values + row / it.rows_per_codebook * it.held) {}

  typename Isa::template Table<bits> next() {
    const float* values = values_;
    if (--left_ == 0) values_ += it_.held, left_ = it_.rows_per_codebook;
    return {values, it_.held};
  }

 private:
  const CodebookProduct& it_;
  std::ptrdiff_t left_;
  const float* values_;
};

// The sums of some rows, with what they are made of.
template <class Isa, int bits, int rows, int samples>
struct Tile {
  Tile(const CodebookProduct& it, std::ptrdiff_t row) {
    Tables<Isa, bits> each(it, row);
    for (int r = 0; r < rows; ++r) {
      tables[r] = each.next();
      words[r] = it.codes + (row + r) * it.blocks * block_words;
      for (int n = 0; n < samples; ++n) sums[r][n] = Isa::zero();
    }
  }

  void to_next_block() {
    for (int r = 0; r < rows; ++r) {
      __builtin_prefetch(words[r] + ahead, 0, 2);
      words[r] += block_words;
    }
  }

  void write(const CodebookProduct& it, std::ptrdiff_t row, std::ptrdiff_t sample) const {
    for (int n = 0; n < samples; ++n) {
      for (int r = 0; r < rows; ++r) {
        const float bias = it.bias ? it.bias[row + r] : 0.0f;
        it.y[(sample + n) * it.rows + row + r] = Isa::sum(sums[r][n]) + bias;
      }
    }
  }

  typename Isa::template Table<bits> tables[rows];
  const std::uint32_t* words[rows];
  typename Isa::Vec sums[rows][samples];
};

template <class Isa, int bits, int rows, int samples>
void tile_of_some(const CodebookProduct& product, std::ptrdiff_t row, std::ptrdiff_t sample) {
  constexpr int per = 32 / bits;
  const std::ptrdiff_t width = product.blocks * block_words * per;
  Tile<Isa, bits, rows, samples> it(product, row);
  const float* x = product.x + sample * width;
  for (std::ptrdiff_t block = 0; block < product.blocks; ++block) {
    UNROLLED
    for (int k = 0; k < per; ++k) {
      typename Isa::Vec weights[rows];
      for (int r = 0; r < rows; ++r)
        weights[r] = Isa::template lookup<bits>(it.tables[r], Isa::words(it.words[r]), bits * k);
      for (int n = 0; n < samples; ++n) {
        const typename Isa::Vec inputs = Isa::load(x + n * width);
        for (int r = 0; r < rows; ++r) it.sums[r][n] = Isa::fma(weights[r], inputs, it.sums[r][n]);
      }
      x += block_words;
    }
    it.to_next_block();
  }
  it.write(product, row, sample);
}

// A block of columns for one sample, where looking up takes as long as multiplying. Words that are read from a later
// byte on need fewer shifts, since the codes of the bytes before are gone. The last of these words reaches beyond its
// block, which must not be the last one of the codes.
template <bool askew, class Isa, int bits, int rows>
void add_block(Tile<Isa, bits, rows, 1>& it, const float* x) {
  constexpr int per = 32 / bits, together = Isa::together;
  UNROLLED
  for (int k = 0; k < per; k += together) {
    const int here = std::min(together, per - k), byte = askew ? k * bits / 8 : 0;
    typename Isa::Vec inputs[together];
    UNROLLED
    for (int j = 0; j < here; ++j) inputs[j] = Isa::load(x + (k + j) * block_words);
    UNROLLED
    for (int r = 0; r < rows; ++r) {
      const auto words = Isa::words(reinterpret_cast<const std::uint8_t*>(it.words[r]) + byte);
      UNROLLED
      for (int j = 0; j < here; ++j) {
        const auto weights = Isa::template lookup<bits>(it.tables[r], words, (k + j) * bits - 8 * byte);
        it.sums[r][0] = Isa::fma(weights, inputs[j], it.sums[r][0]);
      }
    }
  }
}

template <class Isa, int bits, int rows>
void tile_of_one(const CodebookProduct& product, std::ptrdiff_t row, std::ptrdiff_t sample) {
  constexpr std::ptrdiff_t columns = block_words * (32 / bits);
  Tile<Isa, bits, rows, 1> it(product, row);
  const float* x = product.x + sample * product.blocks * columns;
  for (std::ptrdiff_t block = 1; block < product.blocks; ++block, x += columns) {
    add_block<true>(it, x);
    it.to_next_block();
  }
  add_block<false>(it, x);
  it.write(product, row, sample);
}

// All samples from `sample` on of so many rows: tiles as wide as they come, then those that are left.
template <class Isa, int bits, int rows, int samples>
void strip(const CodebookProduct& product, std::ptrdiff_t row, std::ptrdiff_t sample) {
  if constexpr (samples > 1) {
    for (; sample + samples <= product.batch; sample += samples)
      tile_of_some<Isa, bits, rows, samples>(product, row, sample);
    strip<Isa, bits, rows, samples / 2>(product, row, sample);
  } else if (sample < product.batch) {
    tile_of_one<Isa, bits, rows>(product, row, sample);
  }
}

// For few samples: each weight is looked up where it is used.
template <class Isa, int bits>
void looked_up(const CodebookProduct& it, std::ptrdiff_t row, std::ptrdiff_t last) {
  constexpr int rows = Isa::template rows<bits>;
  if (rows > 1 && it.batch == 1)
    for (; row + 2 * rows <= last; row += 2 * rows) tile_of_one<Isa, bits, 2 * rows>(it, row, 0);
  for (; row + rows <= last; row += rows) strip<Isa, bits, rows, Isa::samples>(it, row, 0);
  for (; row < last; ++row) strip<Isa, bits, 1, Isa::samples>(it, row, 0);
}

// The weights of a row in the blocks first .. last - 1.
template <class Isa, int bits>
void write_out(const CodebookProduct& it, std::ptrdiff_t row, std::ptrdiff_t first, std::ptrdiff_t last, float* to) {
  const auto table = Tables<Isa, bits>(it, row).next();
  const std::uint32_t* words = it.codes + (row * it.blocks + first) * block_words;
  for (std::ptrdiff_t block = first; block < last; ++block, words += block_words) {
    __builtin_prefetch(words + rows_ahead * it.blocks * block_words, 0, 2);
    const auto codes = Isa::words(words);
    for (int k = 0; k < 32 / bits; ++k, to += block_words)
      Isa::store(to, Isa::template lookup<bits>(table, codes, bits * k));
  }
}

// A stretch of columns whose weights are written out: adds to y what it contributes.
struct Stretch {
  const float* weights;  // (rows, columns)
  const float* x;        // (samples, columns), in rows of `width`
  float* y;              // (samples, rows), in rows of `outputs`
  std::ptrdiff_t columns, width, outputs;
};

template <class Plain, int rows, int samples>
void plain_tile(const Stretch& it) {
  typename Plain::Vec sums[rows][samples];
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < samples; ++n) sums[r][n] = Plain::zero();
  for (std::ptrdiff_t column = 0; column < it.columns; column += Plain::lanes) {
    typename Plain::Vec weights[rows];
    for (int r = 0; r < rows; ++r) weights[r] = Plain::load(it.weights + r * it.columns + column);
    for (int n = 0; n < samples; ++n) {
      const typename Plain::Vec inputs = Plain::load(it.x + n * it.width + column);
      for (int r = 0; r < rows; ++r) sums[r][n] = Plain::fma(weights[r], inputs, sums[r][n]);
    }
  }
  for (int n = 0; n < samples; ++n)
    for (int r = 0; r < rows; ++r) it.y[n * it.outputs + r] += Plain::sum(sums[r][n]);
}

template <class Plain, int rows, int samples>
void plain_strip(Stretch it, std::ptrdiff_t batch) {
  for (; batch >= samples; batch -= samples, it.x += samples * it.width, it.y += samples * it.outputs)
    plain_tile<Plain, rows, samples>(it);
  if constexpr (samples > 1) plain_strip<Plain, rows, samples / 2>(it, batch);
}

// For many samples: some rows of a stretch are written out into the first cache and serve a block of samples, of which
// the same stretch stays in the second cache while all rows pass by.
template <class Isa, int bits>
void written_out(const CodebookProduct& it, std::ptrdiff_t first, std::ptrdiff_t last) {
  using Plain = typename Isa::Plain;
  constexpr std::ptrdiff_t some = 128, columns_of_block = block_words * (32 / bits), blocks = 1024 / columns_of_block;
  constexpr int rows = Plain::rows;
  alignas(64) float weights[rows * blocks * columns_of_block];
  const std::ptrdiff_t width = it.blocks * columns_of_block;
  for (std::ptrdiff_t sample = 0; sample < it.batch; sample += some) {
    const std::ptrdiff_t batch = std::min(some, it.batch - sample);
    const float* x = it.x + sample * width;
    float* y = it.y + sample * it.rows;
    for (std::ptrdiff_t n = 0; n < batch; ++n)
      for (std::ptrdiff_t row = first; row < last; ++row) y[n * it.rows + row] = it.bias ? it.bias[row] : 0.0f;
    for (std::ptrdiff_t block = 0; block < it.blocks; block += blocks) {
      const std::ptrdiff_t end = std::min(it.blocks, block + blocks), columns = (end - block) * columns_of_block;
      for (std::ptrdiff_t row = first; row < last;) {
        const std::ptrdiff_t here = last - row < rows ? 1 : rows;
        for (std::ptrdiff_t r = 0; r < here; ++r) write_out<Isa, bits>(it, row + r, block, end, weights + r * columns);
        const Stretch stretch{weights, x + block * columns_of_block, y + row, columns, width, it.rows};
        if (here == rows) plain_strip<Plain, rows, Plain::samples>(stretch, batch);
        else plain_strip<Plain, 1, Plain::samples>(stretch, batch);
        row += here;
      }
    }
  }
}

template <class Isa, int bits>
void codebook_rows(const CodebookProduct& it, std::ptrdiff_t first, std::ptrdiff_t last) {
  if (it.batch <= Isa::samples) looked_up<Isa, bits>(it, first, last);
  else written_out<Isa, bits>(it, first, last);
}

template <class Isa, int bits>
void expand_rows(const CodebookProduct& it, float* matrix, std::ptrdiff_t first, std::ptrdiff_t last) {
  const std::ptrdiff_t width = it.blocks * block_words * (32 / bits);
  for (std::ptrdiff_t row = first; row < last; ++row) write_out<Isa, bits>(it, row, 0, it.blocks, matrix + row * width);
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
