// Depthwise correlation on CPUs in float32, channels last: the one computation behind all three passes.
//
//     out[b, y, x, c] = bias[c] + sum_{i, j} filter[b, i, j, c] * image[b, y + i - top, x + j - left, c]
//
// The forward pass slides the kernel over the input, the input gradient the flipped kernel over the output gradient,
// and the weight gradient the output gradient over the input, summed over the batch.
//
// A vector register holds LANES channels of one pixel. The sums of a tile of up to TILE neighbouring outputs stay in
// registers while the filter slides by: one load of the filter serves the whole tile, and each multiply-add takes its
// other operand straight from the cache. Rows and columns that only meet padding are skipped.
//
// Rows are correlated by halves, with three products in place of four. Of the even and odd rows of filter and image,
//
//     even outputs = (even image - odd image) * even filter + odd image * (even filter + odd filter)
//     odd outputs  = (next even image - odd image) * odd filter + odd image * (even filter + odd filter)
//
// and each product is of the same kind, half as high, so that it can be halved again.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

namespace {

// TILE: as many sums as gcc keeps in registers.
#if defined(__AVX512F__)
constexpr int LANES = 16, TILE = 14;
#elif defined(__AVX2__)
constexpr int LANES = 8, TILE = 8;
#else
constexpr int LANES = 4, TILE = 8;
#endif

// Fewer rows than these are not worth halving.
constexpr size_t LEAST_FILTER = 6, LEAST_OUT = 12;

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef std::vector<const Lanes*> Rows;  // null stands for a row of zeros

// Lengths of rows. Image rows hold `left` zeros, `width` pixels, and zeros again.
struct Columns {
  long filter, image, out, left, width;
};

// Memory for rows, given back all at once by setting `used` to what it was.
struct Arena {
  std::vector<Lanes> memory;
  size_t used = 0;

  Lanes* take(size_t count) {
    Lanes* taken = memory.data() + used;
    used += count;
    return taken;
  }
};

// sums[t] += sum over rows r and columns s of filter[r][s] * image[r][s + t].
template <int T>
void slide(const Lanes* const* filter, const Lanes* const* image, long rows, long first, long last, long shift,
           Lanes* sums) {
  Lanes sum[T];
#pragma GCC unroll 16
  for (int t = 0; t < T; t++) sum[t] = Lanes{};
  for (long r = 0; r < rows; r++) {
    if (!filter[r] || !image[r]) continue;
    const Lanes *values = filter[r], *pixels = image[r] + shift;
    for (long s = first; s < last; s++) {
      const Lanes value = values[s];
#pragma GCC unroll 16
      for (int t = 0; t < T; t++) sum[t] += value * pixels[s + t];
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < T; t++) sums[t] += sum[t];
}

template <int... T>
constexpr auto slides_of_all_widths(std::integer_sequence<int, T...>) {
  return std::array{&slide<T + 1>...};
}

constexpr auto SLIDE = slides_of_all_widths(std::make_integer_sequence<int, TILE>());

// out[y] += sum over i of filter[i] * image[y + i], where * correlates two rows.
void correlate_rows(const Rows& filter, const Rows& image, const std::vector<Lanes*>& out, const Columns& columns) {
  const long tiles = (columns.out + TILE - 1) / TILE;
  for (size_t y = 0; y < out.size(); y++) {
    for (long tile = 0; tile < tiles; tile++) {
      const long begin = tile * columns.out / tiles, end = (tile + 1) * columns.out / tiles;
      const long first = std::max(0L, columns.left - end + 1);
      const long last = std::min(columns.filter, columns.width + columns.left - begin);
      if (first < last) {
        SLIDE[end - begin - 1](filter.data(), image.data() + y, filter.size(), first, last, begin, out[y] + begin);
      }
    }
  }
}

template <typename Row>
std::vector<Row> every_second(const std::vector<Row>& rows, size_t first) {
  std::vector<Row> result;
  for (size_t i = first; i < rows.size(); i += 2) result.push_back(rows[i]);
  return result;
}

// a[i] + sign * b[i]; rows beyond the end of either are zeros.
Rows combine(const Rows& a, const Rows& b, float sign, size_t count, long length, Arena& arena) {
  Rows result(count);
  for (size_t i = 0; i < count; i++) {
    const Lanes *left = i < a.size() ? a[i] : nullptr, *right = i < b.size() ? b[i] : nullptr;
    if (!right) {
      result[i] = left;
      continue;
    }
    Lanes* row = arena.take(length);
    for (long x = 0; x < length; x++) row[x] = left ? left[x] + sign * right[x] : sign * right[x];
    result[i] = row;
  }
  return result;
}

// The same as correlate_rows, by halves.
void correlate_halves(const Rows& filter, const Rows& image, const std::vector<Lanes*>& out, const Columns& columns,
                      Arena& arena) {
  if (filter.size() < LEAST_FILTER || out.size() < LEAST_OUT) return correlate_rows(filter, image, out, columns);
  const size_t used = arena.used;
  const Rows even_filter = every_second(filter, 0), odd_filter = every_second(filter, 1);
  const Rows even_image = every_second(image, 0), next_image = every_second(image, 2);
  Rows odd_image = every_second(image, 1);
  const std::vector<Lanes*> even_out = every_second(out, 0), odd_out = every_second(out, 1);
  odd_image.resize(even_out.size() + even_filter.size() - 1);

  std::vector<Lanes*> shared(even_out.size());
  for (Lanes*& row : shared) {
    row = arena.take(columns.out);
    std::fill(row, row + columns.out, Lanes{});
  }
  const Rows both = combine(even_filter, odd_filter, 1, even_filter.size(), columns.filter, arena);
  correlate_halves(both, odd_image, shared, columns, arena);
  for (size_t y = 0; y < out.size(); y++) {
    for (long x = 0; x < columns.out; x++) out[y][x] += shared[y / 2][x];
  }
  correlate_halves(even_filter, combine(even_image, odd_image, -1, odd_image.size(), columns.image, arena), even_out,
                   columns, arena);
  correlate_halves(odd_filter, combine(next_image, odd_image, -1, odd_image.size(), columns.image, arena), odd_out,
                   columns, arena);
  arena.used = used;
}

// A pixel's `used` channels and zeros; of known size in the usual case, which makes it one instruction.
Lanes load(const float* pixel, long used) {
  Lanes lanes{};
  if (used == LANES) {
    std::memcpy(&lanes, pixel, sizeof lanes);
  } else {
    std::memcpy(&lanes, pixel, used * sizeof(float));
  }
  return lanes;
}

void store(const Lanes& lanes, float* pixel, long used) {
  if (used == LANES) {
    std::memcpy(pixel, &lanes, sizeof lanes);
  } else {
    std::memcpy(pixel, &lanes, used * sizeof(float));
  }
}

// Copy `used` channels of a (rows, columns, channels) array into rows of `pitch` vectors, behind `left` zeros.
void pack(const float* from, long rows, long columns, long channels, long used, long left, long pitch, Lanes* to) {
  for (long y = 0; y < rows; y++, to += pitch, from += columns * channels) {
    std::fill(to, to + left, Lanes{});
    for (long x = 0; x < columns; x++) to[left + x] = load(from + x * channels, used);
    std::fill(to + left + columns, to + pitch, Lanes{});
  }
}

}  // namespace

// image (B, H, W, C), filter (B or 1, h, w, C), bias (C) or null -> out (B, H', W', C), or (1, H', W', C) summed over B.
extern "C" void correlate(const float* image, const float* filter, const float* bias, float* out, long batch, long height,
                          long width, long channels, long filter_batch, long filter_rows, long filter_columns,
                          long out_rows, long out_columns, long top, long left, long sum_batch, long threads) {
  const long right = std::max(0L, out_columns + filter_columns - 1 - left - width);
  const Columns columns{filter_columns, left + width + right, out_columns, left, width};
  const long images = sum_batch ? 1 : batch;
  const long blocks = (channels + LANES - 1) / LANES;
  // Rows are divided, too, where images and channels are too few for all threads.
  const long bands = std::min(out_rows, std::max(1L, 2 * threads / (images * blocks)));
  const size_t image_size = height * columns.image, filter_size = filter_rows * filter_columns;
  const size_t rows_with_padding = out_rows + filter_rows + 8;
  // Each halving takes half of what it halves twice for the image, once for filter and outputs: at most all of it in sum.
  const size_t scratch = 2 * rows_with_padding * columns.image + filter_size + 8 * filter_columns +
                         (out_rows + 8) * out_columns;

#pragma omp parallel num_threads(threads)
  {
    Arena arena{std::vector<Lanes>(image_size + filter_size + out_rows * out_columns + scratch)};
    Lanes* const image_block = arena.take(image_size);
    Lanes* const filter_block = arena.take(filter_size);
    Lanes* const sums = arena.take(out_rows * out_columns);
#pragma omp for schedule(dynamic)
    for (long task = 0; task < images * blocks * bands; task++) {
      const long band = task % bands, block = task / bands % blocks, first = task / bands / blocks;
      const long channel = block * LANES, used = std::min(long{LANES}, channels - channel);
      const long row_begin = band * out_rows / bands, row_end = (band + 1) * out_rows / bands;
      std::fill(sums, sums + (row_end - row_begin) * out_columns, bias ? load(bias + channel, used) : Lanes{});

      Rows image_pointers(row_end - row_begin + filter_rows - 1), filter_pointers(filter_rows);
      std::vector<Lanes*> out_pointers(row_end - row_begin);
      for (long y = 0; y < long(image_pointers.size()); y++) {
        const long row = y + row_begin - top;
        image_pointers[y] = 0 <= row && row < height ? image_block + row * columns.image : nullptr;
      }
      for (long i = 0; i < filter_rows; i++) filter_pointers[i] = filter_block + i * filter_columns;
      for (long y = 0; y < row_end - row_begin; y++) out_pointers[y] = sums + y * out_columns;

      for (long b = first; b < (sum_batch ? batch : first + 1); b++) {
        pack(image + b * height * width * channels + channel, height, width, channels, used, left, columns.image,
             image_block);
        if (b == first || filter_batch > 1) {
          const long offset = filter_batch > 1 ? b * filter_rows * filter_columns * channels : 0;
          pack(filter + offset + channel, filter_rows, filter_columns, channels, used, 0, filter_columns, filter_block);
        }
        correlate_halves(filter_pointers, image_pointers, out_pointers, columns, arena);
      }

      float* to = out + (first * out_rows + row_begin) * out_columns * channels + channel;
      for (long pixel = 0; pixel < (row_end - row_begin) * out_columns; pixel++) {
        store(sums[pixel], to + pixel * channels, used);
      }
    }
  }
}
