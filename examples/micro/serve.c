/* Firmware: answers face crops over a serial line. 'edgefer micro --port …' is the other end.
 *
 *     request                           answer
 *     '?'                               a line: edgefer 1 MODEL HEIGHT WIDTH CLASSES SHA256 BOARD
 *     'F' pixels[H * W] sum[2]          'S' scores[CLASSES] microseconds[4] sum[2]
 *                                       'E' where the sum is another: send it again
 *
 * Numbers are little-endian; a sum is Fletcher-16 of the pixels, or of scores and microseconds. Other bytes are ignored, so H * W + 2
 * zeros end a request that was cut short.
 */
#include "serve.h"

#include <stdint.h>
#include <string.h>

#include "port.h"

#ifndef MODEL
#define MODEL nano /* or: cc -DMODEL=pico */
#endif

#define QUOTED(text) #text
#define TEXT(text) QUOTED(text)
#include TEXT(MODEL.h)

/* OF(nano, _height) is edgefer_nano_height. */
#define JOINED(model, end) edgefer_##model##end
#define OF(model, end) JOINED(model, end)

enum { PIXELS = OF(MODEL, _height) * OF(MODEL, _width), CLASSES = OF(MODEL, _classes) };

static uint16_t fletcher16(const uint8_t *bytes, size_t count)
{
    uint16_t low = 0, high = 0;
    for (size_t i = 0; i < count; i++) {
        low = (uint16_t)((low + bytes[i]) % 255);
        high = (uint16_t)((high + low) % 255);
    }
    return (uint16_t)(high << 8 | low);
}

static void put(uint8_t *bytes, uint32_t number, int count)
{
    for (int i = 0; i < count; i++) bytes[i] = (uint8_t)(number >> (8 * i));
}

static void say(const char *text)
{
    port_write((const uint8_t *)text, strlen(text));
}

static void say_number(unsigned number)
{
    char digits[12], *end = digits + sizeof digits - 1;
    *end = 0;
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    say(" ");
    say(end);
}

static void answer_who(void)
{
    say("edgefer 1 " TEXT(MODEL));
    say_number(OF(MODEL, _height));
    say_number(OF(MODEL, _width));
    say_number(CLASSES);
    say(" ");
    say(OF(MODEL, _sha256));
    say(" ");
    say(port_board);
    say("\n");
}

static void answer_face(void)
{
    static uint8_t face[PIXELS + 2];
    uint8_t answer[1 + CLASSES + 4 + 2] = {'S'};
    port_read(face, sizeof face);
    if ((face[PIXELS] | face[PIXELS + 1] << 8) != fletcher16(face, PIXELS)) {
        port_write((const uint8_t *)"E", 1);
        return;
    }
    const uint32_t begun = port_time_us();
    OF(MODEL, )(face, answer + 1);
    put(answer + 1 + CLASSES, port_time_us() - begun, 4);
    put(answer + 1 + CLASSES + 4, fletcher16(answer + 1, CLASSES + 4), 2);
    port_write(answer, sizeof answer);
}

void serve(void)
{
    uint8_t request;
    port_read(&request, 1);
    if (request == '?') answer_who();
    if (request == 'F') answer_face();
}
