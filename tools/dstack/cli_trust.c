/* Trust roots, collateral and policy from files. */
#include "cli_trust.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cli.h"
#include "service/config.h"
#include "verify/dcap/collateral.h"
#include "verify/dcap/policy.h"
#include "x509/pem.h"

#define MAX_ROOT_FILE ((size_t)1 << 20)
#define MAX_POLICY_FILE ((size_t)64 << 10)

void cli_roots_clear(cli_roots *roots) {
    dstack_buf_clear(&roots->content);
    for (size_t i = 0; i < CLI_MAX_ROOTS; i++) {
        dstack_buf_clear(&roots->ders[i]);
    }
}

static int add_root(cli_roots *file, const char *name, dstack_bytes der, dstack_error *err) {
    if (file->count == CLI_MAX_ROOTS) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d trust roots", CLI_MAX_ROOTS);
    }
    char *own = file->names[file->count];
    if (file->count == 0) {
        snprintf(own, sizeof file->names[0], "%.60s", name);
    } else {
        snprintf(own, sizeof file->names[0], "%.55s#%zu", name, file->count + 1);
    }
    file->roots[file->count++] = (dstack_trust_root){own, der};
    return 0;
}

int cli_read_roots(const char *path, cli_roots *file, dstack_error *err) {
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL || slash[1] == '\0' ? path : slash + 1;
    int rc = cli_read(path, MAX_ROOT_FILE, &file->content, err);
    if (rc != 0 || !pem_looks_like(bytes_of_buf(&file->content))) {
        return rc != 0 ? rc : add_root(file, name, bytes_of_buf(&file->content), err);
    }
    pem_reader reader;
    pem_block block = {0};
    bool found = true;
    pem_reader_init(&reader, bytes_of_buf(&file->content));
    while (rc == 0 && found) {
        rc = pem_next(&reader, &block, &found, err);
        if (rc == 0 && found && file->count < CLI_MAX_ROOTS) {
            file->ders[file->count] = block.der;
            block.der = (dstack_buf){0};
            rc = add_root(file, name, bytes_of_buf(&file->ders[file->count]), err);
        } else if (rc == 0 && found) {
            rc = add_root(file, name, (dstack_bytes){0}, err);
        }
    }
    pem_block_clear(&block);
    if (rc == 0 && file->count == 0) {
        rc = error_set(err, DSTACK_E_DCAP_ROOT_CA_FORMAT, "%s holds no certificate", path);
    }
    return rc;
}

int cli_read_collateral(const char *path, dstack_collateral **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = cli_read(path, DSTACK_COLLATERAL_MAX_SIZE, &text, err);
    return rc != 0 ? rc : dstack_collateral_parse(out, bytes_of_buf(&text), err);
}

/* JSON is tried first: its reader keeps duplicates and number forms that YAML readers lose. */
int cli_read_policy(const char *path, dstack_policy **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = cli_read(path, MAX_POLICY_FILE, &text, err);
    const char *start = rc == 0 ? buf_text(&text) : NULL;
    if (start == NULL) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_MEMORY, "no memory for the policy");
    }
    start += strspn(start, " \t\r\n");
    if (*start == '{') {
        return dstack_policy_parse(out, bytes_of_buf(&text), err);
    }
    DSTACK_AUTO(buf) dstack_buf json = {0};
    DSTACK_AUTO(json)
    json_t *value = yaml_to_json(bytes_of_buf(&text), MAX_POLICY_FILE, path, err);
    if (value == NULL) {
        error_prefix(err, DSTACK_E_DCAP_POLICY_FORMAT, "policy");
        return error_set(err, DSTACK_E_DCAP_POLICY_FORMAT, "%s", err->message);
    }
    rc = json_write(value, false, &json, err);
    return rc != 0 ? rc : dstack_policy_parse(out, bytes_of_buf(&json), err);
}
