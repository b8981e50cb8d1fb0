// Perceptrons with AVX-512.
#include "perceptron.hpp"

#if defined(__AVX512F__)
#include "perceptron_lanes.hpp"

namespace commonweight {
PerceptronKernels perceptron_avx512() { return {perceptron_steps, perceptron_answers, perceptrons_on_plane}; }
}  // namespace commonweight
#else
namespace commonweight {
PerceptronKernels perceptron_avx512() { return {nullptr, nullptr, nullptr}; }
}  // namespace commonweight
#endif
