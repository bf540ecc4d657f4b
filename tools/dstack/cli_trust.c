/* Trust roots, collateral and policy from files. */
#include "cli_trust.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
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

/* ---- servers ---- */

void cli_servers_clear(cli_servers *servers) {
    dstack_buf_clear(&servers->cache);
}

/* $XDG_CACHE_HOME or ~/.cache (XDG Base Directory Specification); none for a user without a home.
 */
static void default_cache(dstack_buf *out) {
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (base != NULL && base[0] == '/') {
        buf_put_fmt(out, "%s/dstack/collateral", base);
    } else if (home != NULL && home[0] == '/') {
        buf_put_fmt(out, "%s/.cache/dstack/collateral", home);
    }
}

static void choose_cache(struct cli *cli, dstack_buf *out) {
    const char *folder = cli_value(cli, "cache", NULL);
    if (folder != NULL) {
        buf_put_str(out, folder);
    } else if (!cli_has(cli, "no-cache")) {
        default_cache(out);
    }
}

int cli_servers_read(struct cli *cli, cli_servers *out, dstack_error *err) {
    size_t count = 0;
    for (const char *url; (url = cli_value_at(cli, "pccs", count)) != NULL;) {
        if (count == CLI_MAX_SERVERS) {
            return cli_usage(err, "more than %d --pccs", CLI_MAX_SERVERS);
        }
        out->urls[count++] = url;
    }
    const char *from_environment = getenv("PCCS_URL");
    if (count == 0 && from_environment != NULL && from_environment[0] != '\0') {
        out->urls[count++] = from_environment;
    }
    choose_cache(cli, &out->cache);
    out->servers = (dstack_collateral_servers){
        .urls = out->urls,
        .url_count = count,
        .retries = 2,
        .proxy = getenv("https_proxy"),
        .cache = out->cache.len > 0 ? buf_text(&out->cache) : NULL,
        .now = cli->now,
    };
    return buf_check(&out->cache, err);
}

void cli_kds_clear(cli_kds *kds) {
    dstack_buf_clear(&kds->cache);
}

int cli_kds_read(struct cli *cli, cli_kds *out, dstack_error *err) {
    size_t count = 0;
    for (const char *url; (url = cli_value_at(cli, "kds", count)) != NULL;) {
        if (count == CLI_MAX_SERVERS) {
            return cli_usage(err, "more than %d --kds", CLI_MAX_SERVERS);
        }
        out->urls[count++] = url;
    }
    choose_cache(cli, &out->cache);
    out->servers = (dstack_snp_servers){
        .urls = out->urls,
        .url_count = count,
        .retries = 2,
        .proxy = getenv("https_proxy"),
        .cache = out->cache.len > 0 ? buf_text(&out->cache) : NULL,
        .offline = cli_has(cli, "offline"),
    };
    return buf_check(&out->cache, err);
}
