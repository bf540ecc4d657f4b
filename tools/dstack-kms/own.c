/* The KMS's own evidence: from a TEE that this process measures itself into, or, inside a
 * confidential VM, from the guest agent that measured it as an app. */
#include <string.h>

#include <dstack/agent.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "kms.h"

#define MANIFEST_LIMIT ((size_t)50 << 20)
#define VM_CONFIG_LIMIT ((size_t)1 << 20)
#define AGENT_TIMEOUT_MS 30000

DSTACK_AUTO_DEFINE(agent, dstack_agent, dstack_agent_free)

/* "agent:unix:<path>": the endpoint; NULL for another url. */
static const char *agent_endpoint(const kms *k) {
    const char *url = config_str(k->config, "core.tee.url");
    return strncmp(url, "agent:", 6) == 0 ? url + 6 : NULL;
}

bool kms_has_evidence(const kms *k) {
    return config_str(k->config, "core.tee.url")[0] != 0;
}

int kms_own_open(kms *k, dstack_error *err) {
    const char *vm_config_file = config_str(k->config, "core.tee.vm_config");
    const char *dir = config_str(k->config, "core.cert_dir");
    DSTACK_AUTO(buf) dstack_buf manifest = {0};
    DSTACK_AUTO(buf) dstack_buf vm_config = {0};
    if (!kms_has_evidence(k) || agent_endpoint(k) != NULL) {
        return 0;
    }
    int rc = file_read(config_str(k->config, "core.tee.manifest"), MANIFEST_LIMIT, &manifest, err);
    if (rc == 0 && vm_config_file[0] != 0) {
        rc = file_read(vm_config_file, VM_CONFIG_LIMIT, &vm_config, err);
    }
    rc = rc != 0 ? rc : file_make_dirs(dir, 0700, err);
    workload_options options = {.tee_url = config_str(k->config, "core.tee.url"),
                                .sim_root = bytes_of_buf(&k->trust.sim_root),
                                .manifest = bytes_of_buf(&manifest),
                                .vm_config = buf_text(&vm_config),
                                .state_dir = dir};
    return rc != 0 ? rc : workload_open(&k->workload, &options, err);
}

static int attest_by_agent(const char *endpoint, const uint8_t *report_data,
                           dstack_attestation **out, dstack_error *err) {
    DSTACK_AUTO(agent) dstack_agent *agent = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    int rc = dstack_agent_new(endpoint, AGENT_TIMEOUT_MS, &agent, err);
    rc = rc != 0 ? rc
                 : dstack_agent_attest(agent, bytes_of(report_data, DSTACK_REPORT_DATA_SIZE),
                                       &encoded, err);
    return rc != 0 ? rc : dstack_attestation_decode(bytes_of_buf(&encoded), out, err);
}

int kms_own_attest(kms *k, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                   dstack_attestation **out, dstack_error *err) {
    const char *endpoint = agent_endpoint(k);
    return endpoint != NULL ? attest_by_agent(endpoint, report_data, out, err)
                            : workload_attest(k->workload, report_data, out, err);
}
