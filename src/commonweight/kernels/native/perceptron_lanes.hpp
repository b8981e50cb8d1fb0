// The steps of a perceptron: products in tiles, the rest in plain loops that compilers turn into vector instructions.
// Included by the files that are compiled for an instruction set each.
//
// Activations and gradients stand as (units, samples), so that samples fill the lanes; samples are padded with zeros to
// whole lanes. For the gradient of a weight they stand as (samples, units), too.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "exponential.hpp"
#include "perceptron.hpp"
#include "small_product.hpp"

namespace commonweight {
namespace {

using std::ptrdiff_t;

// What goes into a layer, and the gradient of the loss by what comes out of its sums.
struct Space {
  std::vector<float> units, samples, gradient;  // (inputs, width), (batch, inputs in whole lanes), (outputs, width)
};

// to[i, j] <- from[j, i] for from (rows, columns), in squares that stay in the cache.
inline void transpose(const float* from, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from_step, float* to,
                      ptrdiff_t to_step) {
  constexpr ptrdiff_t side = 16;
  for (ptrdiff_t row = 0; row < rows; row += side)
    for (ptrdiff_t column = 0; column < columns; column += side)
      for (ptrdiff_t i = column; i < std::min(columns, column + side); ++i)
        for (ptrdiff_t j = row; j < std::min(rows, row + side); ++j) to[i * to_step + j] = from[j * from_step + i];
}

template <class Function>
void each(float* __restrict sums, ptrdiff_t n, Function function) {
  for (ptrdiff_t j = 0; j < n; ++j) sums[j] = function(sums[j]);
}

inline void activate(Activation kind, float* sums, ptrdiff_t n) {
  switch (kind) {
    case Activation::relu: return each(sums, n, [](float x) { return x < 0.0f ? 0.0f : x; });
    case Activation::tanh: return each(sums, n, [](float x) { return tangent(x); });
    case Activation::sigmoid: return each(sums, n, [](float x) { return 1.0f / (1.0f + exponential(-x)); });
    case Activation::identity: return;
  }
}

template <class Slope>
void go_back(const float* __restrict values, float* __restrict gradient, ptrdiff_t n, Slope slope) {
  for (ptrdiff_t j = 0; j < n; ++j) gradient[j] *= slope(values[j]);
}

// The gradient by an activation becomes that by its sum: f' is told by the value of f.
inline void go_back(Activation kind, const float* values, float* gradient, ptrdiff_t n) {
  switch (kind) {
    case Activation::relu: return go_back(values, gradient, n, [](float y) { return y > 0.0f ? 1.0f : 0.0f; });
    case Activation::tanh: return go_back(values, gradient, n, [](float y) { return 1.0f - y * y; });
    case Activation::sigmoid: return go_back(values, gradient, n, [](float y) { return y * (1.0f - y); });
    case Activation::identity: return;
  }
}

// f(W x + b), the samples of x in `width` columns. The weights lie `offset` numbers after those that the layer names.
inline void forward(const Layer& layer, ptrdiff_t offset, const float* units, ptrdiff_t width, float* sums) {
  const float* weight = layer.weight.value + offset;
  multiply({weight, layer.inputs, 1, units, width, sums, width, layer.inputs}, layer.outputs, width);
  for (ptrdiff_t o = 0; o < layer.outputs; ++o) {
    float* row = sums + o * width;
    if (layer.bias.value) each(row, width, [b = layer.bias.value[offset + o]](float x) { return x + b; });
    activate(layer.activation, row, width);
  }
}

class Descent {
 public:
  explicit Descent(const PerceptronSteps& steps)
      : it(steps), width(in_whole_lanes(steps.batch)), spaces(static_cast<std::size_t>(steps.n_layers)) {
    ptrdiff_t largest = 0;
    for (ptrdiff_t l = 0; l < it.n_layers; ++l) {
      const Layer& layer = it.layers[l];
      space(l).units.resize(static_cast<std::size_t>(layer.inputs * width));
      space(l).samples.resize(static_cast<std::size_t>(it.batch * in_whole_lanes(layer.inputs)));
      space(l).gradient.resize(static_cast<std::size_t>(layer.outputs * width));
      largest = std::max(largest, layer.outputs * in_whole_lanes(layer.inputs));
    }
    of_weight.resize(static_cast<std::size_t>(largest));
    rows.resize(static_cast<std::size_t>(4 * width));
  }

  ptrdiff_t run() {
    for (ptrdiff_t step = 0; step < it.steps; ++step) {
      const std::int64_t* chosen = it.chosen + step * it.batch;
      gather(chosen);
      for (ptrdiff_t l = 0; l < it.n_layers; ++l) step_forward(l);
      it.classes ? cross_entropy(chosen, step) : squared_error(chosen, step);
      prepare_rule(step);
      for (ptrdiff_t l = it.n_layers - 1; l >= 0; --l) backward(l, static_cast<float>(it.shares[step]));
      if (!std::isfinite(it.losses[step])) return step + 1;
    }
    return it.steps;
  }

 private:
  Space& space(ptrdiff_t layer) { return spaces[static_cast<std::size_t>(layer)]; }
  float* outputs() { return space(it.n_layers - 1).gradient.data(); }

  void gather(const std::int64_t* chosen) {
    const ptrdiff_t n = it.layers[0].inputs, step = in_whole_lanes(n);
    float* samples = space(0).samples.data();
    for (ptrdiff_t j = 0; j < it.batch; ++j) std::copy_n(it.x + chosen[j] * n, n, samples + j * step);
    transpose(samples, it.batch, n, step, space(0).units.data(), width);
  }

  // The sums of the last layer stand where its gradient will.
  void step_forward(ptrdiff_t l) {
    const Layer& layer = it.layers[l];
    const bool last = l == it.n_layers - 1;
    float* sums = last ? outputs() : space(l + 1).units.data();
    forward(layer, 0, space(l).units.data(), width, sums);
    const ptrdiff_t step = in_whole_lanes(layer.outputs);
    if (!last) transpose(sums, layer.outputs, it.batch, width, space(l + 1).samples.data(), step);
  }

  // Outputs z become the gradient (softmax(z) - target) / batch, with (1 - ε) of the target on the class and ε on all.
  // The loss of a sample is log Σ e^(z - h) - (1 - ε) (z_class - h) - ε mean (z - h), h the highest: no number if a z
  // is none.
  void cross_entropy(const std::int64_t* chosen, ptrdiff_t step) {
    const ptrdiff_t n = it.layers[it.n_layers - 1].outputs;
    float *z = outputs(), *highest = rows.data();
    float *winner = highest + width, *total = winner + width, *below = total + width;
    const float off = it.smoothing / static_cast<float>(n), on = 1.0f - it.smoothing;
    const float per = 1.0f / static_cast<float>(it.batch);
    std::copy_n(z, width, highest);
    std::fill_n(winner, 3 * width, 0.0f);
    for (ptrdiff_t o = 1; o < n; ++o) compare(z + o * width, static_cast<float>(o), highest, winner);
    double loss = 0.0, right = 0.0;
    for (ptrdiff_t j = 0; j < it.batch; ++j) {
      const std::int64_t actual = it.classes[chosen[j]];
      loss -= on * (z[actual * width + j] - highest[j]);
      right += winner[j] == static_cast<float>(actual);
    }
    for (ptrdiff_t o = 0; o < n; ++o) lower(z + o * width, highest, total, below);
    for (ptrdiff_t j = 0; j < it.batch; ++j) {
      loss += std::log(total[j]) - off * below[j];
      total[j] = per / total[j];
    }
    for (ptrdiff_t o = 0; o < n; ++o) {
      float* of_class = z + o * width;
      for (ptrdiff_t j = 0; j < it.batch; ++j) of_class[j] = of_class[j] * total[j] - off * per;
      std::fill(of_class + it.batch, of_class + width, 0.0f);
    }
    for (ptrdiff_t j = 0; j < it.batch; ++j) z[it.classes[chosen[j]] * width + j] -= on * per;
    it.losses[step] = loss / static_cast<double>(it.batch);
    it.errors[step] = right;
  }

  void compare(const float* __restrict z, float number, float* __restrict highest, float* __restrict winner) const {
    for (ptrdiff_t j = 0; j < width; ++j) {
      winner[j] = z[j] > highest[j] ? number : winner[j];
      highest[j] = z[j] > highest[j] ? z[j] : highest[j];
    }
  }

  // z <- e^(z - highest), added to the total, as z - highest is to `below`.
  void lower(float* __restrict z, const float* __restrict highest, float* __restrict total,
             float* __restrict below) const {
    for (ptrdiff_t j = 0; j < width; ++j) {
      const float difference = z[j] - highest[j];
      z[j] = exponential(difference);
      total[j] += z[j];
      below[j] += difference;
    }
  }

  // Outputs become the gradient 2 (output - target) / (batch · outputs).
  void squared_error(const std::int64_t* chosen, ptrdiff_t step) {
    const ptrdiff_t n = it.layers[it.n_layers - 1].outputs;
    const float per = 2.0f / static_cast<float>(it.batch * n);
    double loss = 0.0, errors = 0.0;
    for (ptrdiff_t o = 0; o < n; ++o) {
      float* z = outputs() + o * width;
      for (ptrdiff_t j = 0; j < it.batch; ++j) {
        const float missed = z[j] - it.values[chosen[j] * n + o];
        const double square = static_cast<double>(missed) * missed;
        loss += square;
        errors += square * it.scale[o] * it.scale[o];
        z[j] = per * missed;
      }
      std::fill(z + it.batch, z + width, 0.0f);
    }
    it.losses[step] = loss / static_cast<double>(it.batch * n);
    it.errors[step] = errors;
  }

  // The gradient goes to the layer before while the weights are still those of the way forward.
  void backward(ptrdiff_t l, float share) {
    const Layer& layer = it.layers[l];
    const float* gradient = space(l).gradient.data();
    if (l > 0) {
      float* before = space(l - 1).gradient.data();
      const float* weight = layer.weight.value;
      multiply({weight, 1, layer.inputs, gradient, width, before, width, layer.outputs}, layer.inputs, width);
      go_back(it.layers[l - 1].activation, space(l).units.data(), before, layer.inputs * width);
    }
    const ptrdiff_t step = in_whole_lanes(layer.inputs);
    const float* samples = space(l).samples.data();
    multiply({gradient, width, 1, samples, step, of_weight.data(), step, it.batch}, layer.outputs, step);
    for (ptrdiff_t o = 1; step != layer.inputs && o < layer.outputs; ++o)
      std::copy_n(of_weight.data() + o * step, layer.inputs, of_weight.data() + o * layer.inputs);
    move(layer.weight, of_weight.data(), layer.outputs * layer.inputs, share);
    if (!layer.bias.value) return;
    for (ptrdiff_t o = 0; o < layer.outputs; ++o) of_weight[static_cast<std::size_t>(o)] = sum(gradient + o * width);
    move(layer.bias, of_weight.data(), layer.outputs, share);
  }

  float sum(const float* row) const {
    Lanes sums = *reinterpret_cast<const Lanes*>(row);
    for (ptrdiff_t j = lanes; j < width; j += lanes) sums += *reinterpret_cast<const Lanes*>(row + j);
    float parts[lanes], total = 0.0f;
    std::memcpy(parts, &sums, sizeof parts);
    for (float part : parts) total += part;
    return total;
  }

  void prepare_rule(ptrdiff_t step) {
    const double t = static_cast<double>(it.rule.done + step + 1);
    rate = static_cast<float>(it.rates[step]);
    pace = static_cast<float>(it.rates[step] / (1.0 - std::pow(it.rule.beta1, t)));
    correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(it.rule.beta2, t)));
  }

  void move(const Parameter& of, float* __restrict g, ptrdiff_t n, float share) {
    float *__restrict w = of.value, *__restrict average = of.average;
    if (of.l2 != 0.0f)
      for (ptrdiff_t j = 0; j < n; ++j) g[j] += of.l2 * w[j];
    if (of.decay != 0.0f) each(w, n, [keep = 1.0f - rate * of.decay](float x) { return x * keep; });
    it.rule.adam ? by_adam(w, g, of.first, of.second, n) : by_momentum(w, g, of.first, n);
    for (ptrdiff_t j = 0; j < n; ++j) average[j] = w[j] - (1.0f - share) * (w[j] - average[j]);
  }

  void by_adam(float* __restrict w, const float* __restrict g, float* __restrict m, float* __restrict v,
               ptrdiff_t n) const {
    const float beta2 = static_cast<float>(it.rule.beta2), epsilon = it.rule.epsilon;
    const float of_first = static_cast<float>(1.0 - it.rule.beta1), of_second = static_cast<float>(1.0 - it.rule.beta2);
    for (ptrdiff_t j = 0; j < n; ++j) {
      m[j] += of_first * (g[j] - m[j]);
      v[j] = beta2 * v[j] + of_second * g[j] * g[j];
      w[j] -= pace * m[j] / (std::sqrt(v[j]) * correction + epsilon);
    }
  }

  // Without momentum there is nothing to remember.
  void by_momentum(float* __restrict w, const float* __restrict g, float* __restrict m, ptrdiff_t n) const {
    const float beta = static_cast<float>(it.rule.beta1), ahead = it.rule.nesterov ? 1.0f : 0.0f;
    if (!m)
      for (ptrdiff_t j = 0; j < n; ++j) w[j] -= rate * g[j];
    else
      for (ptrdiff_t j = 0; j < n; ++j) {
        m[j] = beta * m[j] + g[j];
        w[j] -= rate * (m[j] + ahead * (g[j] + (beta - 1.0f) * m[j]));
      }
  }

  const PerceptronSteps& it;
  const ptrdiff_t width;  // samples of a batch, in whole lanes
  std::vector<Space> spaces;
  std::vector<float> of_weight, rows;
  float rate = 0.0f, pace = 0.0f, correction = 0.0f;
};

ptrdiff_t perceptron_steps(const PerceptronSteps& it) { return Descent(it).run(); }

constexpr ptrdiff_t block = 256;  // samples that go through a layer together

// Room for the answers of the widest layer to a block of samples, where lines of the cache begin.
class Room {
 public:
  Room(const Layer* layers, ptrdiff_t n_layers, ptrdiff_t least, ptrdiff_t samples) {
    ptrdiff_t widest = least;
    for (ptrdiff_t l = 0; l < n_layers; ++l) widest = std::max(widest, layers[l].outputs);
    lines.resize(static_cast<std::size_t>(widest * in_whole_lanes(std::min(block, samples)) / 16 + 1));
  }
  float* data() { return lines.data()->numbers; }

 private:
  struct alignas(64) Line {
    float numbers[16];
  };
  std::vector<Line> lines;
};

// A block of samples goes through one net after the other.
void perceptron_answers(const PerceptronPopulation& it, ptrdiff_t from, ptrdiff_t to) {
  const ptrdiff_t n_in = it.layers[0].inputs, n_out = it.layers[it.n_layers - 1].outputs;
  Room given(it.layers, 0, n_in, it.samples);
  Room one(it.layers, it.n_layers, 1, it.samples), other(one);
  for (ptrdiff_t first = 0; first < it.samples; first += block) {
    const ptrdiff_t n = std::min(block, it.samples - first), width = in_whole_lanes(n);
    transpose(it.x + first * n_in, n, n_in, n_in, given.data(), width);
    for (ptrdiff_t member = from; member < to; ++member) {
      const float* units = given.data();
      for (ptrdiff_t l = 0; l < it.n_layers; ++l) {
        float* sums = l % 2 ? other.data() : one.data();
        forward(it.layers[l], member * it.weights, units, width, sums);
        units = sums;
      }
      transpose(units, n_out, n, width, it.y + (member * it.samples + first) * n_out, n_out);
    }
  }
}

// to <- centre + a · along + b · up, for rows of three matrices that follow each other after `step` numbers.
inline void combine(const float* __restrict centre, ptrdiff_t step, const float* point, ptrdiff_t n,
                    float* __restrict to) {
  const float *__restrict along = centre + step, *__restrict up = along + step;
  const float a = point[0], b = point[1];
  for (ptrdiff_t j = 0; j < n; ++j) to[j] = centre[j] + a * along[j] + b * up[j];
}

// A block of samples goes through one net after the other, from its weights and the sums of its first layer on.
void perceptrons_on_plane(const PerceptronPlane& it, ptrdiff_t from, ptrdiff_t to) {
  const ptrdiff_t n_out = it.n_layers ? it.layers[it.n_layers - 1].outputs : it.units;
  std::vector<float> weights(static_cast<std::size_t>(it.n_weights));
  std::vector<Layer> layers(it.layers, it.layers + it.n_layers);  // with these weights
  for (Layer& layer : layers) {
    layer.weight.value = weights.data() + (layer.weight.value - it.weights);
    if (layer.bias.value) layer.bias.value = weights.data() + (layer.bias.value - it.weights);
  }
  Room one(it.layers, it.n_layers, it.units, it.samples), other(one);
  for (ptrdiff_t first = 0; first < it.samples; first += block) {
    const ptrdiff_t width = std::min(block, it.samples - first);
    for (ptrdiff_t net = from; net < to; ++net) {
      const float* point = it.points + 2 * net;
      combine(it.weights, it.n_weights, point, it.n_weights, weights.data());
      float *units = one.data(), *sums = other.data();
      for (ptrdiff_t u = 0; u < it.units; ++u) {
        combine(it.sums + u * it.samples + first, it.units * it.samples, point, width, units + u * width);
        activate(it.activation, units + u * width, width);
      }
      for (const Layer& layer : layers) {
        forward(layer, 0, units, width, sums);
        std::swap(units, sums);
      }
      for (ptrdiff_t o = 0; o < n_out; ++o)
        std::copy_n(units + o * width, width, it.y + (net * n_out + o) * it.samples + first);
    }
  }
}

}  // namespace
}  // namespace commonweight
