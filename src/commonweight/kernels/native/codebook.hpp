// y = x Wᵀ + b, where row o of W takes its weights from a codebook:
//
//     W[o, i] = values[o / rows_per_codebook][code[o, i]].
//
// Codes of `bits` bits (1, 2, 3, 4 or 8) are packed into words of 32 bits, `per = 32 / bits` codes a word, lowest bits
// first. 16 words make a block of 16 · per columns: word j of block b holds the codes of the columns
// 16 · (b · per + k) + j for k = 0 .. per - 1. So one shift brings the codes of 16 neighbouring columns to the lowest
// bits of 16 words, where a permutation of a register that holds the codebook looks them all up at once. Rows are
// padded to whole blocks. Words are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

namespace commonweight {

struct CodebookProduct {
  const float* x;            // (batch, blocks · 16 · per), zero beyond the columns
  const std::uint32_t* codes;  // (rows, blocks · 16)
  const float* values;       // (codebooks, held); 256 are held for codes of 8 bits
  const float* bias;         // (rows), or null
  float* y;                  // (batch, rows)
  std::ptrdiff_t held, batch, rows, blocks, rows_per_codebook;
};

// What an instruction set offers for codes of so many bits, for the rows first .. last - 1. Null: not compiled in.
struct CodebookKernels {
  // y = x Wᵀ + b, for all of the batch.
  void (*product)(const CodebookProduct& it, std::ptrdiff_t first, std::ptrdiff_t last);
  // W itself, into rows of blocks · 16 · per floats.
  void (*expand)(const CodebookProduct& it, float* matrix, std::ptrdiff_t first, std::ptrdiff_t last);
};

CodebookKernels codebook_avx512(int bits);
CodebookKernels codebook_avx2(int bits);
CodebookKernels codebook_portable(int bits);

// The gradient of the values, row by row: sums[o, c] = Σ G[o, i] over the columns with code[o, i] = c, in double.
void codebook_sums(const float* grad, const std::uint32_t* codes, double* sums, std::ptrdiff_t columns,
                   std::ptrdiff_t blocks, int bits, std::ptrdiff_t first, std::ptrdiff_t last);

}  // namespace commonweight
