/* Facial expressions by the model "{{ name }}", in C99 without a library, memory allocation or floating point.
 *
 * Written by 'make convert RECIPE=c' from the file {{ file }}; the scores are the same to the byte.
 *
 *     cc -O2 -DEDGEFER_MAIN {{ name }}.c && ./a.out          checks the golden pictures at the end of this file
 *
 * The network is a chain of layers. An activation is a byte, 0..255, and is stored row by row, the channels of a pixel side by side.
 * A layer multiplies the bytes under its kernel by weights, sums the products in 32 bits, and divides the sum by a power of two:
 *
 *     out = (sum of weight * in + bias) >> shift, at least 0, at most 255
 *
 * That is the int8 arithmetic of TensorFlow Lite, rewritten once by the exporter (convert/c_export.py), without a rounding error:
 * - In the .tflite file all weights are even and all biases are odd. Halves of both are enough: the odd bit only keeps a sum from being
 *   exactly half a step, where runtimes round differently.
 * - "Rounded to nearest" is "half a step more, then rounded down". The half step is in the bias.
 * - Zero points (what the byte of a zero is) are in the bias too.
 * - Channels are padded to a multiple of 4 with weights of zero.
 */
#include "{{ header }}"

#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__ARMEL__) /* little-endian Arm with DSP instructions, such as a Cortex-M4, M7, M33 or M55 */
#define DSP 1
#include <arm_acle.h>
#else
#define DSP 0
#endif

/* Assumptions, checked by the compiler: the size of a negative array is an error. */
typedef char a_byte_has_8_bits[(unsigned char)-1 == 255 ? 1 : -1];
typedef char int_has_32_bits[sizeof(int) == 4 ? 1 : -1];
typedef char a_negative_number_is_shifted_with_its_sign[(-1 >> 1) == -1 ? 1 : -1];

/* The inner loops are functions of their own, so that compilers keep their variables in registers. */
#if defined(__GNUC__)
#define APART __attribute__((noinline))
#else
#define APART
#endif

typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const uint8_t *shift;
    uint32_t to; /* where its output begins in the arena */
    uint16_t height, width, depth;
    uint16_t out_height, out_width, out_depth;
    uint8_t depthwise; /* 1: each channel has a kernel of its own; 0: each output sums over all channels */
    uint8_t kernel_height, kernel_width, stride_y, stride_x, pad_top, pad_left;
    uint8_t zero; /* the byte of a zero, which stands around the picture */
} Layer;

enum { LAYERS = {{ layers | length }}, TAPS = {{ taps }}, CLASSES = {{ labels | length }} };

typedef char the_sum_of_exponentials_has_64_bits[CLASSES < 512 ? 1 : -1]; /* see softmax() */

{% for layer in layers %}
/* {{ loop.index0 }}: {{ layer.name }}, {{ layer.macs }} multiply-accumulates */
static const int8_t weights_{{ loop.index0 }}[] = {
{{ layer.weights | numbers }}};
static const int32_t bias_{{ loop.index0 }}[] = {
{{ layer.bias | numbers }}};
static const uint8_t shift_{{ loop.index0 }}[] = {
{{ layer.shift | numbers }}};

{% endfor %}
static const Layer layers[LAYERS] = {
    /* weights, bias, shift, to, in (height, width, depth), out (height, width, depth), depthwise, kernel, stride, padding (top, left), zero */
{% for layer in layers %}
    {weights_{{ loop.index0 }}, bias_{{ loop.index0 }}, shift_{{ loop.index0 }}, {{ layer.to }}, {{ layer.shape | join(", ") }}, {{ layer.out_shape | join(", ") }}, {{ layer.depthwise | int }}, {{ layer.kernel | join(", ") }}, {{ layer.stride | join(", ") }}, {{ layer.pad | join(", ") }}, {{ layer.zero }}},
{% endfor %}
};

/* e to the power of minus k steps of the last layer, in units of 2^-54: the float32 values that TensorFlow Lite has in its table. */
static const uint64_t exponentials[256] = {
{{ exponentials | numbers("ull") }}};

const char edgefer_{{ name }}_sha256[65] = "{{ sha256 }}";
const char *const edgefer_{{ name }}_labels[CLASSES] = {{ "{" }}{{ labels | map("quoted") | join(", ") }}{{ "}" }};
const uint16_t edgefer_{{ name }}_prior[CLASSES] = {{ "{" }}{{ prior | join(", ") }}{{ "}" }};

/* The patches of two positions, the scores of the last layer, then the activations of all layers: a layer's output may lie over
 * the part of its input that it has read already. The exporter has computed from where on that is safe. */
static uint8_t arena[edgefer_{{ name }}_arena_bytes];

#if DSP
/* Arm's DSP instructions multiply pairs of 16-bit numbers. Four bytes become two pairs: bytes 0 and 2, and bytes 1 and 3. */
#define LOAD(word, bytes) memcpy(&(word), bytes, 4) /* one instruction */
#define EVEN(word) ((int16x2_t)__uxtb16(word))
#define ODD(word) ((int16x2_t)__uxtb16((word) >> 8))
#define EVEN_SIGNED(word) ((int16x2_t)__sxtb16(word))
#define ODD_SIGNED(word) ((int16x2_t)__sxtb16((word) >> 8))
#define LIMITED(sum) __usat(sum, 8)
#else
#define DOT4(x, w) ((x)[0] * (w)[0] + (x)[1] * (w)[1] + (x)[2] * (w)[2] + (x)[3] * (w)[3])
#define LIMITED(sum) ((sum) < 0 ? 0 : (sum) > 255 ? 255 : (sum))
#endif

/* Divides a sum and limits it to a byte. */
static inline uint8_t narrowed(int32_t sum, uint8_t shift)
{
    sum >>= shift;
    return (uint8_t)LIMITED(sum);
}

/* All outputs of two positions, from the inputs under the kernel at each. Two outputs at a time: what is loaded is used twice. The
 * weights are 4 of an output, 4 of the next, and so on. */
static APART void multiply(const Layer *layer, const uint8_t *one, const uint8_t *two, int length, uint8_t *out, uint8_t *out_next)
{
    const int8_t *weights = layer->weights;
    const int32_t *bias = layer->bias, *const bias_end = bias + layer->out_depth;
    const uint8_t *shift = layer->shift;
    for (; bias < bias_end; bias += 2, shift += 2, out += 2, out_next += 2) {
        int32_t out_a = bias[0], out_b = bias[1], next_a = out_a, next_b = out_b;
        for (const uint8_t *in = one, *in_next = two, *end = one + length; in < end; in += 4, in_next += 4, weights += 8) {
#if DSP
            uint32_t x, y, w;
            LOAD(x, in);
            LOAD(y, in_next);
            const int16x2_t x_even = EVEN(x), x_odd = ODD(x), y_even = EVEN(y), y_odd = ODD(y);
            LOAD(w, weights);
            out_a = __smlad(x_odd, ODD_SIGNED(w), __smlad(x_even, EVEN_SIGNED(w), out_a));
            next_a = __smlad(y_odd, ODD_SIGNED(w), __smlad(y_even, EVEN_SIGNED(w), next_a));
            LOAD(w, weights + 4);
            out_b = __smlad(x_odd, ODD_SIGNED(w), __smlad(x_even, EVEN_SIGNED(w), out_b));
            next_b = __smlad(y_odd, ODD_SIGNED(w), __smlad(y_even, EVEN_SIGNED(w), next_b));
#else
            out_a += DOT4(in, weights);
            out_b += DOT4(in, weights + 4);
            next_a += DOT4(in_next, weights);
            next_b += DOT4(in_next, weights + 4);
#endif
        }
        out[0] = narrowed(out_a, shift[0]);
        out[1] = narrowed(out_b, shift[1]);
        out_next[0] = narrowed(next_a, shift[0]);
        out_next[1] = narrowed(next_b, shift[1]);
    }
}

/* All channels of one position of a depthwise layer, from the pixels under its kernel. Four channels at a time. */
static APART void multiply_depthwise(const Layer *layer, const uint8_t *const *pixels, int taps, uint8_t *out)
{
    const int depth = layer->depth;
    const uint8_t *const shift = layer->shift;
    for (int channel = 0; channel < depth; channel += 4) {
        const int8_t *weights = layer->weights + channel;
        const int32_t *const bias = layer->bias + channel;
        int32_t a = bias[0], b = bias[1], c = bias[2], d = bias[3];
        for (int tap = 0; tap < taps; tap++, weights += depth) {
            const uint8_t *const in = pixels[tap] + channel;
#if DSP
            uint32_t x, w;
            LOAD(x, in);
            LOAD(w, weights);
            a = __smlabb(EVEN(x), EVEN_SIGNED(w), a);
            b = __smlabb(ODD(x), ODD_SIGNED(w), b);
            c = __smlatt(EVEN(x), EVEN_SIGNED(w), c);
            d = __smlatt(ODD(x), ODD_SIGNED(w), d);
#else
            a += in[0] * weights[0];
            b += in[1] * weights[1];
            c += in[2] * weights[2];
            d += in[3] * weights[3];
#endif
        }
        out[channel] = narrowed(a, shift[channel]);
        out[channel + 1] = narrowed(b, shift[channel + 1]);
        out[channel + 2] = narrowed(c, shift[channel + 2]);
        out[channel + 3] = narrowed(d, shift[channel + 3]);
    }
}

/* Copies the inputs under the kernel at an output position into a patch; around the picture stands the zero. */
static void gather(const Layer *layer, const uint8_t *in, int position, uint8_t *patch)
{
    const int top = position / layer->out_width * layer->stride_y - layer->pad_top;
    const int left = position % layer->out_width * layer->stride_x - layer->pad_left;
    const int bytes = layer->kernel_width * layer->depth; /* of a row of the kernel */
    for (int y = top; y < top + layer->kernel_height; y++, patch += bytes) {
        if (y < 0 || y >= layer->height) {
            memset(patch, layer->zero, (size_t)bytes);
        } else if (left >= 0 && left + layer->kernel_width <= layer->width) {
            memcpy(patch, in + (y * layer->width + left) * layer->depth, (size_t)bytes);
        } else {
            for (int i = 0, x = left; i < bytes; i += layer->depth, x++) {
                if (x < 0 || x >= layer->width) {
                    memset(patch + i, layer->zero, layer->depth);
                } else {
                    memcpy(patch + i, in + (y * layer->width + x) * layer->depth, layer->depth);
                }
            }
        }
    }
}

/* A layer whose outputs sum over all channels. A kernel of one pixel needs no patches: its inputs lie side by side. */
static void convolve(const Layer *layer, const uint8_t *in, uint8_t *out)
{
    const int positions = layer->out_height * layer->out_width, depth = layer->out_depth, strides = layer->stride_y * layer->stride_x;
    const int inputs = layer->kernel_height * layer->kernel_width * layer->depth, length = (inputs + 3) / 4 * 4;
    const int pointwise = inputs == layer->depth && inputs == length && strides == 1;
    for (int position = 0; position < positions; position += 2, out += 2 * depth) {
        const int last = position + 1 == positions; /* without a second one: then the first is computed twice */
        const uint8_t *one = arena, *two = last ? arena : arena + length;
        if (pointwise) {
            one = in + position * length;
            two = last ? one : one + length;
        } else {
            gather(layer, in, position, arena);
            if (!last) gather(layer, in, position + 1, arena + length);
        }
        multiply(layer, one, two, length, out, last ? out : out + depth);
    }
}

/* A layer that has a kernel for each channel. */
static void convolve_depthwise(const Layer *layer, const uint8_t *in, uint8_t *out)
{
    const uint8_t *pixels[TAPS]; /* where the pixels under the kernel are */
    memset(arena, layer->zero, layer->depth); /* a pixel outside the picture */
    for (int row = 0; row < layer->out_height; row++) {
        for (int column = 0; column < layer->out_width; column++, out += layer->depth) {
            const int top = row * layer->stride_y - layer->pad_top, left = column * layer->stride_x - layer->pad_left;
            int taps = 0;
            for (int y = top; y < top + layer->kernel_height; y++) {
                for (int x = left; x < left + layer->kernel_width; x++) {
                    const int outside = y < 0 || y >= layer->height || x < 0 || x >= layer->width;
                    pixels[taps++] = outside ? arena : in + (y * layer->width + x) * layer->depth;
                }
            }
            multiply_depthwise(layer, pixels, taps, out);
        }
    }
}

/* A number as float32 has it: bits * 2^exponent, bits below 2^24. */
typedef struct {
    uint64_t bits;
    int exponent;
} Number;

/* The nearest number to bits * 2^exponent; of two that are equally near, the even one. */
static Number rounded(uint64_t bits, int exponent)
{
    Number number;
    int drop = 0;
    while (bits >> drop >> 24) drop++;
    if (drop) bits = (bits + ((uint64_t)1 << (drop - 1)) - 1 + (bits >> drop & 1)) >> drop;
    number.bits = bits;
    number.exponent = exponent + drop;
    return number;
}

/* Softmax: each score's share of the sum of all exponentials. TensorFlow Lite computes it in float32, step by step as here: add the
 * exponentials, take 256 / sum, multiply, add a half, round down. Here each step is done in integers and rounded as float32 is. */
static void softmax(const uint8_t logits[CLASSES], uint8_t scores[CLASSES])
{
    uint8_t largest = 0;
    uint64_t total = 0; /* in units of 2^-54 */
    for (int i = 0; i < CLASSES; i++) {
        if (logits[i] > largest) largest = logits[i];
    }
    for (int i = 0; i < CLASSES; i++) {
        const Number partial = rounded(total + exponentials[largest - logits[i]], 0);
        total = partial.bits << partial.exponent;
    }
    const Number sum = rounded(total, -54);
    const uint64_t quotient = ((uint64_t)1 << 62) / sum.bits, left = ((uint64_t)1 << 62) % sum.bits;
    const Number factor = rounded(quotient | (left > 0), 8 - 62 - sum.exponent); /* 256 / sum; its lowest bit stands for the remainder */
    for (int i = 0; i < CLASSES; i++) {
        const Number exponential = rounded(exponentials[largest - logits[i]], -54);
        const Number share = rounded(exponential.bits * factor.bits, exponential.exponent + factor.exponent);
        const int fraction = -share.exponent; /* its bits behind the point */
        scores[i] = 0;
        if (fraction < 40) { /* else it is below 2^-16 */
            const Number more = rounded(share.bits + ((uint64_t)1 << (fraction - 1)), -fraction);
            const uint64_t whole = more.bits >> -more.exponent;
            scores[i] = (uint8_t)(whole > 255 ? 255 : whole);
        }
    }
}

void edgefer_{{ name }}(const uint8_t pixels[{{ height }} * {{ width }}], uint8_t scores[CLASSES])
{
    const uint8_t *in = pixels;
    for (int i = 0; i < LAYERS; i++) {
        if (layers[i].depthwise) {
            convolve_depthwise(&layers[i], in, arena + layers[i].to);
        } else {
            convolve(&layers[i], in, arena + layers[i].to);
        }
        in = arena + layers[i].to;
    }
    softmax(in, scores);
}

#ifdef EDGEFER_MAIN
#include <stdio.h>

/* Drawn faces, and the scores that TensorFlow Lite gives them. */
static const uint8_t golden_pixels[{{ golden | length }}][{{ height }} * {{ width }}] = {
{% for picture in golden %}
    {
{{ picture | numbers }}},
{% endfor %}
};
static const uint8_t golden_scores[{{ golden | length }}][CLASSES] = {
{% for scores in golden_scores %}
    {{ "{" }}{{ scores | join(", ") }}{{ "}" }},
{% endfor %}
};

int main(void)
{
    int wrong = 0;
    for (int i = 0; i < {{ golden | length }}; i++) {
        uint8_t scores[CLASSES];
        edgefer_{{ name }}(golden_pixels[i], scores);
        wrong += memcmp(scores, golden_scores[i], CLASSES) != 0;
    }
    printf("{{ name }}: %d of {{ golden | length }} golden pictures have the expected scores\n", {{ golden | length }} - wrong);
    return wrong > 0;
}
#endif
