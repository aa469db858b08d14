/* Scores the pictures of standard input, one after the other; the scores go to standard output. */
#include <stdio.h>

#define QUOTED(text) #text
#define TEXT(text) QUOTED(text)
#include TEXT(MODEL.h)
#define JOINED(model, end) edgefer_##model##end
#define OF(model, end) JOINED(model, end)

int main(void)
{
    uint8_t pixels[OF(MODEL, _height) * OF(MODEL, _width)], scores[OF(MODEL, _classes)];
    while (fread(pixels, sizeof pixels, 1, stdin) == 1) {
        OF(MODEL, )(pixels, scores);
        fwrite(scores, sizeof scores, 1, stdout);
    }
    return 0;
}
