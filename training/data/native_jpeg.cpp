// Rectangles of JPEG files, decoded without the rest of the image.

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include <jpeglib.h>

namespace {

// Upsampled colors depend on their neighbors, so that more than the rectangle is decoded, of which this much is dropped.
constexpr JDIMENSION MARGIN = 4;

struct Errors {
    jpeg_error_mgr manager;  // the first member: libjpeg knows no more of it
    std::jmp_buf give_up;
};

void give_up(j_common_ptr decoder) { std::longjmp(reinterpret_cast<Errors*>(decoder->err)->give_up, 1); }

void give_up_at_warnings(j_common_ptr decoder, int level) {
    if (level < 0) give_up(decoder);
}

}  // namespace

extern "C" {

// Decode rows [top, top + height) and columns [left, left + width) to (height, width, 3); `row` has room for
// 3 * (image width) bytes. Returns 0, or 1 for a file that is not entirely in order or not of this size.
long decode_rectangle(const unsigned char* file, long size, long image_height, long image_width, long top, long left,
                      long height, long width, unsigned char* row, unsigned char* out) {
    jpeg_decompress_struct decoder;
    Errors errors;
    decoder.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = give_up;
    errors.manager.emit_message = give_up_at_warnings;
    if (setjmp(errors.give_up)) {
        jpeg_destroy_decompress(&decoder);
        return 1;
    }
    jpeg_create_decompress(&decoder);
    jpeg_mem_src(&decoder, const_cast<unsigned char*>(file), static_cast<unsigned long>(size));
    jpeg_read_header(&decoder, TRUE);
    if (long(decoder.image_height) != image_height || long(decoder.image_width) != image_width) give_up(j_common_ptr(&decoder));
    decoder.out_color_space = JCS_RGB;
    jpeg_start_decompress(&decoder);
    JDIMENSION first = left > long(MARGIN) ? left - MARGIN : 0;
    JDIMENSION count = left + width + MARGIN < image_width ? left + width + MARGIN - first : image_width - first;
    if (count < decoder.output_width) jpeg_crop_scanline(&decoder, &first, &count);
    const long skipped = top > long(MARGIN) ? top - MARGIN : 0;
    if (skipped) jpeg_skip_scanlines(&decoder, JDIMENSION(skipped));
    for (long y = skipped; y < top + height; ++y) {
        jpeg_read_scanlines(&decoder, &row, 1);
        if (y >= top) {
            std::memcpy(out, row + 3 * (left - first), 3 * width);
            out += 3 * width;
        }
    }
    jpeg_destroy_decompress(&decoder);
    return 0;
}

}  // extern "C"
