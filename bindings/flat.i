/* Calls whose C form takes structs of pointers, as functions of plain arguments. */
%inline %{
/* Quote as JSON: parsed, nothing verified. */
static int flat_quote_to_json(dstack_bytes quote, dstack_buf *out, dstack_error *err) {
    dstack_quote parsed;
    const int rc = dstack_quote_parse(&parsed, quote, err);
    return rc != 0 ? rc : dstack_quote_to_json(&parsed, false, out, err);
}

/* `root` is DER of one further anchor, or empty. */
static int flat_verifier_new(dstack_bytes root, const char *root_name, bool builtin_root,
                             bool allow_debug, bool allow_service_td, dstack_verifier **out,
                             dstack_error *err) {
    const dstack_trust_root pinned = {.name = root_name, .cert = root};
    const dstack_verifier_options options = {.roots = &pinned,
                                             .root_count = root.len > 0 ? 1 : 0,
                                             .no_builtin_root = !builtin_root,
                                             .allow_debug = allow_debug,
                                             .allow_service_td = allow_service_td};
    return dstack_verifier_new(out, &options, err);
}

static int flat_collateral_fetch(dstack_bytes quote, const char *url, int64_t timeout_ms,
                                 const char *proxy, dstack_collateral **out, dstack_error *err) {
    const dstack_collateral_servers servers = {
        .urls = &url, .url_count = url != NULL ? 1 : 0, .timeout_ms = timeout_ms, .proxy = proxy};
    return dstack_collateral_fetch(out, quote, &servers, err);
}

/* Appends the report as JSON. */
static int flat_quote_check(dstack_verifier *verifier, dstack_bytes quote, dstack_bytes report_data,
                            const dstack_policy *policy, int64_t now, dstack_buf *out,
                            dstack_error *err) {
    dstack_quote_report report;
    if (report_data.len != 0 && report_data.len != DSTACK_REPORT_DATA_SIZE) {
        return flat_refuse(err, "report data must have 64 bytes");
    }
    const dstack_quote_expectations expected = {
        .report_data = report_data.len != 0 ? report_data.data : NULL, .policy = policy};
    const int rc = dstack_verifier_check(verifier, quote, &expected, now, &report, err);
    return rc != 0 ? rc : dstack_quote_report_to_json(&report, false, out, err);
}

static int flat_attestation_verify(dstack_verifier *verifier, const dstack_attestation *attestation,
                                   dstack_bytes report_data, const dstack_policy *policy,
                                   const char *vm_config, bool boot_time, bool require_mr_config,
                                   const char *image_dir, int64_t now, dstack_verified **out,
                                   dstack_error *err) {
    if (report_data.len != 0 && report_data.len != DSTACK_REPORT_DATA_SIZE) {
        return flat_refuse(err, "report data must have 64 bytes");
    }
    const dstack_attestation_options options = {
        .now = now,
        .report_data = report_data.len != 0 ? report_data.data : NULL,
        .vm_config = vm_config,
        .boot_time = boot_time,
        .require_mr_config = require_mr_config,
        .policy = policy,
        .image = dstack_measure_image_check,
        .image_user = (void *)image_dir};
    return dstack_attestation_verify(verifier, attestation, &options, out, err);
}

/* `*out` is None/NULL when the certificate carries no evidence and none is required. */
static int flat_cert_verify(dstack_verifier *verifier, const dstack_cert *cert, dstack_bytes root,
                            dstack_bytes intermediates, const char *host, const char *usage,
                            dstack_bytes app_id, bool require_attestation,
                            const dstack_policy *policy, const char *vm_config,
                            bool require_mr_config, const char *image_dir, int64_t now,
                            dstack_verified **out, dstack_error *err) {
    const dstack_attestation_options options = {.now = now,
                                                .vm_config = vm_config,
                                                .require_mr_config = require_mr_config,
                                                .policy = policy,
                                                .image = dstack_measure_image_check,
                                                .image_user = (void *)image_dir};
    const dstack_cert_check check = {.now = now,
                                     .root = root,
                                     .intermediates = intermediates,
                                     .host = host,
                                     .usage = usage,
                                     .app_id = app_id,
                                     .require_attestation = require_attestation,
                                     .attestation = &options};
    return dstack_cert_verify(verifier, cert, &check, out, err);
}

/* The evidence of a certificate, encoded; empty when it carries none. */
static int flat_cert_attestation(const dstack_cert *cert, dstack_buf *out, dstack_error *err) {
    const dstack_attestation *attestation = dstack_cert_attestation(cert);
    return attestation == NULL ? 0
                               : dstack_attestation_encode(
                                     attestation, DSTACK_ATTESTATION_AS_DECODED, out, err);
}

static int flat_event_log_replay(const dstack_event_log *log, uint8_t rtmr0[48], uint8_t rtmr1[48],
                                 uint8_t rtmr2[48], uint8_t rtmr3[48], dstack_error *err) {
    dstack_registers registers;
    uint8_t *const to[4] = {rtmr0, rtmr1, rtmr2, rtmr3};
    const int rc = dstack_event_log_replay(log, &registers, err);
    for (int i = 0; rc == 0 && i < 4; i++) {
        memcpy(to[i], registers.rtmr[i], sizeof registers.rtmr[i]);
    }
    return rc;
}

/* Keeps every variable whose key is in `allowed`, names separated by line feeds. */
static int flat_env_decrypt(dstack_bytes blob, const dstack_secret *key, const char *allowed,
                            dstack_env **out, dstack_error *err) {
    const char *names[DSTACK_ENV_ENTRIES_MAX];
    size_t count = 0;
    char *copy = strdup(allowed), *rest = copy;
    for (char *name; copy != NULL && count < DSTACK_ENV_ENTRIES_MAX &&
                     (name = strsep(&rest, "\n")) != NULL;) {
        names[count++] = name;
    }
    const int rc = copy == NULL ? flat_refuse(err, "out of memory")
                                : dstack_env_decrypt(blob, key, names, count, out, NULL, err);
    free(copy);
    return rc;
}

/* Registers of a machine that boots the image of a folder. `vm_config` is its JSON text. The three
 * digests of ACPI tables have 48 bytes each. */
static int flat_measure_tdx(const char *image_dir, dstack_bytes vm_config, dstack_bytes acpi_loader,
                            dstack_bytes acpi_rsdp, dstack_bytes acpi_tables, uint8_t mrtd[48],
                            uint8_t rtmr0[48], uint8_t rtmr1[48], uint8_t rtmr2[48],
                            dstack_error *err) {
    dstack_image image = {0};
    dstack_vm_config config = {0};
    dstack_measurements made;
    uint8_t *const to[4] = {mrtd, rtmr0, rtmr1, rtmr2};
    if (acpi_loader.len != 48 || acpi_rsdp.len != 48 || acpi_tables.len != 48) {
        return flat_refuse(err, "digests of ACPI tables have 48 bytes");
    }
    int rc = dstack_vm_config_parse(vm_config, &config, err);
    rc = rc != 0 ? rc : dstack_image_load(image_dir, &image, err);
    if (rc == 0) {
        config.shape.has_acpi = true;
        memcpy(config.shape.acpi_loader, acpi_loader.data, 48);
        memcpy(config.shape.acpi_rsdp, acpi_rsdp.data, 48);
        memcpy(config.shape.acpi_tables, acpi_tables.data, 48);
        rc = dstack_measure_tdx(&image, &config.shape, &made, err);
    }
    for (int i = 0; rc == 0 && i < 4; i++) {
        memcpy(to[i], i == 0 ? made.mrtd : made.rtmr[i - 1], 48);
    }
    dstack_image_clear(&image);
    dstack_vm_config_clear(&config);
    return rc;
}
%}
