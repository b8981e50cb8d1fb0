// The steps of a perceptron in plain C++, for every processor.
#include "perceptron_lanes.hpp"

namespace commonweight {
PerceptronKernel perceptron_portable() { return perceptron_steps; }
}  // namespace commonweight
