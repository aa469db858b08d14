/* A process on a desktop instead of a board: standard input and output are the serial line. */
#define _POSIX_C_SOURCE 199309L
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../port.h"

const char port_board[] = "a process on this computer";

void port_begin(void) {}

void port_read(uint8_t *bytes, size_t count)
{
    while (count) {
        const ssize_t got = read(STDIN_FILENO, bytes, count);
        if (got <= 0) exit(0); /* the other end is closed */
        bytes += got;
        count -= (size_t)got;
    }
}

void port_write(const uint8_t *bytes, size_t count)
{
    while (count) {
        const ssize_t sent = write(STDOUT_FILENO, bytes, count);
        if (sent <= 0) exit(1);
        bytes += sent;
        count -= (size_t)sent;
    }
}

uint32_t port_time_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}
