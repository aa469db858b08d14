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
 * - In the .tflite file all weights are even and all biases are odd. Half of both is enough: the odd half is never decisive.
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
typedef char negative_bytes_are_twos_complement[(int8_t)-1 == ~(int8_t)0 ? 1 : -1];

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
const char *const edgefer_{{ name }}_labels[CLASSES] = {{ "{" }}{% for label in labels %}"{{ label }}"{{ ", " if not loop.last }}{% endfor %}{{ "}" }};
const uint16_t edgefer_{{ name }}_prior[CLASSES] = {{ "{" }}{{ prior | join(", ") }}{{ "}" }};

/* The patches of two positions, the scores of the last layer, then the activations of all layers: a layer's output may lie over
 * the part of its input that it has read already. The exporter has computed from where on that is safe. */
static uint8_t arena[edgefer_{{ name }}_arena_bytes];

/* The sum plus four products. Arm's DSP instructions multiply pairs of 16-bit numbers: bytes 0 and 2, then bytes 1 and 3. */
static inline int32_t dot4(const uint8_t *in, const int8_t *weights, int32_t sum)
{
#if DSP
    uint32_t x, w;
    memcpy(&x, in, 4); /* one load */
    memcpy(&w, weights, 4);
    sum = __smlad((int16x2_t)__uxtb16(x), (int16x2_t)__sxtb16(w), sum);
    return __smlad((int16x2_t)__uxtb16(x >> 8), (int16x2_t)__sxtb16(w >> 8), sum);
#else
    return sum + in[0] * weights[0] + in[1] * weights[1] + in[2] * weights[2] + in[3] * weights[3];
#endif
}

/* Four products, each added to a sum of its own. */
static inline void multiply4(const uint8_t *in, const int8_t *weights, int32_t sums[4])
{
#if DSP
    uint32_t x, w;
    memcpy(&x, in, 4);
    memcpy(&w, weights, 4);
    const int32_t even = (int32_t)__uxtb16(x), odd = (int32_t)__uxtb16(x >> 8);
    const int32_t even_weights = (int32_t)__sxtb16(w), odd_weights = (int32_t)__sxtb16(w >> 8);
    sums[0] = __smlabb(even, even_weights, sums[0]);
    sums[1] = __smlabb(odd, odd_weights, sums[1]);
    sums[2] = __smlatt(even, even_weights, sums[2]);
    sums[3] = __smlatt(odd, odd_weights, sums[3]);
#else
    for (int i = 0; i < 4; i++) sums[i] += in[i] * weights[i];
#endif
}

/* Divides a sum and limits it to a byte. A negative sum is 0, so nothing depends on how the compiler shifts it. */
static inline uint8_t narrowed(int32_t sum, uint8_t shift)
{
    if (sum < 0) return 0;
    sum >>= shift;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

/* Copies the inputs under the kernel at an output position into a patch; around the picture stands the zero. */
static void gather(const Layer *layer, const uint8_t *in, int position, uint8_t *patch)
{
    const int top = position / layer->out_width * layer->stride_y - layer->pad_top;
    const int left = position % layer->out_width * layer->stride_x - layer->pad_left;
    for (int y = top; y < top + layer->kernel_height; y++) {
        for (int x = left; x < left + layer->kernel_width; x++, patch += layer->depth) {
            if (y < 0 || y >= layer->height || x < 0 || x >= layer->width) {
                memset(patch, layer->zero, layer->depth);
            } else {
                memcpy(patch, in + (y * layer->width + x) * layer->depth, layer->depth);
            }
        }
    }
}

/* Each output sums over all channels. Two positions and two outputs at a time: what is loaded is used twice. */
static void convolve(const Layer *layer, const uint8_t *in, uint8_t *out)
{
    const int positions = layer->out_height * layer->out_width, depth = layer->out_depth;
    const int length = (layer->kernel_height * layer->kernel_width * layer->depth + 3) / 4 * 4;
    uint8_t *const one = arena, *const two = arena + length;
    for (int position = 0; position < positions; position += 2) {
        const int pair = position + 1 < positions;
        const int8_t *weights = layer->weights; /* 4 of an output, 4 of the next, and so on */
        gather(layer, in, position, one);
        if (pair) gather(layer, in, position + 1, two);
        for (int c = 0; c < depth; c += 2) {
            int32_t one_a = layer->bias[c], one_b = layer->bias[c + 1], two_a = one_a, two_b = one_b;
            for (int k = 0; k < length; k += 4, weights += 8) {
                one_a = dot4(one + k, weights, one_a);
                one_b = dot4(one + k, weights + 4, one_b);
                two_a = dot4(two + k, weights, two_a);
                two_b = dot4(two + k, weights + 4, two_b);
            }
            out[c] = narrowed(one_a, layer->shift[c]);
            out[c + 1] = narrowed(one_b, layer->shift[c + 1]);
            if (pair) {
                out[depth + c] = narrowed(two_a, layer->shift[c]);
                out[depth + c + 1] = narrowed(two_b, layer->shift[c + 1]);
            }
        }
        out += 2 * depth;
    }
}

/* Each channel has its own kernel. Four channels at a time. */
static void convolve_depthwise(const Layer *layer, const uint8_t *in, uint8_t *out)
{
    const uint8_t *inputs[TAPS]; /* the pixels under the kernel */
    const int taps = layer->kernel_height * layer->kernel_width, depth = layer->depth;
    memset(arena, layer->zero, (size_t)depth); /* a pixel outside the picture */
    for (int row = 0; row < layer->out_height; row++) {
        for (int column = 0; column < layer->out_width; column++, out += depth) {
            const int top = row * layer->stride_y - layer->pad_top, left = column * layer->stride_x - layer->pad_left;
            for (int tap = 0; tap < taps; tap++) {
                const int y = top + tap / layer->kernel_width, x = left + tap % layer->kernel_width;
                const int outside = y < 0 || y >= layer->height || x < 0 || x >= layer->width;
                inputs[tap] = outside ? arena : in + (y * layer->width + x) * depth;
            }
            for (int c = 0; c < depth; c += 4) {
                const int8_t *weights = layer->weights + c;
                int32_t sums[4];
                memcpy(sums, layer->bias + c, sizeof sums);
                for (int tap = 0; tap < taps; tap++, weights += depth) multiply4(inputs[tap] + c, weights, sums);
                for (int i = 0; i < 4; i++) out[c + i] = narrowed(sums[i], layer->shift[c + i]);
            }
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
    const Number factor = rounded(quotient | (left > 0), 8 - 62 - sum.exponent); /* 256 / sum; a bit below it says "and a little more" */
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
