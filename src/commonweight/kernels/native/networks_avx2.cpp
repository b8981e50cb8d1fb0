// The networks with AVX2.
#include "networks.hpp"

#if defined(__AVX2__)
#include "networks_lanes.hpp"

namespace commonweight {
NetworksKernel networks_avx2() { return networks; }
}  // namespace commonweight
#else
namespace commonweight {
NetworksKernel networks_avx2() { return nullptr; }
}  // namespace commonweight
#endif
