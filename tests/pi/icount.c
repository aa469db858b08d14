/* A plugin of QEMU 6 to 8: how many instructions of the emulated processor were executed up to each mark.
 *
 * A mark is the system call getpgid(MARK), which fails and does nothing else. Each is a line in the file given as out=FILE: the
 * instructions executed since the start. A program without a system has no calls: for one without marks, its end is the mark.
 * Counted are whole blocks as they begin, so a figure is the same in every run.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MARK 0x5fe00000
#define GETPGID 155 /* aarch64's number */
#define EXPORT __attribute__((visibility("default")))

/* From qemu's qemu-plugin.h, which Debian does not ship. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int add_u64, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

EXPORT int qemu_plugin_version = 1;
static uint64_t executed;
static bool marked;
static FILE *out;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &executed, qemu_plugin_tb_n_insns(block));
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h) {
    if (number == GETPGID && a == MARK) {
        fprintf(out, "%" PRIu64 "\n", executed);
        fflush(out);
        marked = true;
    }
}

static void ended(qemu_plugin_id_t id, void *data) {
    if (!marked) fprintf(out, "%" PRIu64 "\n", executed);
    fflush(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments) {
    if (count != 1 || strncmp(arguments[0], "out=", 4) || !(out = fopen(arguments[0] + 4, "w"))) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
