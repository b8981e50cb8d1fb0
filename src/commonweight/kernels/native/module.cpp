// The kernels for Python: addresses and sizes in, at most a number out. `commonweight.kernels` checks shapes and types before.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "adjoint.hpp"
#include "codebook.hpp"
#include "kmeans.hpp"
#include "matrix_unit.hpp"
#include "networks.hpp"
#include "perceptron.hpp"
#include "threads.hpp"

namespace nb = nanobind;
using commonweight::CodebookKernels;
using commonweight::CodebookProduct;

namespace {

// The best instruction set of this processor for which the kernels were compiled.
std::string instructions() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && commonweight::codebook_avx512(4).product) {
    return __builtin_cpu_supports("avx512bw") && commonweight::has_matrix_unit() ? "amx" : "avx512";
  }
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_avx2 && commonweight::codebook_avx2(4).product) return "avx2";
#endif
  return "portable";
}

// What an environment variable says, if anything: os.environ raises and catches two exceptions where there is none.
nb::object said(const char* variable) {
  const char* value = std::getenv(variable);
  return nb::steal(PyUnicode_DecodeFSDefault(value ? value : ""));
}

template <class T>
T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

bool with_avx512(const std::string& instructions) { return instructions == "avx512" || instructions == "amx"; }

CodebookKernels kernels(const std::string& instructions, int bits) {
  if (with_avx512(instructions)) return commonweight::codebook_avx512(bits);
  if (instructions == "avx2") return commonweight::codebook_avx2(bits);
  return commonweight::codebook_portable(bits);
}

// Pieces of rows, some for each thread, in whole tiles: those of each instruction set divide 24.
std::ptrdiff_t grain(std::ptrdiff_t rows, int threads) { return (rows / (8 * threads) / 24 + 1) * 24; }

std::ptrdiff_t ratio_up(std::ptrdiff_t a, std::ptrdiff_t b) { return (a + b - 1) / b; }

bool all_finite(const float* numbers, std::ptrdiff_t n) {
  std::uint32_t largest = 0;  // without the sign: numbers in the order of their magnitude, then infinity, then NaN
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, numbers + i, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffffu);
  }
  return largest < 0x7f800000u;
}

struct alignas(64) Line {
  float numbers[16];
};

// Rows of so many columns, each with zeros up to the width, a multiple of 16.
std::vector<Line> padded(const float* x, std::ptrdiff_t rows, std::ptrdiff_t columns, std::ptrdiff_t width) {
  std::vector<Line> lines(static_cast<std::size_t>(rows * width / 16));
  auto* to = reinterpret_cast<float*>(lines.data());
  for (std::ptrdiff_t row = 0; row < rows; ++row) std::copy_n(x + row * columns, columns, to + row * width);
  return lines;
}

// Whether the product was computed on a matrix unit: in integers, which some samples of a large matrix gain by, or in
// parts of 16 bits, which more of them gain by, sooner if one part is enough.
bool on_matrix_unit(const CodebookProduct& it, int bits, int parts, int threads) {
  constexpr std::ptrdiff_t few = 3, several = 16, many = 48, large = 1 << 21;
  const bool in_integers = it.batch >= few && it.batch < (parts == 1 ? several : many) &&
                           it.rows * it.blocks * 16 * (32 / bits) >= large;
  if (in_integers && commonweight::codebook_product_in_integers(it, bits, threads)) return true;
  return it.batch >= several && commonweight::codebook_product_on_matrix_unit(it, bits, parts, threads);
}

// False, with nothing computed, where padding would multiply zeros by values that are not finite.
bool codebook_product(const std::string& instructions, int bits, std::uintptr_t x, std::uintptr_t codes,
                      std::uintptr_t values, std::ptrdiff_t codebooks, std::ptrdiff_t held, std::uintptr_t bias,
                      std::uintptr_t y, std::ptrdiff_t batch, std::ptrdiff_t rows, std::ptrdiff_t columns, int parts,
                      int threads) {
  const std::ptrdiff_t block = 16 * (32 / bits), blocks = ratio_up(columns, block), width = blocks * block;
  const auto product = kernels(instructions, bits).product;
  nb::gil_scoped_release release;
  CodebookProduct it{at<float>(x),    at<std::uint32_t>(codes), at<float>(values),
                     at<float>(bias), at<float>(y),             held,
                     batch,           rows,                     blocks,
                     ratio_up(rows, codebooks)};
  std::vector<Line> inputs;
  if (width != columns) {
    if (!all_finite(it.values, codebooks * held)) return false;
    inputs = padded(it.x, batch, columns, width);
    it.x = reinterpret_cast<const float*>(inputs.data());
  }
  if (instructions == "amx" && on_matrix_unit(it, bits, parts, threads)) return true;
  commonweight::parallel(rows, grain(rows, threads), threads,
                         [&](std::ptrdiff_t first, std::ptrdiff_t last) { product(it, first, last); });
  return true;
}

void codebook_expand(const std::string& instructions, int bits, std::uintptr_t codes, std::uintptr_t values,
                     std::ptrdiff_t codebooks, std::ptrdiff_t held, std::uintptr_t matrix, std::ptrdiff_t rows,
                     std::ptrdiff_t blocks, int threads) {
  const CodebookProduct it{nullptr, at<std::uint32_t>(codes), at<float>(values), nullptr, nullptr, held, 0, rows,
                           blocks,  ratio_up(rows, codebooks)};
  const auto expand = kernels(instructions, bits).expand;
  nb::gil_scoped_release release;
  commonweight::parallel(rows, grain(rows, threads), threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    expand(it, at<float>(matrix), first, last);
  });
}

void codebook_sums(int bits, std::uintptr_t grad, std::uintptr_t codes, std::uintptr_t sums, std::ptrdiff_t rows,
                   std::ptrdiff_t columns, std::ptrdiff_t blocks, int threads) {
  nb::gil_scoped_release release;
  commonweight::parallel(rows, grain(rows, threads), threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    commonweight::codebook_sums(at<float>(grad), at<std::uint32_t>(codes), at<double>(sums), columns, blocks, bits,
                                first, last);
  });
}

template <class Float>
void spread(std::uintptr_t numbers, std::uintptr_t runs, std::int64_t cells, std::int64_t weights, std::uintptr_t theta,
            std::uintptr_t out, int threads) {
  nb::gil_scoped_release release;
  const commonweight::Index index{at<std::int32_t>(numbers), at<std::int32_t>(runs), cells, nullptr, nullptr, weights};
  commonweight::spread<Float>(index, at<Float>(theta), at<Float>(out), threads);
}

template <class Float>
void adjoint(std::uintptr_t numbers, std::uintptr_t runs, std::int64_t cells, std::uintptr_t positions,
             std::uintptr_t starts, std::int64_t weights, std::uintptr_t grad, std::uintptr_t sums, int threads) {
  nb::gil_scoped_release release;
  const commonweight::Index index{at<std::int32_t>(numbers),   at<std::int32_t>(runs),   cells,
                                  at<std::int32_t>(positions), at<std::int64_t>(starts), weights};
  commonweight::adjoint<Float>(index, at<Float>(grad), at<Float>(sums), threads);
}

// On a matrix unit; each says whether what it computed is finite, and right.
bool spread_product(std::uintptr_t numbers, std::ptrdiff_t rows, std::ptrdiff_t columns, std::int64_t weights,
                    std::ptrdiff_t samples, bool transposed, std::uintptr_t theta, std::uintptr_t x, std::uintptr_t y,
                    int threads) {
  nb::gil_scoped_release release;
  const commonweight::Index index{at<std::int32_t>(numbers), nullptr, rows * columns, nullptr, nullptr, weights};
  return commonweight::spread_product_on_matrix_unit({index, rows, columns, samples}, transposed, at<float>(theta),
                                                     at<float>(x), at<float>(y), threads);
}

bool spread_adjoint(std::uintptr_t numbers, std::uintptr_t runs, std::ptrdiff_t rows, std::ptrdiff_t columns,
                    std::int64_t weights, std::ptrdiff_t samples, std::uintptr_t g, std::uintptr_t x,
                    std::uintptr_t sums, int threads) {
  nb::gil_scoped_release release;
  const std::int32_t* sixteens = columns % 16 ? nullptr : at<std::int32_t>(runs);  // a row begins with a run, or none do
  const commonweight::Index index{at<std::int32_t>(numbers), sixteens, rows * columns, nullptr, nullptr, weights};
  return commonweight::adds_in_parts(index) &&
         commonweight::spread_adjoint_on_matrix_unit({index, rows, columns, samples}, at<float>(g), at<float>(x),
                                                     at<float>(sums), threads);
}

// Rows of n points: one after the other by all threads if they are few, otherwise side by side.
template <class Float>
void kmeans(std::uintptr_t points, std::uintptr_t weights, std::ptrdiff_t rows, std::int64_t n, std::int32_t k,
            std::uintptr_t centres, std::uintptr_t codes, std::uintptr_t costs, std::uintptr_t found, int threads) {
  nb::gil_scoped_release release;
  const bool few = rows < 4 * threads;
  const auto work = [&](std::ptrdiff_t first, std::ptrdiff_t last) {
    for (std::ptrdiff_t row = first; row < last; ++row)
      commonweight::kmeans<Float>(at<Float>(points) + row * n, weights ? at<double>(weights) + row * n : nullptr, n, k,
                                  {at<double>(centres) + row * k, at<std::int32_t>(codes) + row * n,
                                   at<double>(costs) + row, at<std::int32_t>(found) + row},
                                  few ? threads : 1);
  };
  few ? work(0, rows) : commonweight::parallel(rows, 1, threads, work);
}

// Networks are handed out a few at a time, each thread with space of its own.
void networks(const std::string& instructions, std::uintptr_t first, std::uintptr_t kind, std::uintptr_t given_start,
              std::uintptr_t given, std::uintptr_t computed_start, std::uintptr_t computed, std::uintptr_t outputs,
              std::uintptr_t x, std::uintptr_t weights, std::uintptr_t y, std::ptrdiff_t n_networks,
              std::ptrdiff_t largest, std::ptrdiff_t n_in, std::ptrdiff_t n_out, std::ptrdiff_t n_weights,
              std::ptrdiff_t samples, std::ptrdiff_t per_network, int threads) {
  using Index = std::int64_t;
  const commonweight::Networks it{at<Index>(first),          at<Index>(kind),     at<Index>(given_start),
                                  at<Index>(given),          at<Index>(computed_start), at<Index>(computed),
                                  at<Index>(outputs),        at<float>(x),        at<float>(weights),
                                  at<float>(y),              n_in,                n_out,
                                  n_weights,                 samples,             per_network};
  const auto kernel = with_avx512(instructions) ? commonweight::networks_avx512()
                      : instructions == "avx2" ? commonweight::networks_avx2()
                                               : commonweight::networks_portable();
  nb::gil_scoped_release release;
  const std::ptrdiff_t piece = n_networks / (4 * threads) + 1, n_pieces = (n_networks + piece - 1) / piece;
  const std::ptrdiff_t each = commonweight::block * n_weights * (largest + 1);
  const std::unique_ptr<float[]> space(new float[static_cast<std::size_t>(n_pieces * each)]);
  commonweight::parallel(n_networks, piece, threads, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
    kernel(it, space.get() + from / piece * each, from, to);
  });
}

commonweight::PerceptronKernels perceptrons(const std::string& instructions) {
  if (with_avx512(instructions)) return commonweight::perceptron_avx512();
  if (instructions == "avx2") return commonweight::perceptron_avx2();
  return commonweight::perceptron_portable();
}

// A row of the table for each layer: inputs, outputs, activation; then of the weight, and of the bias, the addresses of
// its values, its two moments and its average.
std::vector<commonweight::Layer> layers_of(const std::int64_t* table, std::ptrdiff_t n_layers, float decay, float l2) {
  const auto parameter = [](const std::int64_t* row, float decay, float l2) {
    const auto address = [row](int entry) { return at<float>(static_cast<std::uintptr_t>(row[entry])); };
    return commonweight::Parameter{address(0), address(1), address(2), address(3), decay, l2};
  };
  std::vector<commonweight::Layer> layers;
  for (const std::int64_t* row = table; row != table + 11 * n_layers; row += 11)
    layers.push_back({row[0], row[1], static_cast<commonweight::Activation>(row[2]), parameter(row + 3, decay, l2),
                      parameter(row + 7, 0.0f, 0.0f)});
  return layers;
}

std::ptrdiff_t perceptron_steps(const std::string& instructions, std::uintptr_t table, std::ptrdiff_t n_layers,
                                float decay, float l2, bool adam, bool nesterov, double beta1,
                                double beta2, float epsilon, std::int64_t done, std::uintptr_t x,
                                std::uintptr_t classes, std::uintptr_t values, std::uintptr_t scale, float smoothing,
                                std::uintptr_t chosen, std::uintptr_t rates, std::uintptr_t shares,
                                std::ptrdiff_t steps, std::ptrdiff_t batch, std::uintptr_t losses,
                                std::uintptr_t errors) {
  const auto layers = layers_of(at<std::int64_t>(table), n_layers, decay, l2);
  const commonweight::Rule rule{adam, nesterov, beta1, beta2, epsilon, done};
  const commonweight::PerceptronSteps it{layers.data(),
                                         n_layers,
                                         rule,
                                         at<float>(x),
                                         at<std::int64_t>(classes),
                                         at<float>(values),
                                         at<float>(scale),
                                         smoothing,
                                         at<std::int64_t>(chosen),
                                         at<double>(rates),
                                         at<double>(shares),
                                         steps,
                                         batch,
                                         at<double>(losses),
                                         at<double>(errors)};
  nb::gil_scoped_release release;
  return perceptrons(instructions).steps(it);
}

// Nets are handed out a few at a time, since each piece makes room of its own.
void for_nets(std::ptrdiff_t n, int threads, const std::function<void(std::ptrdiff_t, std::ptrdiff_t)>& work) {
  nb::gil_scoped_release release;
  commonweight::parallel(n, n / (8 * threads) + 1, threads, work);
}

void perceptron_answers(const std::string& instructions, std::uintptr_t table, std::ptrdiff_t n_layers,
                        std::ptrdiff_t members, std::ptrdiff_t weights, std::uintptr_t x, std::ptrdiff_t samples,
                        std::uintptr_t y, int threads) {
  const auto layers = layers_of(at<std::int64_t>(table), n_layers, 0.0f, 0.0f);
  const commonweight::PerceptronPopulation it{layers.data(), n_layers, weights, at<float>(x), samples, at<float>(y)};
  const auto answers = perceptrons(instructions).answers;
  for_nets(members, threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) { answers(it, first, last); });
}

void perceptrons_on_plane(const std::string& instructions, std::uintptr_t sums, std::ptrdiff_t units,
                          std::int64_t activation, std::uintptr_t table, std::ptrdiff_t n_layers,
                          std::uintptr_t weights, std::ptrdiff_t n_weights, std::uintptr_t points,
                          std::ptrdiff_t n_points, std::ptrdiff_t samples, std::uintptr_t y, int threads) {
  const auto layers = layers_of(at<std::int64_t>(table), n_layers, 0.0f, 0.0f);
  const commonweight::PerceptronPlane it{at<float>(sums), units, static_cast<commonweight::Activation>(activation),
                                         layers.data(),   n_layers, at<float>(weights), n_weights,
                                         at<float>(points), samples, at<float>(y)};
  const auto on_plane = perceptrons(instructions).on_plane;
  for_nets(n_points, threads, [&](std::ptrdiff_t first, std::ptrdiff_t last) { on_plane(it, first, last); });
}

}  // namespace

NB_MODULE(_native, m) {
  m.def("instructions", &instructions);
  m.def("said", &said);
  m.def("use_team",
        [](std::uintptr_t address) { commonweight::use_team(reinterpret_cast<commonweight::Team>(address)); });
  m.def("codebook_product", &codebook_product);
  m.def("codebook_expand", &codebook_expand);
  m.def("codebook_sums", &codebook_sums);
  m.def("kmeans_float32", &kmeans<float>);
  m.def("kmeans_float64", &kmeans<double>);
  m.def("networks", &networks);
  m.def("perceptron_steps", &perceptron_steps);
  m.def("perceptron_answers", &perceptron_answers);
  m.def("perceptrons_on_plane", &perceptrons_on_plane);
  m.def("spread_product", &spread_product);
  m.def("spread_adjoint", &spread_adjoint);
  m.def("spread_float32", &spread<float>);
  m.def("spread_float64", &spread<double>);
  m.def("adjoint_float32", &adjoint<float>);
  m.def("adjoint_float64", &adjoint<double>);
}
