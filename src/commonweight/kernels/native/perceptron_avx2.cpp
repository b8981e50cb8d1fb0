// The steps of a perceptron with AVX2.
#include "perceptron.hpp"

#if defined(__AVX2__)
#include "perceptron_lanes.hpp"

namespace commonweight {
PerceptronKernel perceptron_avx2() { return perceptron_steps; }
}  // namespace commonweight
#else
namespace commonweight {
PerceptronKernel perceptron_avx2() { return nullptr; }
}  // namespace commonweight
#endif
