// A small multilayer perceptron, y = W_L f(… f(W_1 x + b_1) …) + b_L, in float32: steps of mini-batch descent, each of
// which gathers its samples, goes forward and backward and moves the weights; and the answers of many such nets to the
// same samples, each net in one thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace commonweight {

// A weight or a bias, with what the update rule remembers for it. Addresses that a rule does not use are null.
struct Parameter {
  float *value, *first, *second;  // first and second moment of Adam, or the momentum
  float* average;                 // the running average over the steps
  float decay, l2;                // decoupled decay; strength of the penalty l2/2 value²
};

enum class Activation : std::int64_t { identity, relu, tanh, sigmoid };

struct Layer {
  std::ptrdiff_t inputs, outputs;
  Activation activation;   // of its outputs
  Parameter weight, bias;  // (outputs, inputs) and (outputs); a layer without bias has null for its value
};

// Adam (Kingma & Ba 2015) with bias correction, or momentum: m <- beta1 m + g, by m or by g + beta1 m (Nesterov).
struct Rule {
  bool adam, nesterov;
  double beta1, beta2;
  float epsilon;
  std::int64_t done;  // steps before these
};

struct PerceptronSteps {
  const Layer* layers;  // the last one without activation
  std::ptrdiff_t n_layers;
  Rule rule;
  const float* x;               // (samples, inputs)
  const std::int64_t* classes;  // (samples): cross entropy; null: squared error
  const float* values;          // (samples, outputs): targets of the squared error
  const float* scale;           // (outputs): the unit in which errors of values are told
  float smoothing;              // of the classes
  const std::int64_t* chosen;   // (steps, batch): the samples of each step
  const double *rates, *shares;  // (steps): learning rate, and how far the average moves to the weights
  std::ptrdiff_t steps, batch;
  double *losses, *errors;  // (steps), out: mean loss; right answers, or the sum of squared errors
};

// Takes the steps, and stops after one whose loss is no finite number. Returns how many were taken.
using PerceptronKernel = std::ptrdiff_t (*)(const PerceptronSteps& it);

// A population of such nets, and what each of them answers to the same samples.
struct PerceptronPopulation {
  const Layer* layers;  // of the first member; the weights of the next one lie `weights` numbers further
  std::ptrdiff_t n_layers, weights;
  const float* x;  // (samples, inputs)
  std::ptrdiff_t samples;
  float* y;  // (members, samples, outputs), out
};

// The answers of members first to last - 1.
using PerceptronAnswers = void (*)(const PerceptronPopulation& it, std::ptrdiff_t first, std::ptrdiff_t last);

// Nets on a plane of weight space, θ = centre + a · along + b · up. The sums of the first layer are such a plane, too:
// they are given, so that no net has to multiply there.
struct PerceptronPlane {
  const float* sums;  // (3, units, samples), of the first layer: of the centre, along and up
  std::ptrdiff_t units;
  Activation activation;  // of the first layer
  const Layer* layers;    // those after the first, of the centre
  std::ptrdiff_t n_layers;
  const float* weights;  // (3, n_weights), of these layers: the centre, along and up
  std::ptrdiff_t n_weights;
  const float* points;     // (points, 2): a and b
  std::ptrdiff_t samples;  // in whole lanes
  float* y;  // (points, outputs, samples), out
};

// The answers of the nets at points first to last - 1.
using PerceptronsOnPlane = void (*)(const PerceptronPlane& it, std::ptrdiff_t first, std::ptrdiff_t last);

struct PerceptronKernels {
  PerceptronKernel steps;
  PerceptronAnswers answers;
  PerceptronsOnPlane on_plane;
};

PerceptronKernels perceptron_avx512();
PerceptronKernels perceptron_avx2();
PerceptronKernels perceptron_portable();

}  // namespace commonweight
