// Perceptrons in plain C++, for every processor.
#include "perceptron_lanes.hpp"

namespace commonweight {
PerceptronKernels perceptron_portable() { return {perceptron_steps, perceptron_answers, perceptrons_on_plane}; }
}  // namespace commonweight
