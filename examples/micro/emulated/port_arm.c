/* QEMU's boards mps2-an505 (Cortex-M33) and mps3-an547 (Cortex-M55): vectors, a CMSDK UART. */
#include "../port.h"

#ifdef AN547
#define UART 0x59303000u
const char port_board[] = "QEMU mps3-an547, Cortex-M55";
#else
#define UART 0x50200000u
const char port_board[] = "QEMU mps2-an505, Cortex-M33";
#endif
#define DATA (*(volatile uint32_t *)UART)
#define STATE (*(volatile uint32_t *)(UART + 4))   /* bit 0: the last byte is not sent yet; bit 1: a byte has come */
#define CONTROL (*(volatile uint32_t *)(UART + 8)) /* bit 0: send; bit 1: receive */
#define DIVIDER (*(volatile uint32_t *)(UART + 16))

extern uint32_t stack_top;
void start(void);

/* The first two words of the flash: the stack, and where to begin. Nothing here is interrupted. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*begin)(void);
} vectors = {&stack_top, start};

void port_begin(void)
{
    DIVIDER = 16;
    CONTROL = 3;
}

void port_read(uint8_t *bytes, size_t count)
{
    while (count--) {
        while (!(STATE & 2)) {
        }
        *bytes++ = (uint8_t)DATA;
    }
}

void port_write(const uint8_t *bytes, size_t count)
{
    while (count--) {
        while (STATE & 1) {
        }
        DATA = *bytes++;
    }
}

uint32_t port_time_us(void)
{
    return 0; /* an emulated second says nothing about a real one: instructions are counted instead, see docs/micro.md */
}
