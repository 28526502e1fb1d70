// Depthwise correlation on CPUs in float32, channels last: the one computation behind all three passes.
//
//     out[b, y, x, c] = bias[c] + sum_{i, j} filter[b, i, j, c] * image[b, y + i - top, x + j - left, c]
//
// The forward pass slides the kernel over the input, the input gradient the flipped kernel over the output gradient,
// and the weight gradient the output gradient over the input, summed over the batch.
//
// A vector register holds LANES channels of one pixel. The sums of a tile of up to TILE outputs in each of two rows stay
// in registers while the filter slides by: one load of the filter serves the whole tile, and each multiply-add takes its
// other operand straight from the cache. Rows and columns that only meet padding are skipped.
//
// Rows are correlated by halves, with three products in place of four. Of the even and odd rows of filter and image,
//
//     even outputs = (even image - odd image) * even filter + odd image * (even filter + odd filter)
//     odd outputs  = (next even image - odd image) * odd filter + odd image * (even filter + odd filter)
//
// and each product is of the same kind, half as high, so that it can be halved again. A difference of two rows and the row
// that it was taken from cancel by rounding only: an output is as exact as the largest pixels allow that are within reach
// of it, or of its neighboring row.

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

namespace {

// 2 * TILE: as many sums as gcc keeps in registers.
#if defined(__AVX512F__)
constexpr int LANES = 16, TILE = 7;
#elif defined(__AVX2__)
constexpr int LANES = 8, TILE = 4;
#else
constexpr int LANES = 4, TILE = 4;
#endif

// Fewer rows than these are not worth halving.
constexpr size_t LEAST_FILTER = 6, LEAST_OUT = 14;

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef std::vector<const Lanes*> Rows;  // null stands for a row of zeros

// Lengths of rows. Image rows hold `left` zeros, `width` pixels, and zeros again; `zeros` is one without pixels.
struct Columns {
  long filter, image, out, left, width;
  const Lanes* zeros;
};

// Memory for rows, given back all at once by setting `used` to what it was.
struct Arena {
  std::vector<Lanes> memory;
  size_t used = 0;

  Lanes* take(size_t count) {
    Lanes* taken = memory.data() + used;
    used += count;
    assert(used <= memory.size());
    return taken;
  }
};

// sums[y][t] += sum over rows r and columns s of filter[r][s] * image[y + r][s + t].
template <int HEIGHT, int T>
void slide(const Lanes* const* filter, const Lanes* const* image, const Lanes* zeros, long rows, long first, long last,
           long shift, Lanes* const* sums) {
  Lanes sum[HEIGHT][T];
#pragma GCC unroll 16
  for (int y = 0; y < HEIGHT; y++) {
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) sum[y][t] = Lanes{};
  }
  for (long r = 0; r < rows; r++) {
    const Lanes *values = filter[r], *upper = image[r], *lower = image[r + HEIGHT - 1];
    if (!values || (!upper && !lower)) continue;
    upper = (upper ? upper : zeros) + shift;
    lower = (lower ? lower : zeros) + shift;
    for (long s = first; s < last; s++) {
      const Lanes value = values[s];
#pragma GCC unroll 16
      for (int t = 0; t < T; t++) {
        sum[0][t] += value * upper[s + t];
        if (HEIGHT == 2) sum[HEIGHT - 1][t] += value * lower[s + t];
      }
    }
  }
#pragma GCC unroll 16
  for (int y = 0; y < HEIGHT; y++) {
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) sums[y][shift + t] += sum[y][t];
  }
}

template <int HEIGHT, int... T>
constexpr auto slides_of_all_widths(std::integer_sequence<int, T...>) {
  return std::array{&slide<HEIGHT, T + 1>...};
}

constexpr auto ALL_WIDTHS = std::make_integer_sequence<int, TILE>();
constexpr auto SLIDE_ONE = slides_of_all_widths<1>(ALL_WIDTHS), SLIDE_TWO = slides_of_all_widths<2>(ALL_WIDTHS);

// out[y] += sum over i of filter[i] * image[y + i], where * correlates two rows.
void correlate_rows(const Rows& filter, const Rows& image, const std::vector<Lanes*>& out, const Columns& columns) {
  const long tiles = (columns.out + TILE - 1) / TILE;
  for (size_t y = 0; y < out.size(); y += 2) {
    const auto& slide_tile = y + 1 < out.size() ? SLIDE_TWO : SLIDE_ONE;
    for (long tile = 0; tile < tiles; tile++) {
      const long begin = tile * columns.out / tiles, end = (tile + 1) * columns.out / tiles;
      const long first = std::max(0L, columns.left - end + 1);
      const long last = std::min(columns.filter, columns.width + columns.left - begin);
      if (first < last) {
        slide_tile[end - begin - 1](filter.data(), &image[y], columns.zeros, filter.size(), first, last, begin, &out[y]);
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

// A (batch, rows, columns, channels) array of any memory layout; strides are in numbers.
template <typename Number>
struct Array {
  Number* data;
  const long* size;
  const long* stride;

  Number* at(long image, long channel) const { return data + image * stride[0] + channel * stride[3]; }
};

// Copy `used` channels of one image into rows of `pitch` vectors, behind `left` zeros.
void pack(const Array<const float>& array, long image, long channel, long used, long left, long pitch, Lanes* to) {
  const long columns = array.size[2], column_stride = array.stride[2], lane_stride = array.stride[3];
  for (long y = 0; y < array.size[1]; y++, to += pitch) {
    const float* row = array.at(image, channel) + y * array.stride[1];
    std::fill(to, to + pitch, Lanes{});
    if (lane_stride == 1 && used == LANES) {
      for (long x = 0; x < columns; x++) std::memcpy(&to[left + x], row + x * column_stride, sizeof(Lanes));
    } else {
      for (long lane = 0; lane < used; lane++) {
        for (long x = 0; x < columns; x++) to[left + x][lane] = row[x * column_stride + lane * lane_stride];
      }
    }
  }
}

void unpack(const Lanes* from, const Array<float>& array, long image, long channel, long used, long begin, long end) {
  const long columns = array.size[2], column_stride = array.stride[2], lane_stride = array.stride[3];
  for (long y = begin; y < end; y++, from += columns) {
    float* row = array.at(image, channel) + y * array.stride[1];
    if (lane_stride == 1 && used == LANES) {
      for (long x = 0; x < columns; x++) std::memcpy(row + x * column_stride, &from[x], sizeof(Lanes));
    } else {
      for (long lane = 0; lane < used; lane++) {
        for (long x = 0; x < columns; x++) row[x * column_stride + lane * lane_stride] = from[x][lane];
      }
    }
  }
}

long divide_up(long a, long b) { return (a + b - 1) / b; }

}  // namespace

// image (B, H, W, C), filter (B or 1, h, w, C), bias (C) or null -> out (B, H', W', C), or (1, H', W', C) summed over B.
extern "C" void correlate(const float* image_data, const long* image_size, const long* image_stride,
                          const float* filter_data, const long* filter_size, const long* filter_stride,
                          float* out_data, const long* out_size, const long* out_stride, const float* bias, long top,
                          long left, long threads) {
  const Array<const float> image{image_data, image_size, image_stride}, filter{filter_data, filter_size, filter_stride};
  const Array<float> out{out_data, out_size, out_stride};
  const long batch = image_size[0], height = image_size[1], width = image_size[2], channels = image_size[3];
  const long filter_rows = filter_size[1], filter_columns = filter_size[2];
  const long out_rows = out_size[1], out_columns = out_size[2];
  const bool sum_batch = out_size[0] < batch;

  const long right = std::max(0L, out_columns + filter_columns - 1 - left - width);
  const long pitch = left + width + right;
  const std::vector<Lanes> zeros(pitch);
  const Columns columns{filter_columns, pitch, out_columns, left, width, zeros.data()};
  // A task is a block of channels, and where these are too few for all threads to be busy to the end, a group of images,
  // and where these are too few, a band of rows.
  const long wanted = 16 * threads, blocks = divide_up(channels, LANES);
  const long groups = sum_batch ? 1 : std::min(batch, divide_up(wanted, blocks));
  const long bands = std::min(out_rows, std::max(1L, 2 * threads / (blocks * groups)));
  const size_t image_room = height * pitch, filter_room = filter_rows * filter_columns;
  // Halving o output and f filter rows takes o + f image rows, and f/2 and o/2 rows for sums of the filter and the output;
  // halving again takes half as much, and so on. Odd numbers are rounded up.
  const size_t scratch = 2 * (out_rows + filter_rows + 16) * pitch + (filter_rows + 16) * filter_columns +
                         (out_rows + 16) * out_columns;

#pragma omp parallel num_threads(threads)
  {
    Arena arena{std::vector<Lanes>(image_room + filter_room + out_rows * out_columns + scratch)};
    Lanes* const image_block = arena.take(image_room);
    Lanes* const filter_block = arena.take(filter_room);
    Lanes* const sums = arena.take(out_rows * out_columns);
#pragma omp for schedule(dynamic)
    for (long task = 0; task < blocks * groups * bands; task++) {
      const long band = task % bands, group = task / bands % groups, block = task / bands / groups;
      const long channel = block * LANES, used = std::min(long{LANES}, channels - channel);
      const long row_begin = band * out_rows / bands, row_end = (band + 1) * out_rows / bands;
      const long image_begin = group * batch / groups, image_end = (group + 1) * batch / groups;

      Lanes start{};
      if (bias) std::memcpy(&start, bias + channel, used * sizeof(float));
      Rows image_pointers(row_end - row_begin + filter_rows - 1), filter_pointers(filter_rows);
      std::vector<Lanes*> out_pointers(row_end - row_begin);
      for (size_t y = 0; y < image_pointers.size(); y++) {
        const long row = long(y) + row_begin - top;
        image_pointers[y] = 0 <= row && row < height ? image_block + row * columns.image : nullptr;
      }
      for (long i = 0; i < filter_rows; i++) filter_pointers[i] = filter_block + i * filter_columns;
      for (size_t y = 0; y < out_pointers.size(); y++) out_pointers[y] = sums + y * out_columns;

      for (long b = image_begin; b < image_end; b++) {
        pack(image, b, channel, used, left, columns.image, image_block);
        if (b == image_begin || filter_size[0] > 1) {
          pack(filter, filter_size[0] > 1 ? b : 0, channel, used, 0, filter_columns, filter_block);
        }
        if (b == image_begin || !sum_batch) std::fill(sums, sums + (row_end - row_begin) * out_columns, start);
        correlate_halves(filter_pointers, image_pointers, out_pointers, columns, arena);
        if (b == image_end - 1 || !sum_batch) {
          unpack(sums, out, sum_batch ? 0 : b, channel, used, row_begin, row_end);
        }
      }
    }
  }
}
