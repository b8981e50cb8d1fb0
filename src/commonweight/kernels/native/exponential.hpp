// e^x and tanh x to the precision of float, as plain arithmetic that compilers turn into vector instructions: included
// by files that are compiled for an instruction set each. What is no number stays none.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace commonweight {
namespace {

// x to the nearest whole number, for |x| < 2^22: adding 1.5 · 2^23 leaves no bits for the fraction.
inline float nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }

// e^x = 2^n e^r with |r| <= ln 2 / 2, where a polynomial is exact to float; x is cut off at -87 and 88.
inline float exponential(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // n stands in its lowest bits
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

inline float tangent(float x) {
  const float e = exponential(-2.0f * std::fabs(x));
  return std::copysign((1.0f - e) / (1.0f + e), x);
}

}  // namespace
}  // namespace commonweight
