// Products on the matrix unit, of tiles made by `matrix_unit_tiles.hpp`.
//
// Weights are taken apart where they are used, some rows and steps at a time, while the unit multiplies those before; x
// before, once.
#include "matrix_unit.hpp"

#if defined(__AMX_BF16__) && defined(__AVX512BW__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "codebook_avx512.hpp"
#include "matrix_unit_tiles.hpp"
#include "threads.hpp"

namespace commonweight {
namespace {

constexpr Size strip = 32;                  // rows of weights that are taken apart together
constexpr Size together = 4;                // steps of them: 24 KiB, in the first cache
constexpr Size inputs_bytes = 8 << 20;      // of inputs that are taken apart together
constexpr Size sums_bytes = 512 << 10;      // of sums that a thread holds in its second cache
constexpr Size most_rows = 256;             // of weights that these sums are for
constexpr Size columns_at_once = 512;       // of a matrix whose elements are added up
constexpr Size cells_at_once = 64;          // of these, which are added between two products

// Weights of which panels are made in a room, line by line.
struct MadeInRoom {
  template <int parts>
  Panel panel(Size, Size, const std::uint8_t* room) const {
    return {room, 2 * parts * tile_bytes};
  }
};

// Weights in the cells of a matrix, whose lines run as those of its tiles do.
struct InCells : MadeInRoom {
  explicit InCells(const Cells& where) : cells(where) {}
  Cells cells;

  Groups groups() const { return {}; }
  Size lines(Size steps) const { return steps * strip; }

  // Line n of a panel from (row, step) on, where one step comes after the other.
  template <int parts>
  void take_line(Size n, Size row, Size step, Size, std::uint8_t* room) const {
    const Size t = step + n / strip, half = n / lanes % 2, i = n % lanes, first = row + half * lanes;
    store_parts<parts>(load_line(cells, first, groups().first(t), i), load_line(cells, first, groups().second(t), i),
                       room + (n / lanes) * parts * tile_bytes + 64 * i);
  }
};

// Weights that are looked up.
template <int bits>
struct LookedUp : MadeInRoom {
  explicit LookedUp(const CodebookProduct& product) : it(product) {}
  const CodebookProduct& it;

  Groups groups() const { return {32 / bits}; }
  Size lines(Size) const { return strip; }

  // Line n of each step of a panel: a row of the weights.
  template <int parts>
  void take_line(Size n, Size row, Size first, Size last, std::uint8_t* room) const {
    constexpr int half = 32 / bits / 2;
    constexpr Size ahead = 4 * lanes;  // words of a row that are asked for before their turn
    std::uint8_t* place = room + n / lanes * parts * tile_bytes + n % lanes * 64;
    row += n;
    if (row >= it.rows) {
      for (Size t = first; t < last; ++t, place += 2 * parts * tile_bytes)
        store_parts<parts>(_mm512_setzero_ps(), _mm512_setzero_ps(), place);
      return;
    }
    const Avx512::Table<bits> table(it.values + row / it.rows_per_codebook * it.held, it.held);
    for (Size block = first / half; block * half < last; ++block) {
      const std::uint32_t* words = it.codes + (row * it.blocks + block) * lanes;
      __builtin_prefetch(words + ahead, 0, 2);
      const __m512i codes = Avx512::words(words);
#pragma GCC unroll 16
      for (int k = 0; k < half; ++k) {
        if (block * half + k < first || block * half + k >= last) continue;
        const auto low = Avx512::lookup<bits>(table, codes, bits * k);
        store_parts<parts>(low, Avx512::lookup<bits>(table, codes, bits * (k + half)), place);
        place += 2 * parts * tile_bytes;
      }
    }
  }
};

// Work in n bits that are spread over so many times at which the unit has been given products, and adds them up.
template <class Bit>
struct Meanwhile {
  const Bit& bit;
  Size n, times;
  Size done = 0, due = 0;

  void some() {
    for (due += n; due >= times; due -= times) bit(done++);
  }
};

// Adds the product of a tile of weights, 4 or 5, with one of inputs, 6 or 7, to its sums. Tiles have literal numbers.
template <bool left, int half, int block>
void add_product() {
  if constexpr (left) {
    if constexpr (half == 0 && block == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (half == 1 && block == 0) _tile_dpbf16ps(1, 5, 6);
    if constexpr (half == 0 && block == 1) _tile_dpbf16ps(2, 4, 7);
    if constexpr (half == 1 && block == 1) _tile_dpbf16ps(3, 5, 7);
  } else {
    if constexpr (half == 0 && block == 0) _tile_dpbf16ps(0, 6, 4);
    if constexpr (half == 1 && block == 0) _tile_dpbf16ps(1, 6, 5);
    if constexpr (half == 0 && block == 1) _tile_dpbf16ps(2, 7, 4);
    if constexpr (half == 1 && block == 1) _tile_dpbf16ps(3, 7, 5);
  }
}

// Some steps of a strip of weights times one or two blocks of 16 inputs. The sums are tiles, too: (blocks, 2). Tiles 4
// and 5 hold weights, 6 and 7 inputs; what comes next is loaded as soon as no product needs what was there.
template <int parts, bool left, int blocks, class Work>
void multiply(const Panel& of_weights, const Panel& of_x, Size steps, float* sums, bool begin, Work& meanwhile) {
  constexpr Size other = parts * tile_bytes;  // the other tile of the strip, the other block
  const std::uint8_t *weights = of_weights.tiles, *x = of_x.tiles;
  const auto then_x = [&](const std::uint8_t* next) {
    add_product<left, 0, 0>();
    add_product<left, 1, 0>();
    _tile_loadd(6, next, 64);
    if constexpr (blocks == 2) {
      add_product<left, 0, 1>();
      add_product<left, 1, 1>();
      _tile_loadd(7, next + other, 64);
    }
    meanwhile.some();
  };
  const auto then_weights = [&](const std::uint8_t* next) {
    add_product<left, 0, 0>();
    if constexpr (blocks == 2) add_product<left, 0, 1>();
    _tile_loadd(4, next, 64);
    add_product<left, 1, 0>();
    if constexpr (blocks == 2) add_product<left, 1, 1>();
    _tile_loadd(5, next + other, 64);
    meanwhile.some();
  };
  const auto load_both = [&] {
    _tile_loadd(6, x + (parts - 1) * tile_bytes, 64);
    _tile_loadd(4, weights, 64);
    _tile_loadd(5, weights + other, 64);
    if constexpr (blocks == 2) _tile_loadd(7, x + (parts - 1) * tile_bytes + other, 64);
  };
  if (begin) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + tile, 64);
    if constexpr (blocks == 2) {
      _tile_loadd(2, sums + 2 * tile, 64);
      _tile_loadd(3, sums + 3 * tile, 64);
    }
  }
  load_both();
  for (Size t = 0; t < steps; ++t) {
    if constexpr (parts == 3) {  // from product to product one factor stays
      then_x(x + tile_bytes);
      then_weights(weights + tile_bytes);
      then_x(x);
      then_weights(weights + 2 * tile_bytes);
      then_weights(weights);
    }
    weights += of_weights.step, x += of_x.step;
    add_product<left, 0, 0>();
    add_product<left, 1, 0>();
    if constexpr (blocks == 2) {
      add_product<left, 0, 1>();
      add_product<left, 1, 1>();
    }
    if (t + 1 < steps) load_both();
    meanwhile.some();
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + tile, 64);
  if constexpr (blocks == 2) {
    _tile_stored(2, sums + 2 * tile, 64);
    _tile_stored(3, sums + 3 * tile, 64);
  }
}

// Where y[n, m] is, of input n and row m of the weights: start[n · of_input + m · of_row]; one of the steps is 1.
struct Answers {
  float* start;
  Size of_input, of_row;
};

// The sums of a strip, (blocks, 2) tiles, into y, with biases where y lies row by row. Whether all are finite.
bool write_sums(const float* sums, bool left, Size row, Size rows, Size n, const float* bias, const Answers& y) {
  const bool along_rows = y.of_row == 1;
  const Size step = along_rows ? y.of_input : y.of_row;
  __mmask16 odd = 0;
  for (Size half = 0; half < 2 && row < rows; ++half, row += lanes) {
    const __mmask16 rows_here = before(rows - row);
    const __m512 offset = bias ? _mm512_maskz_loadu_ps(rows_here, bias + row) : _mm512_setzero_ps();
    for (Size input = 0; input < n; input += lanes) {
      __m512 line[16];
      for (Size i = 0; i < lanes; ++i) line[i] = _mm512_load_ps(sums + (input / lanes * 2 + half) * tile + i * lanes);
      if (left == along_rows) transpose(line);
      float* to = y.start + input * y.of_input + row * y.of_row;
      const __mmask16 here = along_rows ? rows_here : before(n - input);
      const Size lines = std::min(lanes, along_rows ? n - input : rows - row);
      for (Size i = 0; i < lines; ++i, to += step) {
        const __m512 answer = _mm512_add_ps(line[i], offset), zero = _mm512_sub_ps(answer, answer);
        odd |= _mm512_mask_cmp_ps_mask(here, zero, zero, _CMP_UNORD_Q);
        _mm512_mask_storeu_ps(to, here, answer);
      }
    }
  }
  return !odd;
}

// Weights that were taken apart before.
struct TakenApart {
  const Apart<3>& weights;

  Size lines(Size) const { return 0; }

  template <int parts>
  Panel panel(Size row, Size step, const std::uint8_t*) const {
    return weights.panel(row, step);
  }

  template <int parts>
  void take_line(Size, Size, Size, Size, std::uint8_t*) const {}
};

// What a thread needs for some rows of weights: room for the panel that is multiplied and for the next one, and sums.
template <int parts, class Weights>
struct Space {
  Space(Size rows, Size blocks)
      : panels(room<std::uint8_t>(2 * of_panel)), sums(room<float>(pieces(rows, strip) * blocks * 2 * tile)) {}
  static constexpr Size of_panel = together * 2 * parts * tile_bytes;
  Room<std::uint8_t> panels;
  Room<float> sums;
};

// The rows first .. last - 1 of the weights, with all inputs; y is where the first of these rows goes. While a panel is
// multiplied the next one is taken apart, and some of n_more bits of other work are done.
template <int parts, bool left, class Weights, class More>
bool rows_of_product(const Weights& weights, Size first, Size last, const Apart<parts>& x, const float* bias,
                     const Answers& y, const Space<parts, Weights>& space, const More& more, Size n_more) {
  constexpr Size products = parts == 3 ? 6 : 1;
  const Size of_strip = x.blocks * 2 * tile, strips = pieces(last - first, strip);
  const Size panels = strips * pieces(x.steps, together), pairs = pieces(x.blocks, 2);
  const TileShapes shapes;
  _tile_loadconfig(&shapes);
  const auto room_of = [&](Size number) { return space.panels.get() + number % 2 * space.of_panel; };
  const auto row_of = [&](Size number) { return first + number % strips * strip; };
  const auto step_of = [&](Size number) { return number / strips * together; };
  const auto end_of = [&](Size number) { return std::min(x.steps, step_of(number) + together); };
  const auto take_line = [&](Size number, Size n) {
    weights.template take_line<parts>(n, row_of(number), step_of(number), end_of(number), room_of(number));
  };
  for (Size n = 0; n < weights.lines(end_of(0)); ++n) take_line(0, n);
  for (Size number = 0; number < panels; ++number) {
    const Size t = step_of(number), steps = end_of(number) - t, next = number + 1;
    const Size n_lines = next < panels ? weights.lines(end_of(next) - step_of(next)) : 0;
    const Size done = number * n_more / panels, n = n_lines + next * n_more / panels - done;
    const auto bit = [&](Size k) { k < n_lines ? take_line(next, k) : more(done + k - n_lines); };
    Meanwhile<decltype(bit)> meanwhile{bit, n, pairs * steps * products};
    const Panel panel = weights.template panel<parts>(row_of(number), t, room_of(number));
    float* to = space.sums.get() + number % strips * of_strip;
    Size block = 0;
    for (; block + 2 <= x.blocks; block += 2, to += 4 * tile)
      multiply<parts, left, 2>(panel, x.panel(block * lanes, t), steps, to, t == 0, meanwhile);
    for (; block < x.blocks; ++block, to += 2 * tile)
      multiply<parts, left, 1>(panel, x.panel(block * lanes, t), steps, to, t == 0, meanwhile);
  }
  _tile_release();
  bool finite = true;
  const float* sums = space.sums.get();
  for (Size row = 0; row < last - first; row += strip, sums += of_strip)
    finite &= write_sums(sums, left, row, last - first, x.n, bias ? bias + first : nullptr, y);
  return finite;
}

// y[n, m] = Σ x[n, k] · weights[m, k], in rows as long as there are weights. What is done in which order depends on the
// sizes alone, not on the threads.
template <int parts, bool left, class Weights>
bool product(const Weights& weights, Size rows, const Numbers& x, const float* bias, float* y, int threads) {
  const Groups groups = weights.groups();
  const Size steps = groups.steps(x.at.columns), most = inputs_bytes / (steps * Apart<parts>::of_block);
  const Size blocks = std::min(std::max<Size>(2, most), pieces(x.at.rows, lanes));
  Apart<parts> apart(blocks, steps);
  const Size fit = sums_bytes / (blocks * lanes * Size{sizeof(float)}), fair = rows / (4 * threads);
  const Size piece = std::max<Size>(1, std::min({fit, fair, most_rows}) / strip) * strip;
  std::atomic<bool> finite{true};
  for (Size sample = 0; sample < x.at.rows; sample += blocks * lanes) {
    apart.hold(x, sample, std::min(blocks * lanes, x.at.rows - sample), groups, !left, threads);
    parallel(rows, piece, threads, [&](Size first, Size last) {
      const Answers answers{y + sample * rows + first, rows, 1};
      const Space<parts, Weights> space(last - first, apart.blocks);
      if (!rows_of_product<parts, left>(weights, first, last, apart, bias, answers, space, [](Size) {}, 0))
        finite.store(false, std::memory_order_relaxed);
    });
  }
  return finite;
}

template <int bits>
bool codebook_product_of(const CodebookProduct& it, int parts, int threads) {
  const Size columns = it.blocks * lanes * (32 / bits);
  const Numbers x{{it.x, it.batch, columns, columns, true}};
  const LookedUp<bits> weights{it};
  return parts == 1 ? product<1, true>(weights, it.rows, x, it.bias, it.y, threads)
                    : product<3, true>(weights, it.rows, x, it.bias, it.y, threads);
}

bool allowed() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bfloat16_products = 1u << 22, tiles = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & bfloat16_products) || !(d & tiles)) return false;
  constexpr long ask_for_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM: Linux saves tiles if asked to
  return syscall(SYS_arch_prctl, ask_for_permission, tile_data) == 0;
}

}  // namespace

bool has_matrix_unit() {
  static const bool has = allowed();
  return has;
}

bool spread_product_on_matrix_unit(const SpreadProduct& it, bool transposed, const float* theta, const float* x,
                                   float* y, int threads) {
  const Room<float> table = room<float>(it.index.weights + 1);
  table[0] = 0;
  std::copy(theta, theta + it.index.weights, table.get() + 1);
  const Size rows = transposed ? it.columns : it.rows, columns = transposed ? it.rows : it.columns;
  const Strided<std::int32_t> cells{it.index.numbers, rows, columns, it.columns, !transposed};
  const InCells weights({cells, table.get()});
  const Numbers inputs{{x, it.samples, columns, columns, true}};
  return transposed ? product<3, false>(weights, rows, inputs, nullptr, y, threads)
                    : product<3, true>(weights, rows, inputs, nullptr, y, threads);
}

// A piece of gᵀ x at a time stays in the second cache, where it is added up while the next one is computed.
bool spread_adjoint_on_matrix_unit(const SpreadProduct& it, const float* g, const float* x, float* sums, int threads) {
  const Numbers rows{{g, it.rows, it.samples, it.rows, false}}, columns{{x, it.columns, it.samples, it.columns, false}};
  const Groups groups;
  const Size steps = groups.steps(it.samples), strips = pieces(it.rows, strip);
  Apart<3> of_rows(2 * strips, steps);
  of_rows.hold(rows, 0, strips * strip, groups, true, threads);
  const TakenApart weights{of_rows};
  std::vector<Apart<3>> apart;
  for (Size column = 0; column < it.columns; column += columns_at_once) {
    apart.emplace_back(columns_at_once / lanes, steps);
    apart.back().hold(columns, column, std::min(columns_at_once, it.columns - column), groups, false, threads);
  }
  std::atomic<bool> finite{true};
  const auto part = [&](std::int64_t first_cell, std::int64_t last_cell, const AddCells<float>& add) {
    const Space<3, TakenApart> space(strip, columns_at_once / lanes);
    const Room<float> pieces_of_two = room<float>(2 * strip * columns_at_once);
    const Size first = first_cell / it.columns, last = last_cell / it.columns;
    float *to = pieces_of_two.get(), *before = to + strip * columns_at_once;
    Size cell = 0, rows_before = 0, width = 1, begin = 0;  // of the piece before
    const auto add_some = [&](Size n) {
      const Size stretches = pieces(width, cells_at_once), row = n / stretches, from = n % stretches * cells_at_once;
      const Size at = begin + row * it.columns + from;
      add(before + row * width + from, at, at + std::min(cells_at_once, width - from));
    };
    for (const Apart<3>& here : apart) {
      for (Size row = first; row < last; row += strip) {
        const Size n = std::min(strip, last - row), to_add = rows_before * pieces(width, cells_at_once);
        if (!rows_of_product<3, true>(weights, row, row + n, here, nullptr, {to, 1, here.n}, space, add_some, to_add))
          finite.store(false, std::memory_order_relaxed);
        std::swap(to, before);
        rows_before = n, width = here.n, begin = row * it.columns + cell;
      }
      cell += here.n;
    }
    for (Size n = 0; n < rows_before * pieces(width, cells_at_once); ++n) add_some(n);
  };
  add_in_parts<float>(it.index, strip * it.columns, sums, threads, part);
  return finite;
}

bool codebook_product_on_matrix_unit(const CodebookProduct& it, int bits, int parts, int threads) {
  switch (bits) {
    case 1: return codebook_product_of<1>(it, parts, threads);
    case 2: return codebook_product_of<2>(it, parts, threads);
    case 3: return codebook_product_of<3>(it, parts, threads);
    case 4: return codebook_product_of<4>(it, parts, threads);
    default: return codebook_product_of<8>(it, parts, threads);
  }
}

}  // namespace commonweight
#else
namespace commonweight {
bool has_matrix_unit() { return false; }
bool codebook_product_on_matrix_unit(const CodebookProduct&, int, int, int) { return false; }
bool spread_product_on_matrix_unit(const SpreadProduct&, bool, const float*, const float*, float*, int) {
  return false;
}
bool spread_adjoint_on_matrix_unit(const SpreadProduct&, const float*, const float*, float*, int) { return false; }
}  // namespace commonweight
#endif
