/* The firmware's log: ACPI table CCEL, records of the TCG PC Client Platform Firmware Profile,
 * section 10 (crypto-agile log). */
#include "attest/attest.h"
#include "base/error.h"

#define CCEL_END 0xffffffffu
#define CCEL_MAX_FIELD 65536u
#define CCEL_MAX_SIZE ((size_t)4 << 20)

static size_t digest_size(uint16_t algorithm) {
    static const struct {
        uint16_t id;
        size_t size;
    } sizes[] = {{0x0004, 20}, {0x000b, 32}, {0x000c, 48}, {0x000d, 64}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].id == algorithm) {
            return sizes[i].size;
        }
    }
    return 0;
}

/* TCG_PCClientPCREvent with its Spec ID event; the table of digest sizes in it is not needed. */
static int skip_header(cursor *c, dstack_error *err) {
    cursor_skip(c, 4 + 4 + 20);
    uint32_t size = cursor_u32le(c);
    if (size > CCEL_MAX_FIELD) {
        return error_set(err, DSTACK_E_FORMAT, "CCEL header of %u bytes", size);
    }
    cursor data = cursor_init(cursor_take(c, size));
    cursor_skip(&data, 16 + 4 + 4);
    uint32_t algorithms = cursor_u32le(&data);
    if (algorithms > CCEL_MAX_FIELD) {
        return error_set(err, DSTACK_E_FORMAT, "CCEL header names %u algorithms", algorithms);
    }
    cursor_skip(&data, (size_t)algorithms * 4);
    cursor_skip(&data, cursor_u8(&data));
    if (!cursor_ok(c) || !cursor_ok(&data)) {
        return error_set(err, DSTACK_E_FORMAT, "CCEL header is cut short");
    }
    return 0;
}

static int read_digests(cursor *c, dstack_bytes *last, uint32_t *count, dstack_error *err) {
    *count = cursor_u32le(c);
    if (*count > CCEL_MAX_FIELD) {
        return error_set(err, DSTACK_E_FORMAT, "CCEL event with %u digests", *count);
    }
    for (uint32_t i = 0; i < *count && cursor_ok(c); i++) {
        uint16_t algorithm = cursor_u16le(c);
        size_t size = digest_size(algorithm);
        if (cursor_ok(c) && size == 0) {
            return error_set(err, DSTACK_E_FORMAT, "CCEL: unsupported algorithm 0x%04x", algorithm);
        }
        *last = cursor_take(c, size);
    }
    return 0;
}

/* Reads one record; *end is set at the terminating one. */
static int read_event(cursor *c, dstack_event_log *log, bool *end, dstack_error *err) {
    uint32_t index = cursor_u32le(c);
    if (cursor_ok(c) && index == CCEL_END) {
        *end = true;
        return 0;
    }
    uint32_t type = cursor_u32le(c);
    dstack_bytes digest = {0};
    uint32_t digests = 0;
    int rc = read_digests(c, &digest, &digests, err);
    if (rc != 0) {
        return rc;
    }
    uint32_t size = cursor_u32le(c);
    if (cursor_ok(c) && size > CCEL_MAX_FIELD) {
        return error_set(err, DSTACK_E_FORMAT, "CCEL event of %u bytes", size);
    }
    dstack_bytes payload = cursor_take(c, size);
    if (!cursor_ok(c)) {
        return error_set(err, DSTACK_E_FORMAT, "CCEL is cut short or has no end mark");
    }
    if (index == 0) {
        return 0;
    }
    if (digests != 1) {
        return error_set(err, DSTACK_E_FORMAT, "CCEL: expected 1 digest, got %u", digests);
    }
    return dstack_event_log_add(log,
                                &(dstack_event){.imr = index - 1,
                                                .type = type,
                                                .version = 1,
                                                .digest = digest,
                                                .name = "",
                                                .payload = payload},
                                err);
}

/* The three digests of ACPI tables come in a fixed order and get names. */
static int name_acpi_events(dstack_event_log *log, dstack_error *err) {
    static const char *const names[] = {"acpi-loader", "acpi-rsdp", "acpi-tables"};
    size_t next = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < log->count && next < 3; i++) {
        if (attest_event_is_acpi(&log->events[i])) {
            rc = attest_text(bytes_of_str(names[next++]), "event name", &log->events[i].name, err);
        }
    }
    return rc;
}

int dstack_event_log_parse_ccel(dstack_bytes table, dstack_event_log **out, dstack_error *err) {
    if (table.len > CCEL_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "CCEL is larger than %zu bytes", CCEL_MAX_SIZE);
    }
    DSTACK_AUTO(event_log) dstack_event_log *log = dstack_event_log_new();
    if (log == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an event log");
    }
    cursor c = cursor_init(table);
    bool end = false;
    int rc = skip_header(&c, err);
    while (rc == 0 && !end) {
        rc = read_event(&c, log, &end, err);
    }
    if (rc == 0) {
        rc = name_acpi_events(log, err);
    }
    if (rc == 0) {
        *out = log;
        log = NULL;
    }
    return rc;
}
