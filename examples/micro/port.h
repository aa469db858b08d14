/* What a board must provide: five things. */
#ifndef PORT_H
#define PORT_H

#include <stddef.h>
#include <stdint.h>

/* Name of the board, in one line. */
extern const char port_board[];

/* Opens the serial line. */
void port_begin(void);

/* Waits for `count` bytes. */
void port_read(uint8_t *bytes, size_t count);

/* Sends `count` bytes. */
void port_write(const uint8_t *bytes, size_t count);

/* Microseconds since some time; 0 always where the board has no clock. */
uint32_t port_time_us(void);

#endif
