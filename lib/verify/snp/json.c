/* A report as JSON, for people and scripts. */
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/json.h"
#include "verify/snp/snp.h"

static json_t *tcb_json(const dstack_snp_tcb *tcb) {
    json_t *object = json_pack("{s:i, s:i, s:i, s:i}", "boot_loader", tcb->boot_loader, "tee",
                               tcb->tee, "snp", tcb->snp, "microcode", tcb->microcode);
    if (tcb->has_fmc) {
        json_object_set_new(object, "fmc", json_integer(tcb->fmc));
    }
    return object;
}

static json_t *version_json(const uint8_t version[3]) {
    return json_sprintf("%u.%u.%u", version[0], version[1], version[2]);
}

static json_t *number_json(uint64_t value) {
    return json_sprintf("0x%" PRIx64, value);
}

#define HEX(field) json_hex(bytes_of(report->field, sizeof report->field))

int dstack_snp_report_to_json(const dstack_snp_report *report, dstack_buf *out, dstack_error *err) {
    static const char *const keys[] = {"vcek", "vlek"};
    const struct {
        const char *key;
        json_t *value;
    } members[] = {
        {"version", json_integer(report->version)},
        {"product", json_string(dstack_snp_product_name(report->product))},
        {"guest_svn", json_integer(report->guest_svn)},
        {"policy", number_json(report->policy)},
        {"debug", json_boolean((report->policy & DSTACK_SNP_POLICY_DEBUG) != 0)},
        {"vmpl", json_integer(report->vmpl)},
        {"platform_info", number_json(report->platform_info)},
        {"signing_key", json_string(report->signing_key < 2 ? keys[report->signing_key] : "none")},
        {"mask_chip_key", json_boolean(report->mask_chip_key)},
        {"author_key_enabled", json_boolean(report->author_key_enabled)},
        {"report_data", HEX(report_data)},
        {"measurement", HEX(measurement)},
        {"host_data", HEX(host_data)},
        {"family_id", HEX(family_id)},
        {"image_id", HEX(image_id)},
        {"id_key_digest", HEX(id_key_digest)},
        {"author_key_digest", HEX(author_key_digest)},
        {"report_id", HEX(report_id)},
        {"report_id_ma", HEX(report_id_ma)},
        {"chip_id", HEX(chip_id)},
        {"current_tcb", tcb_json(&report->current_tcb)},
        {"reported_tcb", tcb_json(&report->reported_tcb)},
        {"committed_tcb", tcb_json(&report->committed_tcb)},
        {"launch_tcb", tcb_json(&report->launch_tcb)},
        {"current_version", version_json(report->current_version)},
        {"committed_version", version_json(report->committed_version)},
        {"launch_mitigations", number_json(report->launch_mitigations)},
        {"current_mitigations", number_json(report->current_mitigations)},
    };
    DSTACK_AUTO(json) json_t *object = json_object();
    int rc = 0;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (json_object_set_new(object, members[i].key, members[i].value) != 0) {
            rc = error_set(err, DSTACK_E_MEMORY, "no memory for the report");
        }
    }
    return rc == 0 ? json_write(object, false, out, err) : rc;
}
