// The steps of a perceptron with AVX-512.
#include "perceptron.hpp"

#if defined(__AVX512F__)
#include "perceptron_lanes.hpp"

namespace commonweight {
PerceptronKernel perceptron_avx512() { return perceptron_steps; }
}  // namespace commonweight
#else
namespace commonweight {
PerceptronKernel perceptron_avx512() { return nullptr; }
}  // namespace commonweight
#endif
