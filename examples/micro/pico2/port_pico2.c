/* Raspberry Pi Pico 2: the USB port is the serial line. */
#include <pico/stdio_usb.h>
#include <pico/stdlib.h>

#include "../port.h"

#ifdef __riscv
const char port_board[] = "Raspberry Pi Pico 2, RISC-V";
#else
const char port_board[] = "Raspberry Pi Pico 2";
#endif

void port_begin(void)
{
    stdio_init_all();
    stdio_set_translate_crlf(&stdio_usb, false); /* bytes, not text */
}

void port_read(uint8_t *bytes, size_t count)
{
    while (count) {
        const int byte = getchar_timeout_us(1000000);
        if (byte < 0) continue; /* nothing within a second */
        *bytes++ = (uint8_t)byte;
        count--;
    }
}

void port_write(const uint8_t *bytes, size_t count)
{
    while (count--) putchar_raw(*bytes++);
    stdio_flush();
}

uint32_t port_time_us(void)
{
    return time_us_32();
}
