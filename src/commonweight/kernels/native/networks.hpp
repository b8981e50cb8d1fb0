// Many small networks at once, each with one weight for all its connections: value of a node = its activation of
// weight · Σ of the values that lead to it, for several weights and many samples.
//
// The nodes of all networks stand in a row, network after network, each after those that lead to it. What leads to node
// n: inputs given[given_start[n] .. given_start[n + 1] - 1] (number n_in is the constant 1), and nodes of its network,
// counted from the network's first, computed[computed_start[n] .. ].
#pragma once

#include <cstddef>
#include <cstdint>

namespace commonweight {

struct Networks {
  const std::int64_t* first;  // (networks + 1): first node of each
  const std::int64_t* kind;   // (nodes): activation, in the order of the names in nets/genome.py
  const std::int64_t *given_start, *given;
  const std::int64_t *computed_start, *computed;
  const std::int64_t* outputs;  // (networks, n_out): nodes of the network, counted from its first
  const float* x;               // (n_in, samples), or (networks, n_in, samples)
  const float* weights;         // (n_weights, samples)
  float* y;                     // (networks, n_out, n_weights, samples)
  std::ptrdiff_t n_in, n_out, n_weights, samples;
  std::ptrdiff_t per_network;  // floats from the inputs of one network to those of the next: 0 if they share them
};

constexpr std::ptrdiff_t block = 64;  // so many samples at a time

// The networks first .. last - 1. Null: not compiled in. `space` holds n_weights · block floats for each node of the
// largest, and as many for the weights.
using NetworksKernel = void (*)(const Networks& it, float* space, std::ptrdiff_t first, std::ptrdiff_t last);

NetworksKernel networks_avx512();
NetworksKernel networks_avx2();
NetworksKernel networks_portable();

}  // namespace commonweight
