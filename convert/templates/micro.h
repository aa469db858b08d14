/* Facial expressions by the model "{{ name }}", for any processor: see {{ name }}.c. Written by 'make convert RECIPE=c' from the file
 * {{ file }}. */
#ifndef EDGEFER_{{ NAME }}_H
#define EDGEFER_{{ NAME }}_H

#include <stdint.h>

enum {
    edgefer_{{ name }}_height = {{ height }},
    edgefer_{{ name }}_width = {{ width }},
    edgefer_{{ name }}_classes = {{ labels | length }},

    /* The memory that a call needs, beside some 500 bytes of stack. It is static: two calls at the same time are an error. */
    edgefer_{{ name }}_arena_bytes = {{ arena_bytes }},

    /* Weights and tables in flash, beside some 2 kB of code. */
    edgefer_{{ name }}_const_bytes = {{ const_bytes }},

    /* Multiply-accumulates of a call. */
    edgefer_{{ name }}_macs = {{ macs }},

    /* Where the highest score is below this, the answer is "uncertain": {{ uncertain_below }} of 256, by the model's card. */
    edgefer_{{ name }}_uncertain_below = {{ uncertain_byte }}
};

/* sha256 of the .tflite file that gives the same scores. */
extern const char edgefer_{{ name }}_sha256[65];

/* The expressions, in the order of the scores. */
extern const char *const edgefer_{{ name }}_labels[{{ labels | length }}];

/* How often the scores assume each expression to be, in 1000ths; 0 where that is unknown. */
extern const uint16_t edgefer_{{ name }}_prior[{{ labels | length }}];

/* Scores a face: rows of grey pixels 0..255 in, probabilities in 256ths out. */
void edgefer_{{ name }}(const uint8_t pixels[{{ height }} * {{ width }}], uint8_t scores[{{ labels | length }}]);

#endif
