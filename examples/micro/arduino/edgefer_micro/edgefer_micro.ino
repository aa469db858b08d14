/* Firmware for boards of the Arduino IDE, such as an ESP32-S3. Copy into this folder: port.h, serve.h and serve.c of examples/micro,
 * and nano.c and nano.h, which 'make convert MODEL=nano RECIPE=c' wrote. Another model: change MODEL in serve.c. */
extern "C" {
#include "port.h"
#include "serve.h"

#ifdef ARDUINO_BOARD
const char port_board[] = ARDUINO_BOARD;
#else
const char port_board[] = "an Arduino board";
#endif

void port_begin(void) { Serial.begin(115200); }

void port_read(uint8_t *bytes, size_t count)
{
    while (count) {
        const int byte = Serial.read();
        if (byte < 0) {
            yield(); /* nothing has come: other tasks of the board may run */
            continue;
        }
        *bytes++ = (uint8_t)byte;
        count--;
    }
}

void port_write(const uint8_t *bytes, size_t count) { Serial.write(bytes, count); }

uint32_t port_time_us(void) { return micros(); }
}

void setup() { port_begin(); }

void loop() { serve(); }
