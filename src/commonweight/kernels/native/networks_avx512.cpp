// The networks with AVX-512.
#include "networks.hpp"

#if defined(__AVX512F__)
#include "networks_lanes.hpp"

namespace commonweight {
NetworksKernel networks_avx512() { return networks; }
}  // namespace commonweight
#else
namespace commonweight {
NetworksKernel networks_avx512() { return nullptr; }
}  // namespace commonweight
#endif
