/* dstack eventlog replay */
#include <string.h>

#include <dstack/attestation.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cli.h"

#define LOG_MAX ((size_t)16 << 20)

DSTACK_AUTO_DEFINE(event_log, dstack_event_log, dstack_event_log_free)

/* The JSON array, the guest's file of one JSON object per line, or the firmware's binary log. */
static int read_log(const char *path, dstack_event_log **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    int rc = cli_read(path, LOG_MAX, &raw, err);
    const char *text = rc == 0 ? buf_text(&raw) : NULL;
    if (text == NULL) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_MEMORY, "no memory for the log");
    }
    dstack_bytes bytes = bytes_of_buf(&raw);
    switch (text[strspn(text, " \t\r\n")]) {
    case '[':
        return dstack_event_log_parse_json(bytes, out, err);
    case '{':
        return dstack_event_log_parse_runtime(bytes, out, err);
    default:
        return dstack_event_log_parse_ccel(bytes, out, err);
    }
}

static json_t *registers_json(const dstack_registers *registers, size_t events) {
    json_t *list = json_array();
    for (unsigned i = 0; i < 4; i++) {
        json_array_append_new(
            list, json_pack("{s:i, s:o, s:b}", "index", (int)i, "value",
                            json_hex(bytes_of(registers->rtmr[i], DSTACK_REGISTER_SIZE)),
                            "complete", registers->complete[i]));
    }
    return json_pack("{s:I, s:o}", "events", (json_int_t)events, "rtmr", list);
}

static int run_replay(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    dstack_registers registers;
    int rc = read_log(argv[0], &log, err);
    if (rc == 0) {
        rc = dstack_event_log_replay(log, &registers, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (cli->json) {
        DSTACK_AUTO(json)
        json_t *object = registers_json(&registers, dstack_event_log_count(log));
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "%zu events", dstack_event_log_count(log));
    for (unsigned i = 0; i < 4; i++) {
        DSTACK_AUTO(buf) dstack_buf hex = {0};
        char name[8];
        snprintf(name, sizeof name, "rtmr%u", i);
        buf_put_hex(&hex, bytes_of(registers.rtmr[i], DSTACK_REGISTER_SIZE));
        cli_field(cli, name, "%s%s", buf_text(&hex),
                  registers.complete[i] ? "" : "  (some events have no digest)");
    }
    return 0;
}

static const struct cli_command eventlog_replay = {
    .name = "replay",
    .summary = "Compute the registers that a log gives",
    .usage = "FILE",
    .help =
        "FILE is a JSON event log, a guest's file of runtime events, or a firmware log (CCEL).\n"
        "Digests of runtime events are computed, never taken from the log.",
    .min_args = 1,
    .max_args = 1,
    .run = run_replay,
};

static const struct cli_command *const eventlog_children[] = {&eventlog_replay, NULL};

const struct cli_command cli_command_eventlog = {
    .name = "eventlog",
    .summary = "Event logs",
    .children = eventlog_children,
};
