// Operations on 8-bit RGB images of shape (H, W, 3), each with the bits of Pillow's own.
//
// Compiled without contraction of products and sums, because Pillow's binaries round between them.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>

namespace {

using u8 = std::uint8_t;
typedef double Color __attribute__((vector_size(32)));  // red, green, blue and nothing
typedef float Stored __attribute__((vector_size(16)));

inline void store(u8* pixel, const Color& color) {
    typedef std::int32_t Integers __attribute__((vector_size(16)));
    const Integers black = {}, white = black + 255, values = __builtin_convertvector(color, Integers);
    const Integers raised = values < black ? black : values, bounded = raised > white ? white : raised;
    for (int c = 0; c < 3; ++c) pixel[c] = u8(bounded[c]);
}

// An image whose outermost pixels go on for two more.
class Extended {
  public:
    Extended(const u8* pixels, long height, long width)
        : height(height), width(width), stride(width + 4), colors(new Stored[(height + 4) * stride]) {
        for (long y = 0; y < height + 4; ++y) {
            const u8* pixel = pixels + 3 * width * (y < 2 ? 0 : y - 2 >= height ? height - 1 : y - 2);
            Stored* row = &colors[y * stride + 2];
            for (long x = 0; x < width; ++x, pixel += 3) {
                row[x] = Stored{float(pixel[0]), float(pixel[1]), float(pixel[2]), 0.0f};
            }
            row[-2] = row[-1] = row[0];
            row[width] = row[width + 1] = row[width - 1];
        }
    }

    const Stored* at(long x, long y) const { return &colors[(y + 2) * stride + x + 2]; }

    const long height, width, stride;

  private:
    const std::unique_ptr<Stored[]> colors;
};

inline Color color(const Stored& stored) { return __builtin_convertvector(stored, Color); }

struct Bilinear {
    static Color between(const Color& a, const Color& b, double t) { return a + (b - a) * t; }

    static Color across(const Stored* at, double t) { return t == 0.0 ? color(*at) : between(color(at[0]), color(at[1]), t); }

    static Color value(const Stored* at, long stride, double tx, double ty) {
        const Color a = across(at, tx);
        return ty == 0.0 ? a : between(a, across(at + stride, tx), ty);
    }
};

struct Bicubic {
    // The cubic through b (t = 0) and c (t = 1) with the slopes (c - a) and (d - b).
    static Color between(const Color& a, const Color& b, const Color& c, const Color& d, double t) {
        const Color p1 = b, p2 = c - a, p3 = 2.0 * (a - b) + c - d, p4 = d - c + b - a;
        return p1 + t * (p2 + t * (p3 + t * p4));
    }

    static Color across(const Stored* at, double t) {
        return t == 0.0 ? color(*at) : between(color(at[-1]), color(at[0]), color(at[1]), color(at[2]), t);
    }

    static Color value(const Stored* at, long stride, double tx, double ty) {
        const Color b = across(at, tx);
        if (ty == 0.0) return b;
        return between(across(at - stride, tx), b, across(at + stride, tx), across(at + 2 * stride, tx), ty);
    }
};

template <class Filter>
void affine(const Extended& in, const double* m, const u8* fill, u8* out) {
    for (long y = 0; y < in.height; ++y) {
        for (long x = 0; x < in.width; ++x, out += 3) {
            double from_x = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2];
            double from_y = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            if (!(from_x >= 0.0 && from_x < in.width && from_y >= 0.0 && from_y < in.height)) {
                std::memcpy(out, fill, 3);
                continue;
            }
            from_x -= 0.5, from_y -= 0.5;
            const double left = std::floor(from_x), top = std::floor(from_y);
            store(out, Filter::value(in.at(long(left), long(top)), in.stride, from_x - left, from_y - top));
        }
    }
}

inline u8 gray(const u8* pixel) { return (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16; }

inline u8 blended(u8 from, u8 to, float share) {
    const float value = float(from) + share * float(int(to) - int(from));
    return value <= 0.0f ? 0 : value >= 255.0f ? 255 : u8(value);
}

}  // namespace

extern "C" {

// Where an output pixel's center comes from: x = m0 x + m1 y + m2, y = m3 x + m4 y + m5; `fill` where that is outside.
void transform_affine(const u8* in, u8* out, long height, long width, const double* matrix, const u8* fill, long cubic) {
    const Extended image(in, height, width);
    cubic ? affine<Bicubic>(image, matrix, fill, out) : affine<Bilinear>(image, matrix, fill, out);
}

// table: (3, 256).
void look_up(const u8* in, u8* out, long pixels, const u8* table) {
    for (long i = 0; i < pixels; ++i, in += 3, out += 3) {
        out[0] = table[in[0]], out[1] = table[256 + in[1]], out[2] = table[512 + in[2]];
    }
}

// counts: (3, 256).
void count_values(const u8* in, long pixels, std::int64_t* counts) {
    std::uint32_t even[768] = {}, odd[768] = {};  // two, because an increment waits for the one before
    for (long i = 0; i < pixels; ++i, in += 3) {
        std::uint32_t* table = i & 1 ? odd : even;
        ++table[in[0]], ++table[256 + in[1]], ++table[512 + in[2]];
    }
    for (int i = 0; i < 768; ++i) counts[i] = std::int64_t(even[i]) + odd[i];
}

std::int64_t sum_gray(const u8* in, long pixels) {
    std::int64_t sum = 0;
    for (long i = 0; i < pixels; ++i) sum += gray(in + 3 * i);
    return sum;
}

// From gray (share 0) over the image (share 1) to more color.
void blend_gray(const u8* in, u8* out, long pixels, float share) {
    for (long i = 0; i < pixels; ++i, in += 3, out += 3) {
        const u8 value = gray(in);
        for (int c = 0; c < 3; ++c) out[c] = blended(value, in[c], share);
    }
}

// From the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13 (share 0) over the image (share 1) to a sharper one. The
// outermost pixels are not smoothed.
void blend_smooth(const u8* in, u8* out, long height, long width, float share) {
    const long stride = 3 * width;
    std::memcpy(out, in, height * stride);
    for (long y = 1; y + 1 < height; ++y) {
        const u8 *above = in + (y - 1) * stride, *row = above + stride, *below = row + stride;
        u8* to = out + y * stride;
        for (long i = 3; i + 3 < stride; ++i) {
            const int sum = above[i - 3] + above[i] + above[i + 3] + row[i - 3] + 5 * row[i] + row[i + 3] +
                            below[i - 3] + below[i] + below[i + 3];
            to[i] = blended(u8((2 * sum + 13) / 26), row[i], share);
        }
    }
}

}  // extern "C"
