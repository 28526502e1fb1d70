// Depthwise correlation on CPUs in float32, channels last: the one computation behind all three passes.
//
//     out[b, y, x, c] = bias[c] + sum_{i, j} filter[b, i, j, c] * image[b, y + i - top, x + j - left, c]
//
// The forward pass slides the kernel over the input, the input gradient the flipped kernel over the output gradient,
// and the weight gradient the output gradient over the input, summed over the batch.
//
// A vector register holds LANES channels of one pixel. The sums of a tile of up to TILE neighbouring outputs stay in
// registers while the filter slides by: one load of the filter serves the whole tile, and each multiply-add takes its
// other operand straight from the cache. Rows and columns of the filter that meet no pixel are skipped.

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

namespace {

// More than 16 registers for sums gain nothing, and gcc spills them.
#if defined(__AVX512F__)
constexpr int LANES = 16, TILE = 14;
#elif defined(__AVX2__)
constexpr int LANES = 8, TILE = 13;
#else
constexpr int LANES = 4, TILE = 13;
#endif

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

// sums[t] += sum over rows r and columns s of filter[r][s] * image[r][s + t]; pitches are in vectors.
template <int T>
void slide(const Lanes* filter, long filter_pitch, const Lanes* image, long image_pitch, long rows, long columns,
           Lanes* sums) {
  Lanes sum[T];
#pragma GCC unroll 16
  for (int t = 0; t < T; t++) sum[t] = Lanes{};
  for (long r = 0; r < rows; r++, filter += filter_pitch, image += image_pitch) {
    for (long s = 0; s < columns; s++) {
      const Lanes value = filter[s];
#pragma GCC unroll 16
      for (int t = 0; t < T; t++) sum[t] += value * image[s + t];
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

// Copy `used` channels of a (rows, columns, channels) array into vectors, with zeros left and right of each row.
void pack(const float* from, long rows, long columns, long channels, long used, long left, long right,
          std::vector<Lanes>& to) {
  const long pitch = left + columns + right;
  to.assign(rows * pitch, Lanes{});
  for (long y = 0; y < rows; y++) {
    for (long x = 0; x < columns; x++) {
      const float* pixel = from + (y * columns + x) * channels;
      std::copy(pixel, pixel + used, reinterpret_cast<float*>(&to[y * pitch + left + x]));
    }
  }
}

}  // namespace

// image (B, H, W, C), filter (B or 1, h, w, C), bias (C) or null -> out (B, H', W', C), or (1, H', W', C) summed over B.
extern "C" void correlate(const float* image, const float* filter, const float* bias, float* out, long batch, long height,
                          long width, long channels, long filter_batch, long filter_rows, long filter_columns,
                          long out_rows, long out_columns, long top, long left, long sum_batch, long threads) {
  const long right = std::max(0L, out_columns + filter_columns - 1 - left - width);
  const long pitch = left + width + right;
  const long images = sum_batch ? 1 : batch;
  const long blocks = (channels + LANES - 1) / LANES;
  // Rows are divided, too, where images and channels are too few for all threads.
  const long bands = std::min(out_rows, std::max(1L, 2 * threads / (images * blocks)));
  const long tiles = (out_columns + TILE - 1) / TILE;

#pragma omp parallel num_threads(threads)
  {
    std::vector<Lanes> image_block, filter_block, sums;
#pragma omp for schedule(dynamic)
    for (long task = 0; task < images * blocks * bands; task++) {
      const long band = task % bands, block = task / bands % blocks, first = task / bands / blocks;
      const long channel = block * LANES, used = std::min(long{LANES}, channels - channel);
      const long row_begin = band * out_rows / bands, row_end = (band + 1) * out_rows / bands;
      Lanes start{};
      if (bias) std::copy(bias + channel, bias + channel + used, reinterpret_cast<float*>(&start));
      sums.assign((row_end - row_begin) * out_columns, start);

      for (long b = first; b < (sum_batch ? batch : first + 1); b++) {
        pack(image + b * height * width * channels + channel, height, width, channels, used, left, right, image_block);
        if (b == first || filter_batch > 1) {
          const long offset = filter_batch > 1 ? b * filter_rows * filter_columns * channels : 0;
          pack(filter + offset + channel, filter_rows, filter_columns, channels, used, 0, 0, filter_block);
        }
        for (long y = row_begin; y < row_end; y++) {
          const long i_begin = std::max(0L, top - y), i_end = std::min(filter_rows, height + top - y);
          for (long tile = 0; tile < tiles; tile++) {
            const long x_begin = tile * out_columns / tiles, x_end = (tile + 1) * out_columns / tiles;
            const long j_begin = std::max(0L, left - x_end + 1), j_end = std::min(filter_columns, width + left - x_begin);
            if (i_begin >= i_end || j_begin >= j_end) continue;
            SLIDE[x_end - x_begin - 1](&filter_block[i_begin * filter_columns + j_begin], filter_columns,
                                       &image_block[(y + i_begin - top) * pitch + x_begin + j_begin], pitch,
                                       i_end - i_begin, j_end - j_begin, &sums[(y - row_begin) * out_columns + x_begin]);
          }
        }
      }

      float* to = out + (first * out_rows + row_begin) * out_columns * channels + channel;
      for (size_t pixel = 0; pixel < sums.size(); pixel++) {
        const float* lanes = reinterpret_cast<const float*>(&sums[pixel]);
        std::copy(lanes, lanes + used, to + pixel * channels);
      }
    }
  }
}
