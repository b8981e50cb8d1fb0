// Perceptrons with AVX2.
#include "perceptron.hpp"

#if defined(__AVX2__)
#include "perceptron_lanes.hpp"

namespace commonweight {
PerceptronKernels perceptron_avx2() { return {perceptron_steps, perceptron_answers, perceptrons_on_plane}; }
}  // namespace commonweight
#else
namespace commonweight {
PerceptronKernels perceptron_avx2() { return {nullptr, nullptr, nullptr}; }
}  // namespace commonweight
#endif
