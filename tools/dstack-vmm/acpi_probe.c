#include "acpi_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"

#define PROBE_TIMEOUT_MS 30000
#define MAX_ARGS 300
#define LINE_LIMIT (4U << 20)
/* fw_cfg (QEMU's docs/specs/fw_cfg): I/O ports, the directory's key, and the DMA control bits. */
#define FW_CFG_DMA_HIGH 0x514
#define FW_CFG_DMA_LOW 0x518
#define FW_CFG_FILE_DIR 0x19
#define FW_CFG_DMA_READ 0x02
#define FW_CFG_DMA_SELECT 0x08
#define FW_CFG_ENTRY_SIZE 64
#define FW_CFG_MAX_FILES 256
#define FW_CFG_MAX_FILE (2U << 20)
/* Guest memory used for the transfer, well inside the first megabytes. */
#define DMA_REQUEST 0x100000
#define DMA_BUFFER 0x200000

struct probe {
    pid_t pid;
    int to, from;
    int64_t deadline;
    dstack_buf pending;
};

static int start(char *const argv[], struct probe *p, dstack_error *err) {
    char *args[MAX_ARGS + 4];
    size_t n = 0;
    while (argv[n] != NULL && n < MAX_ARGS) {
        args[n] = argv[n];
        n++;
    }
    char *extra[] = {(char *)"-S", (char *)"-qtest", (char *)"stdio", NULL};
    memcpy(&args[n], extra, sizeof extra);
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "pipe");
    }
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return error_set_errno(err, DSTACK_E_IO, "pipe");
    }
    p->pid = fork();
    if (p->pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(null, 2);
        execv(args[0], args);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    p->to = in[1];
    p->from = out[0];
    p->deadline = clock_monotonic_ms() + PROBE_TIMEOUT_MS;
    return p->pid > 0 ? 0 : error_set_errno(err, DSTACK_E_IO, "fork");
}

static void stop(struct probe *p) {
    close(p->to);
    close(p->from);
    if (p->pid > 0) {
        kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    dstack_buf_clear(&p->pending);
}

/* One line of QEMU's answer without its end; interrupts ("IRQ ...") that come between are skipped. */
static int read_line(struct probe *p, dstack_buf *line, dstack_error *err) {
    for (;;) {
        uint8_t *end = p->pending.len > 0 ? memchr(p->pending.data, '\n', p->pending.len) : NULL;
        if (end != NULL) {
            size_t len = (size_t)(end - p->pending.data);
            buf_reset(line);
            buf_put(line, p->pending.data, len);
            memmove(p->pending.data, end + 1, p->pending.len - len - 1);
            p->pending.len -= len + 1;
            const char *text = buf_text(line);
            if (text == NULL) {
                return error_set(err, DSTACK_E_MEMORY, "no memory");
            }
            if (strncmp(text, "IRQ", 3) != 0) {
                return 0;
            }
            continue;
        }
        int64_t left = p->deadline - clock_monotonic_ms();
        struct pollfd poll_fd = {p->from, POLLIN, 0};
        char chunk[65536];
        ssize_t n =
            left > 0 && poll(&poll_fd, 1, (int)left) > 0 ? read(p->from, chunk, sizeof chunk) : 0;
        if (n <= 0 || p->pending.len > LINE_LIMIT) {
            return error_set(err, DSTACK_E_IO, "QEMU ended or hung while its tables were read");
        }
        buf_put(&p->pending, chunk, (size_t)n);
    }
}

static int command(struct probe *p, dstack_buf *line, dstack_error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int command(struct probe *p, dstack_buf *line, dstack_error *err, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text - 1, fmt, args);
    va_end(args);
    text[len++] = '\n';
    if (write(p->to, text, (size_t)len) != len) {
        return error_set_errno(err, DSTACK_E_IO, "talking to QEMU");
    }
    int rc = read_line(p, line, err);
    if (rc == 0 && strncmp((const char *)line->data, "OK", 2) != 0) {
        rc = error_set(err, DSTACK_E_IO, "QEMU refused \"%.40s\"", text);
    }
    return rc;
}

/* A 32-bit write into PCI configuration space of bus 0. */
static int pci_write(struct probe *p, unsigned device, unsigned function, unsigned reg,
                     uint32_t value, dstack_buf *line, dstack_error *err) {
    int rc = command(p, line, err, "outl 0xcf8 0x%x",
                     0x80000000U | (device << 11) | (function << 8) | reg);
    return rc != 0 ? rc : command(p, line, err, "outl 0xcfc 0x%" PRIx32, value);
}

/* What OVMF has set before it reads the tables: the PCI express window, the ACPI I/O base, and one
 * 64-bit BAR above all memory, which decides the DSDT's 64-bit window. */
static int set_chipset(struct probe *p, dstack_buf *line, dstack_error *err) {
    int rc = pci_write(p, 0, 0, 0x60, 0xe0000001U, line, err);
    rc = rc != 0 ? rc : pci_write(p, 31, 0, 0x40, 0x601, line, err);
    rc = rc != 0 ? rc : pci_write(p, 31, 0, 0x44, 0x80, line, err);
    rc = rc != 0 ? rc : pci_write(p, 1, 0, 0x20, 0, line, err);
    rc = rc != 0 ? rc : pci_write(p, 1, 0, 0x24, 0x3800, line, err);
    return rc != 0 ? rc : pci_write(p, 1, 0, 0x04, 6, line, err);
}

/* Reads `len` bytes of an fw_cfg item, appended to out. */
static int fw_cfg_read(struct probe *p, uint16_t key, uint32_t len, dstack_buf *line,
                       dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf request = {0};
    buf_put_u32be(&request, ((uint32_t)key << 16) | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ);
    buf_put_u32be(&request, len);
    buf_put_u64be(&request, DMA_BUFFER);
    char hex[33];
    hex_encode(bytes_of_buf(&request), hex);
    int rc = command(p, line, err, "write 0x%x 0x10 0x%s", DMA_REQUEST, hex);
    /* The DMA address register is big-endian. */
    rc = rc != 0 ? rc : command(p, line, err, "outl 0x%x 0x0", FW_CFG_DMA_HIGH);
    rc = rc != 0 ? rc
                 : command(p, line, err, "outl 0x%x 0x%" PRIx32, FW_CFG_DMA_LOW,
                           __builtin_bswap32(DMA_REQUEST));
    rc = rc != 0 ? rc : command(p, line, err, "read 0x%x 0x%" PRIx32, DMA_BUFFER, len);
    if (rc != 0) {
        return rc;
    }
    const char *text = (const char *)line->data;
    if (strncmp(text, "OK 0x", 5) != 0 || line->len != 5 + 2 * (size_t)len) {
        return error_set(err, DSTACK_E_FORMAT, "unexpected answer of QEMU's test protocol");
    }
    return hex_decode(bytes_of(text + 5, line->len - 5), out, err);
}

static int hash_file(struct probe *p, const dstack_buf *directory, const char *name,
                     uint8_t *digest, dstack_buf *line, dstack_error *err) {
    cursor c = cursor_init(bytes_of_buf(directory));
    uint32_t count = cursor_u32be(&c);
    for (uint32_t i = 0; i < count && cursor_left(&c) >= FW_CFG_ENTRY_SIZE; i++) {
        uint32_t size = cursor_u32be(&c);
        uint16_t key = cursor_u16be(&c);
        cursor_skip(&c, 2);
        dstack_bytes text = cursor_take(&c, 56);
        if (strncmp((const char *)text.data, name, text.len) != 0) {
            continue;
        }
        if (size > FW_CFG_MAX_FILE) {
            return error_set(err, DSTACK_E_LIMIT, "%s: %" PRIu32 " bytes", name, size);
        }
        DSTACK_AUTO(buf) dstack_buf content = {0};
        int rc = fw_cfg_read(p, key, size, line, &content, err);
        if (rc == 0) {
            hash_sha384(bytes_of_buf(&content), digest);
        }
        return rc;
    }
    return error_set(err, DSTACK_E_NOT_FOUND, "QEMU offers no %s", name);
}

static int read_tables(struct probe *p, dstack_vm_shape *shape, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf line = {0};
    DSTACK_AUTO(buf) dstack_buf directory = {0};
    int rc = set_chipset(p, &line, err);
    rc = rc != 0 ? rc
                 : fw_cfg_read(p, FW_CFG_FILE_DIR, 4 + FW_CFG_MAX_FILES * FW_CFG_ENTRY_SIZE, &line,
                               &directory, err);
    rc =
        rc != 0 ? rc : hash_file(p, &directory, "etc/table-loader", shape->acpi_loader, &line, err);
    rc = rc != 0 ? rc : hash_file(p, &directory, "etc/acpi/rsdp", shape->acpi_rsdp, &line, err);
    rc = rc != 0 ? rc : hash_file(p, &directory, "etc/acpi/tables", shape->acpi_tables, &line, err);
    shape->has_acpi = rc == 0;
    return rc;
}

int acpi_probe(char *const argv[], dstack_vm_shape *shape, dstack_error *err) {
    struct probe p = {.pid = -1};
    int rc = start(argv, &p, err);
    if (rc == 0) {
        rc = read_tables(&p, shape, err);
    }
    if (p.pid != -1) {
        stop(&p);
    }
    return rc;
}
