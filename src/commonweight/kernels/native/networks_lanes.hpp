// The networks, in plain loops that compilers turn into vector instructions: included by the files that are compiled
// for an instruction set each.
#pragma once

#include <algorithm>
#include <cmath>

#include "exponential.hpp"
#include "networks.hpp"

namespace commonweight {
namespace {

// x less the nearest even number: -1 to 1. From 2^23 on, floats are whole, and count as even.
inline float turn(float x) {
  const float half = 0.5f * x;
  const float r = x - 2.0f * nearest(half);
  return std::fabs(half) < 4194304.0f ? r : 0.0f;
}

// sin πr for |r| <= 1/2, by a polynomial that is exact to 3e-11.
inline float sine_of_half_turn(float r) {
  const float z = r * r;
  float p = -0.007028386453f;
  p = p * z + 0.08205040184f;
  p = p * z - 0.5992521978f;
  p = p * z + 2.550163319f;
  p = p * z - 5.167712765f;
  p = p * z + 3.141592654f;
  return p * r;
}

inline float sine(float x) {
  const float r = turn(x), beyond = std::copysign(1.0f, r) - r;
  return sine_of_half_turn(std::fabs(r) > 0.5f ? beyond : r);
}

inline float cosine(float x) { return sine_of_half_turn(0.5f - std::fabs(turn(x))); }

template <class Activation>
void activate(const float* __restrict weights, float* __restrict sums, std::ptrdiff_t n, Activation activation) {
  for (std::ptrdiff_t j = 0; j < n; ++j) sums[j] = activation(weights[j] * sums[j]);
}

void activate(std::int64_t kind, const float* weights, float* sums, std::ptrdiff_t n) {
  switch (kind) {
    case 1: return activate(weights, sums, n, [](float x) { return x > 0.0f ? 1.0f : 0.0f; });
    case 2: return activate(weights, sums, n, [](float x) { return sine(x); });
    case 3: return activate(weights, sums, n, [](float x) { return exponential(-0.5f * x * x); });
    case 4: return activate(weights, sums, n, [](float x) { return tangent(x); });
    case 5: return activate(weights, sums, n, [](float x) { return 1.0f / (1.0f + exponential(-x)); });
    case 6: return activate(weights, sums, n, [](float x) { return -x; });
    case 7: return activate(weights, sums, n, [](float x) { return std::fabs(x); });
    case 8: return activate(weights, sums, n, [](float x) { return x > 0.0f ? x : 0.0f; });
    case 9: return activate(weights, sums, n, [](float x) { return cosine(x); });
    default: return activate(weights, sums, n, [](float x) { return x; });
  }
}

inline void add(float* __restrict sums, const float* __restrict values, std::ptrdiff_t n) {
  for (std::ptrdiff_t j = 0; j < n; ++j) sums[j] += values[j];
}

// The values of a node with every weight, for a block of samples: what the inputs add is summed once for all weights.
void compute(const Networks& it, const float* x, const float* weights, const float* values, float* y,
             std::ptrdiff_t node, std::ptrdiff_t width) {
  std::fill(y, y + width, 0.0f);
  for (std::int64_t at = it.given_start[node]; at < it.given_start[node + 1]; ++at) {
    if (it.given[at] < it.n_in)
      add(y, x + it.given[at] * it.samples, width);
    else
      for (std::ptrdiff_t j = 0; j < width; ++j) y[j] += 1.0f;
  }
  for (std::ptrdiff_t k = 1; k < it.n_weights; ++k) std::copy(y, y + width, y + k * width);
  const std::ptrdiff_t n = it.n_weights * width;
  for (std::int64_t at = it.computed_start[node]; at < it.computed_start[node + 1]; ++at)
    add(y, values + it.computed[at] * n, n);
  activate(it.kind[node], weights, y, n);
}

void networks(const Networks& it, float* space, std::ptrdiff_t first_network, std::ptrdiff_t last_network) {
  float *weights = space, *values = space + it.n_weights * block;
  for (std::ptrdiff_t at = 0; at < it.samples; at += block) {
    const std::ptrdiff_t width = std::min(block, it.samples - at), n = it.n_weights * width;
    for (std::ptrdiff_t k = 0; k < it.n_weights; ++k)
      std::copy(it.weights + k * it.samples + at, it.weights + k * it.samples + at + width, weights + k * width);
    for (std::ptrdiff_t network = first_network; network < last_network; ++network) {
      const float* x = it.x + network * it.per_network + at;
      const std::int64_t first = it.first[network];
      for (std::int64_t node = first; node < it.first[network + 1]; ++node)
        compute(it, x, weights, values, values + (node - first) * n, node, width);
      for (std::ptrdiff_t o = 0; o < it.n_out; ++o) {
        const float* value = values + it.outputs[network * it.n_out + o] * n;
        float* y = it.y + (network * it.n_out + o) * it.n_weights * it.samples + at;
        for (std::ptrdiff_t k = 0; k < it.n_weights; ++k)
          std::copy(value + k * width, value + (k + 1) * width, y + k * it.samples);
      }
    }
  }
}

}  // namespace
}  // namespace commonweight
