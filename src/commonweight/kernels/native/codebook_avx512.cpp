// The codebook product with AVX-512.
#include "codebook_tile.hpp"

#if defined(__AVX512F__)
#include "codebook_avx512.hpp"

namespace commonweight {

CodebookKernels codebook_avx512(int bits) { return codebook_for<Avx512>(bits); }

}  // namespace commonweight
#else
namespace commonweight {
CodebookKernels codebook_avx512(int) { return {}; }
}  // namespace commonweight
#endif
