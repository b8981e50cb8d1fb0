// The networks in plain C++, for every processor.
#include "networks_lanes.hpp"

namespace commonweight {
NetworksKernel networks_portable() { return networks; }
}  // namespace commonweight
