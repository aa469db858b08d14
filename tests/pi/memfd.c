/* Buffers for libcamera where the kernel has neither /dev/udmabuf nor /dev/dma_heap (a container, CI): plain memory files.
 *
 * Preloaded. The two devices open as /dev/null, and the ioctls that make and keep a dma-buf are answered with a memfd.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *instead(const char *path) {
    int buffers = path && (!strcmp(path, "/dev/udmabuf") || !strncmp(path, "/dev/dma_heap/", 14));
    return buffers ? "/dev/null" : path;
}

#define MODE(last)                                  \
    mode_t mode = 0;                                \
    if (flags & (O_CREAT | O_TMPFILE)) {            \
        va_list rest;                               \
        va_start(rest, last);                       \
        mode = va_arg(rest, mode_t);                \
        va_end(rest);                               \
    }
#define OPEN(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                \
        MODE(flags)                                                                             \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(instead(path), flags, mode); \
    }
#define OPENAT(name)                                                                            \
    int name(int folder, const char *path, int flags, ...) {                                    \
        MODE(flags)                                                                             \
        return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name))(folder, instead(path), flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int ioctl(int file, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    switch ((unsigned)request) {
    case (unsigned)UDMABUF_CREATE:
        return fcntl(((struct udmabuf_create *)argument)->memfd, F_DUPFD_CLOEXEC, 0);
    case (unsigned)DMA_HEAP_IOCTL_ALLOC: {
        struct dma_heap_allocation_data *wanted = argument;
        int memory = memfd_create("buffer", MFD_CLOEXEC);
        if (memory < 0 || ftruncate(memory, wanted->len)) return -1;
        wanted->fd = memory;
        return 0;
    }
    case (unsigned)DMA_BUF_IOCTL_SYNC:
    case (unsigned)DMA_BUF_SET_NAME_A:
    case (unsigned)DMA_BUF_SET_NAME_B:
        return 0;
    }
    return ((int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl"))(file, request, argument);
}
