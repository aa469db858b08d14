/* From a camera's grey frame and a face box to the pixels that a model wants: edgefer/pipeline/crop.py in integers.
 *
 * The crop is the square around the middle of the box, as wide as the box's longer side. Pixels outside the frame repeat its edge. A
 * larger square is averaged, a smaller one is interpolated: a grey level may differ from Python's by 1.
 */
#include "crop.h"

/* Half of a number; of two whole numbers that are equally near, the even one. */
static int half(int number)
{
    const int below = (number - (number & 1)) / 2;
    return below + (number & 1 & below);
}

static int limited(int value, int end) { return value < 0 ? 0 : value >= end ? end - 1 : value; }

/* How much the source pixel at `at` adds to output pixel `i`, in whole numbers. Their sum is `side`, or 2 * CROP_SIDE. */
static int weight(int i, int at, int side)
{
    if (side > CROP_SIDE) { /* the part of the pixel that lies under the output pixel */
        const int begin = i * side > at * CROP_SIDE ? i * side : at * CROP_SIDE;
        const int end = (i + 1) * side < (at + 1) * CROP_SIDE ? (i + 1) * side : (at + 1) * CROP_SIDE;
        return end > begin ? end - begin : 0;
    }
    const int apart = (2 * i + 1) * side - CROP_SIDE - 2 * CROP_SIDE * at; /* of the middles; a pixel is 2 * CROP_SIDE */
    const int near = 2 * CROP_SIDE - (apart < 0 ? -apart : apart);
    return near > 0 ? near : 0;
}

void crop_face(const uint8_t *frame, int frame_width, int frame_height, int x, int y, int w, int h, uint8_t face[CROP_SIDE * CROP_SIDE])
{
    const int side = w > h ? w : h, left = half(2 * x + w - side), top = half(2 * y + h - side);
    const int outside = left >= frame_width || top >= frame_height || left + side <= 0 || top + side <= 0;
    for (int i = 0; i < CROP_SIDE * CROP_SIDE; i++) {
        const int row = i / CROP_SIDE, column = i % CROP_SIDE;
        uint32_t sum = 0, total = 0;
        for (int v = row * side / CROP_SIDE - 1; v <= (row + 1) * side / CROP_SIDE + 1; v++) {
            for (int u = column * side / CROP_SIDE - 1; u <= (column + 1) * side / CROP_SIDE + 1; u++) {
                const uint32_t share = (uint32_t)(weight(row, v, side) * weight(column, u, side));
                const int at_y = limited(top + limited(v, side), frame_height), at_x = limited(left + limited(u, side), frame_width);
                sum += share * frame[at_y * frame_width + at_x];
                total += share;
            }
        }
        face[i] = (uint8_t)(outside ? 0 : (sum + total / 2) / total);
    }
}
