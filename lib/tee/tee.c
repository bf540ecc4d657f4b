#include <dstack/quote.h>
#include <dstack/tee.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "tee/tee_ops.h"

#define PLATFORM "dstack-tdx"

struct dstack_tee {
    const tee_ops *ops;
    void *self;
};

DSTACK_AUTO_DEFINE(tee, dstack_tee, dstack_tee_close)

static int open_sim(dstack_tee *tee, const char *where, const dstack_tee_options *options,
                    dstack_error *err) {
    static const char unix_prefix[] = "unix:", port_prefix[] = "port:";
    const bool is_socket = strncmp(where, unix_prefix, strlen(unix_prefix)) == 0;
    if (!is_socket && strncmp(where, port_prefix, strlen(port_prefix)) != 0) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "TEE URL sim:%s: sim:unix:PATH or sim:port:PATH expected", where);
    }
    if (options->sim_root.len == 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "a simulated TEE is refused: no simulation root is pinned");
    }
    tee->ops = &tee_sim_ops;
    return tee_sim_open(where + strlen(unix_prefix), is_socket, options->sim_root,
                        options->timeout_ms, &tee->self, err);
}

static int open_url(dstack_tee *tee, const char *url, const dstack_tee_options *options,
                    dstack_error *err) {
    if (strncmp(url, "sim:", 4) == 0) {
        return open_sim(tee, url + 4, options, err);
    }
    if (strcmp(url, "auto") == 0 && options->sim_root.len > 0) {
        return open_sim(tee, "port:" DSTACK_TEE_SIM_PORT, options, err);
    }
    if (strcmp(url, "auto") == 0 || strcmp(url, "tdx") == 0) {
        tee->ops = &tee_tdx_ops;
        return tee_tdx_open(options->timeout_ms, &tee->self, err);
    }
    return error_set(err, DSTACK_E_ARGUMENT, "TEE URL \"%.80s\": auto, tdx or sim:... expected",
                     url);
}

int dstack_tee_open(const char *url, const dstack_tee_options *options, dstack_tee **out,
                    dstack_error *err) {
    *out = NULL;
    dstack_tee_options used = options != NULL ? *options : (dstack_tee_options){0};
    if (used.timeout_ms <= 0) {
        used.timeout_ms = TEE_DEFAULT_TIMEOUT_MS;
    }
    DSTACK_AUTO(tee) dstack_tee *tee = calloc(1, sizeof *tee);
    if (tee == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const int rc = open_url(tee, url, &used, err);
    if (rc == 0) {
        *out = tee;
        tee = NULL;
    }
    return rc;
}

void dstack_tee_close(dstack_tee *tee) {
    if (tee != NULL) {
        if (tee->self != NULL) {
            tee->ops->close(tee->self);
        }
        free(tee);
    }
}

const char *dstack_tee_provider(const dstack_tee *tee) {
    return tee->ops->provider;
}

bool dstack_tee_is_simulated(const dstack_tee *tee) {
    return tee->ops->simulated;
}

int dstack_tee_info_get(dstack_tee *tee, dstack_tee_info *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    const int rc = tee->ops->info(tee->self, out, err);
    out->provider = tee->ops->provider;
    out->platform = PLATFORM;
    return rc;
}

int dstack_tee_extend(dstack_tee *tee, uint32_t index,
                      const uint8_t digest[DSTACK_TEE_REGISTER_SIZE], const char *event,
                      dstack_error *err) {
    if (index != 2 && index != 3) {
        return error_set(err, DSTACK_E_ARGUMENT, "RTMR%u cannot be extended by a guest", index);
    }
    return tee->ops->extend(tee->self, index, digest, event != NULL ? event : "", err);
}

int dstack_tee_quote(dstack_tee *tee, const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                     dstack_buf *quote, dstack_error *err) {
    return tee->ops->quote(tee->self, report_data, quote, err);
}

int dstack_tee_boot_log(dstack_tee *tee, dstack_buf *log, dstack_error *err) {
    return tee->ops->boot_log(tee->self, log, err);
}

/* The registers of the quote itself: nothing is asked a second time. */
static int info_of_quote(dstack_bytes bytes, const uint8_t *report_data, dstack_tee_info *out,
                         dstack_error *err) {
    dstack_quote quote;
    const int rc = dstack_quote_parse(&quote, bytes, err);
    if (rc != 0) {
        return rc;
    }
    if (quote.td == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "the TEE gave a quote that is not of a TD");
    }
    if (memcmp(quote.td->report_data, report_data, sizeof quote.td->report_data) != 0) {
        return error_set(err, DSTACK_E_FORMAT, "the TEE gave a quote over other report data");
    }
    memcpy(out->mrtd, quote.td->mr_td, sizeof out->mrtd);
    memcpy(out->rtmr, quote.td->rt_mr, sizeof out->rtmr);
    memcpy(out->mr_config_id, quote.td->mr_config_id, sizeof out->mr_config_id);
    return 0;
}

int dstack_tee_evidence(dstack_tee *tee, const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                        dstack_tee_report *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    out->platform = PLATFORM;
    out->info.provider = tee->ops->provider;
    out->info.platform = PLATFORM;
    int rc;
    if ((rc = dstack_tee_quote(tee, report_data, &out->quote, err)) != 0 ||
        (rc = info_of_quote(bytes_of_buf(&out->quote), report_data, &out->info, err)) != 0 ||
        (rc = dstack_tee_boot_log(tee, &out->boot_log, err)) != 0) {
        dstack_tee_report_clear(out);
    }
    return rc;
}

void dstack_tee_report_clear(dstack_tee_report *report) {
    if (report != NULL) {
        dstack_buf_clear(&report->quote);
        dstack_buf_clear(&report->boot_log);
        memset(report, 0, sizeof *report);
    }
}
