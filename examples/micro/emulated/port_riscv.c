/* QEMU's board virt with a 32-bit RISC-V processor: a 16550 UART. */
#include "../port.h"

#define UART ((volatile uint8_t *)0x10000000u)
#define STATE UART[5] /* bit 0: a byte has come; bit 5: the next may be sent */

const char port_board[] = "QEMU virt, 32-bit RISC-V";

void port_begin(void) {}

void port_read(uint8_t *bytes, size_t count)
{
    while (count--) {
        while (!(STATE & 1)) {
        }
        *bytes++ = UART[0];
    }
}

void port_write(const uint8_t *bytes, size_t count)
{
    while (count--) {
        while (!(STATE & 0x20)) {
        }
        UART[0] = *bytes++;
    }
}

uint32_t port_time_us(void)
{
    return 0; /* see port_arm.c */
}

/* The processor begins here, at the first byte of its memory. */
__asm__(".section .vectors, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "  la sp, stack_top\n"
        "  j start\n");
