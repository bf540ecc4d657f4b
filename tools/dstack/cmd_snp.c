/* dstack snp parse|verify */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include <dstack/attestation.h>
#include <dstack/snp.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cli.h"
#include "cli_trust.h"
#include "verify/snp/snp.h"
#include "x509/pem.h"

#define CERT_FILE_MAX ((size_t)256 << 10)

static bool looks_binary(dstack_bytes content) {
    return content.len == DSTACK_SNP_REPORT_SIZE;
}

static int read_report(const char *path, dstack_buf *out, dstack_error *err) {
    return cli_read_any(path, (size_t)3 * DSTACK_SNP_REPORT_SIZE, looks_binary, out, err);
}

static json_t *report_json(const dstack_snp_report *report, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = dstack_snp_report_to_json(report, &text, err);
    return rc == 0 ? json_parse(bytes_of_buf(&text), SIZE_MAX, "report", err) : NULL;
}

static int run_parse(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    dstack_snp_report report;
    int rc = read_report(argv[0], &raw, err);
    if (rc == 0) {
        rc = dstack_snp_report_parse(&report, bytes_of_buf(&raw), err);
    }
    DSTACK_AUTO(json) json_t *object = rc == 0 ? report_json(&report, err) : NULL;
    if (object == NULL) {
        return rc != 0 ? rc : err->status;
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "SEV-SNP report (nothing is verified)");
    cli_print_object(cli, object);
    return 0;
}

/* ---- certificates ---- */

/* A certificate or list file: PEM (of that label) or DER. */
static int read_der(const char *dir, const char *name, const char *label, dstack_buf *out,
                    dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0}, content = {0};
    DSTACK_AUTO(pem_block) pem_block block = {0};
    pem_reader reader;
    bool found = false;
    buf_put_fmt(&path, "%s/%s", dir, name);
    int rc = cli_read(buf_text(&path), CERT_FILE_MAX, &content, err);
    buf_reset(out);
    if (rc != 0 || !pem_looks_like(bytes_of_buf(&content))) {
        buf_put_bytes(out, bytes_of_buf(&content));
        return rc != 0 ? rc : buf_check(out, err);
    }
    pem_reader_init(&reader, bytes_of_buf(&content));
    rc = pem_next(&reader, &block, &found, err);
    if (rc == 0 && (!found || !bytes_equal_str(block.label, label))) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: no %s in the PEM text", name, label);
    }
    buf_put_bytes(out, bytes_of_buf(&block.der));
    return rc == 0 ? buf_check(out, err) : rc;
}

static bool ends_with(const char *name, const char *end) {
    const size_t len = strlen(name), tail = strlen(end);
    return len > tail && strcmp(name + len - tail, end) == 0;
}

static int take_file(const char *dir, const char *name, dstack_snp_certs *out, dstack_error *err) {
    if (ends_with(name, ".crl")) {
        return read_der(dir, name, "X509 CRL", &out->crl, err);
    }
    if (strncmp(name, "ask.", 4) == 0 || strncmp(name, "asvk.", 5) == 0) {
        return read_der(dir, name, "CERTIFICATE", &out->ask, err);
    }
    if (strncmp(name, "vcek.", 5) == 0 || strncmp(name, "vlek.", 5) == 0) {
        out->is_vlek = name[1] == 'l';
        return read_der(dir, name, "CERTIFICATE", &out->vcek, err);
    }
    return 0; /* a root that comes along is nobody's anchor */
}

static int read_folder(const char *dir, dstack_snp_certs *out, dstack_error *err) {
    DIR *folder = opendir(dir);
    int rc = 0;
    if (folder == NULL) {
        return error_set_errno(err, DSTACK_E_IO, "%s", dir);
    }
    for (struct dirent *entry; rc == 0 && (entry = readdir(folder)) != NULL;) {
        rc = take_file(dir, entry->d_name, out, err);
    }
    closedir(folder);
    return rc; /* what the folder lacks is fetched */
}

static int read_certs(const char *path, dstack_snp_certs *out, dstack_error *err) {
    struct stat status;
    DSTACK_AUTO(buf) dstack_buf table = {0};
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        return read_folder(path, out, err);
    }
    int rc = cli_read(path, CERT_FILE_MAX, &table, err);
    const dstack_bytes blob = bytes_of_buf(&table);
    return rc == 0 ? dstack_snp_certs_from_blobs(&blob, 1, out, err) : rc;
}

/* ---- verify ---- */

static int read_floor(struct cli *cli, dstack_snp_tcb *out, dstack_error *err) {
    static const char *const names[][2] = {{"fmc", "fmc"},
                                           {"boot_loader", "bl"},
                                           {"tee", "tee"},
                                           {"snp", "snp"},
                                           {"microcode", "ucode"}};
    uint8_t *const targets[] = {&out->fmc, &out->boot_loader, &out->tee, &out->snp,
                                &out->microcode};
    DSTACK_AUTO(json)
    json_t *object = cli_json_or_file(cli_value(cli, "min-tcb", NULL), CERT_FILE_MAX, err);
    if (object == NULL) {
        return err->status;
    }
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        size_t i = 0;
        while (i < 5 && strcmp(key, names[i][0]) != 0 && strcmp(key, names[i][1]) != 0) {
            i++;
        }
        const json_int_t number = json_integer_value(value);
        if (i == 5 || !json_is_integer(value) || number < 0 || number > 255) {
            return cli_usage(err, "--min-tcb: numbers for fmc, boot_loader, tee, snp, microcode");
        }
        *targets[i] = (uint8_t)number;
        out->has_fmc |= i == 0;
    }
    return 0;
}

static json_t *verdict_json(const dstack_snp_verdict *v, dstack_error *err) {
    json_t *report = report_json(&v->report, err);
    return report == NULL ? NULL
                          : json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:o}", "product",
                                      dstack_snp_product_name(v->product), "tcb_status",
                                      dstack_tcb_status_name(v->status), "anchor", v->anchor.name,
                                      "external_root", !v->anchor.builtin, "crl_checked",
                                      v->crl_checked, "vcek_bound", v->vcek_bound, "valid_until",
                                      (json_int_t)v->valid_until, "report", report);
}

/* A root given takes the place of every product's. */
static int set_roots(struct cli *cli, cli_roots *file, dstack_snp_options *options,
                     dstack_error *err) {
    const char *path = cli_value(cli, "root", NULL);
    int rc = path == NULL ? 0 : cli_read_roots(path, file, err);
    if (rc == 0 && path != NULL && file->count != 1) {
        rc = cli_usage(err, "--root must hold one certificate");
    }
    for (size_t i = 0; rc == 0 && path != NULL && i < DSTACK_SNP_PRODUCTS; i++) {
        options->roots[i] = file->roots[0].cert;
    }
    return rc;
}

/* A chain at hand is enough, unless the revocation list is wanted too. */
static int complete(struct cli *cli, dstack_bytes report, const dstack_snp_options *options,
                    dstack_snp_certs *certs, dstack_error *err) {
    DSTACK_AUTO(cli_kds) cli_kds kds = {0};
    bool lacks = certs->vcek.len == 0 || certs->ask.len == 0 ||
                 (certs->crl.len == 0 && cli_has(cli, "require-crl"));
    int rc = lacks ? cli_kds_read(cli, &kds, err) : 0;
    return rc == 0 && lacks ? dstack_snp_certs_fetch(report, options, &kds.servers, certs, err)
                            : rc;
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0}, nonce = {0};
    DSTACK_AUTO(snp_certs) dstack_snp_certs certs = {0};
    DSTACK_AUTO(cli_roots) cli_roots roots = {0};
    dstack_snp_verdict verdict;
    dstack_snp_tcb floor = {0};
    uint8_t data[64] = {0}, host[32];
    bool data_given = false, host_given = false;
    dstack_snp_options options = {.now = cli->now,
                                  .allow_debug = cli_has(cli, "allow-debug"),
                                  .vlek_provider = cli_value(cli, "vlek-provider", NULL)};
    int rc = read_report(argv[0], &raw, err);
    rc = rc == 0 && cli_has(cli, "certs") ? read_certs(cli_value(cli, "certs", NULL), &certs, err)
                                          : rc;
    rc = rc == 0 ? set_roots(cli, &roots, &options, err) : rc;
    rc = rc == 0 ? cli_hex_fixed(cli, "report-data", data, sizeof data, &data_given, err) : rc;
    rc = rc == 0 ? cli_hex_fixed(cli, "host-data", host, sizeof host, &host_given, err) : rc;
    if (rc == 0 && !data_given && cli_has(cli, "nonce")) {
        data_given = true;
        rc = cli_hex(cli, "nonce", &nonce, err);
        rc = rc == 0 ? dstack_report_data_pad(bytes_of_buf(&nonce), data, err) : rc;
    }
    if (rc == 0 && cli_has(cli, "min-tcb")) {
        rc = read_floor(cli, &floor, err);
        options.min_tcb = &floor;
    }
    options.report_data = data_given ? data : NULL;
    options.host_data = host_given ? host : NULL;
    rc = rc == 0 ? complete(cli, bytes_of_buf(&raw), &options, &certs, err) : rc;
    if (rc == 0) {
        rc = dstack_snp_verify(bytes_of_buf(&raw), &certs, &options, &verdict, err);
    }
    DSTACK_AUTO(json) json_t *object = rc == 0 ? verdict_json(&verdict, err) : NULL;
    if (object == NULL) {
        return rc != 0 ? rc : DSTACK_E_MEMORY;
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "SEV-SNP report verified");
    cli_field(cli, "product", "%s", dstack_snp_product_name(verdict.product));
    cli_field(cli, "status", "%s", dstack_tcb_status_name(verdict.status));
    cli_field(cli, "trust anchor", "%s%s", verdict.anchor.name,
              verdict.anchor.builtin ? "" : " (pinned by --root, not AMD's)");
    if (!verdict.vcek_bound) {
        cli_note(cli, "warning: the certificate does not name a chip and firmware versions");
    }
    cli_heading(cli, "Report");
    cli_print_object(cli, json_object_get(object, "report"));
    return 0;
}

static const struct cli_command snp_parse = {
    .name = "parse",
    .summary = "Show every field of an SEV-SNP report",
    .usage = "REPORT",
    .help = "REPORT is 1184 bytes, binary, in hex or in base64. Nothing is verified.",
    .min_args = 1,
    .max_args = 1,
    .run = run_parse,
};

static const struct cli_option verify_options[] = {
    {"certs", 0, "DIR|TABLE", "ask.*, vcek.* or vlek.*, *.crl; or a kernel's table"},
    CLI_KDS_OPTIONS,
    {"cache", 0, "DIR", "folder in which fetched certificates are kept"},
    {"no-cache", 0, NULL, "neither use nor keep what was fetched"},
    {"require-crl", 0, NULL, "fetch AMD's revocation list also when --certs has a chain"},
    {"root", 0, "FILE", "trust this root (ARK, PEM or DER) in place of AMD's"},
    {"min-tcb", 0, "JSON", "least firmware versions: boot_loader, tee, snp, microcode, fmc"},
    {"report-data", 0, "HEX", "refuse unless the report carries these 64 bytes"},
    {"nonce", 0, "HEX", "refuse unless it carries these bytes with zeros after them"},
    {"host-data", 0, "HEX", "refuse unless the report carries these 32 bytes of the host's"},
    {"vlek-provider", 0, "ID", "accept a VLEK of this cloud provider"},
    {"allow-debug", 0, NULL, "let guests whose policy allows debugging pass"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command snp_verify = {
    .name = "verify",
    .summary = "Verify an SEV-SNP report against AMD's roots",
    .usage = "REPORT [--certs DIR|TABLE] [--kds URL] [--root FILE] [--min-tcb JSON] [--now UNIX]",
    .help = "Certificates that --certs does not give are fetched from AMD's key distribution\n"
            "service, together with its revocation list, and kept. A list among the given ones is\n"
            "consulted; with a chain given, one is fetched with --require-crl only.",
    .options = verify_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_command *const snp_children[] = {&snp_parse, &snp_verify, NULL};

const struct cli_command cli_command_snp = {
    .name = "snp",
    .summary = "AMD SEV-SNP attestation reports",
    .children = snp_children,
};
