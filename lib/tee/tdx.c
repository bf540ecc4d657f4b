/* Intel TDX guest on Linux 6.12 and later: quotes through the TSM report interface in configfs
 * (Documentation/ABI/testing/configfs-tsm), registers through the TD report that /dev/tdx_guest
 * gives, extension through sysfs where the kernel has it, else through the ioctl that dstack's
 * kernels carry. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "tee/tee_ops.h"

#define TSM_ENTRY "/sys/kernel/config/tsm/report/com.intel.dcap"
#define MEASUREMENTS "/sys/devices/virtual/misc/tdx_guest/measurements"
#define DEVICE "/dev/tdx_guest"
#define CCEL_DATA "/sys/firmware/acpi/tables/data/CCEL"
#define CCEL_LIMIT ((size_t)1 << 20)
#define QUOTE_MIN 1021
#define QUOTE_LIMIT ((size_t)8191)
#define POLL_MS 10
#define BUSY_MS 500

/* Linux: include/uapi/linux/tdx-guest.h. */
#define TD_REPORT_SIZE 1024
struct tdx_report_request {
    uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE];
    uint8_t report[TD_REPORT_SIZE];
};
#define TDX_GET_REPORT _IOWR('T', 1, struct tdx_report_request)
struct tdx_extend_request {
    uint8_t digest[DSTACK_TEE_REGISTER_SIZE];
    uint8_t index;
};
#define TDX_EXTEND_RTMR _IOR('T', 3, struct tdx_extend_request)

/* Intel TDX Module ABI, TDREPORT_STRUCT: TDINFO_STRUCT and its fields. */
#define TDINFO_MRTD 528
#define TDINFO_MRCONFIGID 576
#define TDINFO_RTMR0 720

typedef struct tdx_guest {
    int64_t timeout_ms;
} tdx_guest;

static void tdx_close(void *self) {
    free(self);
}

static void sleep_ms(int64_t ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static int td_report(struct tdx_report_request *request, dstack_error *err) {
    DSTACK_AUTO(fd) int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_NOT_FOUND, "%s", DEVICE);
    }
    if (ioctl(fd, TDX_GET_REPORT, request) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "TD report from %s", DEVICE);
    }
    return 0;
}

static int tdx_info(void *self, dstack_tee_info *out, dstack_error *err) {
    struct tdx_report_request request = {0};
    const int rc = td_report(&request, err);
    if (rc == 0) {
        memcpy(out->mrtd, request.report + TDINFO_MRTD, sizeof out->mrtd);
        memcpy(out->mr_config_id, request.report + TDINFO_MRCONFIGID, sizeof out->mr_config_id);
        memcpy(out->rtmr, request.report + TDINFO_RTMR0, sizeof out->rtmr);
    }
    return rc;
}

static int extend_by_device(uint32_t index, const uint8_t *digest, dstack_error *err) {
    DSTACK_AUTO(fd) int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_NOT_FOUND, "%s", DEVICE);
    }
    struct tdx_extend_request request = {.index = (uint8_t)index};
    memcpy(request.digest, digest, sizeof request.digest);
    if (ioctl(fd, TDX_EXTEND_RTMR, &request) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "extending RTMR%u through %s", index, DEVICE);
    }
    return 0;
}

static int tdx_extend(void *self, uint32_t index, const uint8_t digest[DSTACK_TEE_REGISTER_SIZE],
                      const char *event, dstack_error *err) {
    char path[sizeof MEASUREMENTS + 32];
    snprintf(path, sizeof path, MEASUREMENTS "/rtmr%u:sha384", index);
    DSTACK_AUTO(fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return extend_by_device(index, digest, err);
    }
    if (fd < 0 || write(fd, digest, DSTACK_TEE_REGISTER_SIZE) != DSTACK_TEE_REGISTER_SIZE) {
        return error_set_errno(err, DSTACK_E_IO, "extending through %s", path);
    }
    return 0;
}

static int read_generation(uint64_t *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    const int rc = file_read(TSM_ENTRY "/generation", 64, &text, err);
    if (rc != 0) {
        return rc;
    }
    const char *digits = buf_text(&text);
    char *end = NULL;
    errno = 0;
    const unsigned long long value = digits != NULL ? strtoull(digits, &end, 10) : 0;
    if (end == digits || errno != 0) {
        return error_set(err, DSTACK_E_FORMAT, "TSM generation is not a number");
    }
    *out = value;
    return 0;
}

static int write_report_data(int fd, const uint8_t *report_data, int64_t deadline,
                             dstack_error *err) {
    while (pwrite(fd, report_data, DSTACK_TEE_REPORT_DATA_SIZE, 0) != DSTACK_TEE_REPORT_DATA_SIZE) {
        if (errno != EBUSY && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_IO, "writing " TSM_ENTRY "/inblob");
        }
        if (clock_monotonic_ms() >= deadline) {
            return error_set(err, DSTACK_E_TIMEOUT, "TSM report interface stays busy");
        }
        sleep_ms(BUSY_MS);
    }
    return 0;
}

static int read_quote(int64_t deadline, dstack_buf *out, dstack_error *err) {
    for (;;) {
        DSTACK_AUTO(fd) int fd = open(TSM_ENTRY "/outblob", O_RDONLY | O_CLOEXEC);
        uint8_t block[QUOTE_LIMIT + 1];
        const ssize_t got = fd < 0 ? -1 : read(fd, block, sizeof block);
        if (got >= QUOTE_MIN && got <= (ssize_t)QUOTE_LIMIT) {
            buf_put(out, block, (size_t)got);
            return buf_check(out, err);
        }
        if (got >= 0) {
            return error_set(err, DSTACK_E_FORMAT, "TSM gave a quote of %zd bytes", got);
        }
        if (errno != EBUSY && errno != EINTR && errno != ETIMEDOUT) {
            return error_set_errno(err, DSTACK_E_IO, "reading " TSM_ENTRY "/outblob");
        }
        if (clock_monotonic_ms() >= deadline) {
            return error_set(err, DSTACK_E_TIMEOUT, "TSM gave no quote in time");
        }
        sleep_ms(BUSY_MS);
    }
}

/* The generation counts writes of anybody: it must move by ours alone, or the quote may be over
 * somebody else's data. */
static int quote_locked(int fd, const uint8_t *report_data, int64_t deadline, dstack_buf *out,
                        dstack_error *err) {
    uint64_t before = 0, after = 0, last = 0;
    int rc;
    if ((rc = read_generation(&before, err)) != 0 ||
        (rc = write_report_data(fd, report_data, deadline, err)) != 0) {
        return rc;
    }
    do {
        if ((rc = read_generation(&after, err)) != 0) {
            return rc;
        }
        if (after == before) {
            sleep_ms(POLL_MS);
        }
    } while (after == before && clock_monotonic_ms() < deadline);
    if (after != before + 1) {
        return error_set(err, DSTACK_E_STATE, "TSM report interface is used by another program");
    }
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    if ((rc = read_quote(deadline, &quote, err)) != 0 || (rc = read_generation(&last, err)) != 0) {
        return rc;
    }
    if (last != after) {
        return error_set(err, DSTACK_E_STATE, "TSM report interface is used by another program");
    }
    buf_put_bytes(out, bytes_of_buf(&quote));
    return buf_check(out, err);
}

static int lock(int fd, int64_t deadline, dstack_error *err) {
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_IO, "locking " TSM_ENTRY "/inblob");
        }
        if (clock_monotonic_ms() >= deadline) {
            return error_set(err, DSTACK_E_TIMEOUT, "TSM report interface stays locked");
        }
        sleep_ms(POLL_MS);
    }
    return 0;
}

static int tdx_quote(void *self, const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                     dstack_buf *out, dstack_error *err) {
    const tdx_guest *guest = self;
    const int64_t deadline = clock_monotonic_ms() + guest->timeout_ms;
    DSTACK_AUTO(fd) int fd = open(TSM_ENTRY "/inblob", O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, TSM_ENTRY "/inblob");
    }
    const int rc = lock(fd, deadline, err);
    return rc != 0 ? rc : quote_locked(fd, report_data, deadline, out, err);
}

static int tdx_boot_log(void *self, dstack_buf *out, dstack_error *err) {
    return file_read(CCEL_DATA, CCEL_LIMIT, out, err);
}

const tee_ops tee_tdx_ops = {
    .provider = "tdx",
    .info = tdx_info,
    .extend = tdx_extend,
    .quote = tdx_quote,
    .boot_log = tdx_boot_log,
    .close = tdx_close,
};

int tee_tdx_open(int64_t timeout_ms, void **self, dstack_error *err) {
    if (access(DEVICE, F_OK) != 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "this machine is no TDX guest: no %s", DEVICE);
    }
    if (mkdir(TSM_ENTRY, 0755) != 0 && errno != EEXIST) {
        return error_set_errno(err, DSTACK_E_NOT_FOUND, "TSM report interface: %s", TSM_ENTRY);
    }
    DSTACK_AUTO(buf) dstack_buf provider = {0};
    const int rc = file_read(TSM_ENTRY "/provider", 64, &provider, err);
    if (rc != 0) {
        return rc;
    }
    const char *name = buf_text(&provider);
    if (name == NULL || strncmp(name, "tdx_guest", strlen("tdx_guest")) != 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "TSM reports of this machine are not of TDX");
    }
    tdx_guest *guest = calloc(1, sizeof *guest);
    if (guest == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    guest->timeout_ms = timeout_ms;
    *self = guest;
    return 0;
}
