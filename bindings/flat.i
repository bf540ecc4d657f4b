/* Calls whose C form takes structs of pointers, as functions of plain arguments. */
%{
#define FLAT_NAMES_MAX 64
%}
%ignore flat_agent_key_move;
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

/* A chain of Sign: the signature and the two links, one by one. */
static int flat_sign_chain_verify(dstack_bytes public_key, const char *algorithm, dstack_bytes data,
                                  dstack_bytes signature, dstack_bytes link, dstack_bytes issued,
                                  dstack_bytes app_id, dstack_bytes kms_root,
                                  uint8_t app_public[33], dstack_error *err) {
    const dstack_bytes chain[3] = {signature, link, issued};
    dstack_sign_algorithm kind;
    const int rc = dstack_sign_algorithm_parse(algorithm, &kind, err);
    return rc != 0 ? rc
                   : dstack_sign_chain_verify(public_key, kind, data, chain, app_id, kms_root,
                                              app_public, err);
}

/* What a key holds moves out; the rest is cleared. */
static void flat_agent_key_move(dstack_agent_key *from, dstack_secret **key, dstack_buf *link,
                                dstack_buf *issued) {
    const dstack_buf none = {0};
    *key = from->key;
    *link = from->link;
    *issued = from->issued;
    from->key = NULL;
    from->link = none;
    from->issued = none;
    dstack_agent_key_clear(from);
}

static int flat_agent_get_key(dstack_agent *agent, const char *path, const char *purpose,
                              const char *algorithm, dstack_secret **key, dstack_buf *link,
                              dstack_buf *issued, dstack_error *err) {
    dstack_agent_key made = {0};
    const int rc = dstack_agent_get_key(agent, path, purpose, algorithm, &made, err);
    if (rc == 0) {
        flat_agent_key_move(&made, key, link, issued);
    }
    return rc;
}

/* The public key of Ed25519 has a zero byte behind its 32. */
static int flat_agent_get_key_v1(dstack_agent *agent, const char *domain, const char *algorithm,
                                 dstack_secret **key, uint8_t public_key[33], dstack_buf *link,
                                 dstack_buf *issued, dstack_error *err) {
    dstack_agent_key made = {0};
    const int rc = dstack_agent_get_key_v1(agent, domain, algorithm, &made, err);
    if (rc == 0) {
        memcpy(public_key, made.public_key, made.public_key_len);
        flat_agent_key_move(&made, key, link, issued);
    }
    return rc;
}

/* Names are separated by line feeds; none is "". */
static int flat_agent_get_tls_key(dstack_agent *agent, const char *subject, const char *alt_names,
                                  bool ra_tls, bool server_auth, bool client_auth,
                                  bool with_app_info, uint64_t not_before, uint64_t not_after,
                                  dstack_secret **key, dstack_buf *chain, dstack_error *err) {
    const char *names[FLAT_NAMES_MAX];
    size_t count = 0;
    char *copy = strdup(alt_names), *rest = copy;
    if (copy == NULL) {
        return flat_refuse(err, "out of memory");
    }
    for (char *name; *alt_names != '\0' && count < FLAT_NAMES_MAX &&
                     (name = strsep(&rest, "\n")) != NULL;) {
        names[count++] = name;
    }
    const dstack_agent_tls_request request = {.subject = subject,
                                              .alt_names = names,
                                              .alt_name_count = count,
                                              .ra_tls = ra_tls,
                                              .server_auth = server_auth,
                                              .client_auth = client_auth,
                                              .with_app_info = with_app_info,
                                              .not_before = not_before,
                                              .not_after = not_after};
    const int rc = rest != NULL && *alt_names != '\0'
                       ? flat_refuse(err, "too many alternative names")
                       : dstack_agent_get_tls_key(agent, &request, key, chain, err);
    free(copy);
    return rc;
}

static int flat_agent_get_info(dstack_agent *agent, uint8_t app_id[20], uint8_t instance_id[20],
                               uint8_t compose_hash[32], dstack_error *err) {
    dstack_agent_info info = {0};
    const int rc = dstack_agent_get_info(agent, &info, err);
    if (rc == 0) {
        memcpy(app_id, info.app_id, 20);
        memcpy(instance_id, info.instance_id, 20);
        memcpy(compose_hash, info.compose_hash, 32);
    }
    return rc;
}

static int flat_tee_open(const char *url, dstack_bytes sim_root, int64_t timeout_ms,
                         dstack_tee **out, dstack_error *err) {
    const dstack_tee_options options = {.sim_root = sim_root, .timeout_ms = timeout_ms};
    return dstack_tee_open(url, &options, out, err);
}

static int flat_tee_quote(dstack_tee *tee, dstack_bytes report_data, dstack_buf *quote,
                          dstack_error *err) {
    if (report_data.len != DSTACK_TEE_REPORT_DATA_SIZE) {
        return flat_refuse(err, "report data must have 64 bytes");
    }
    return dstack_tee_quote(tee, report_data.data, quote, err);
}

static int flat_tee_extend(dstack_tee *tee, uint32_t index, dstack_bytes digest, const char *event,
                           dstack_error *err) {
    if (digest.len != DSTACK_TEE_REGISTER_SIZE) {
        return flat_refuse(err, "a digest must have 48 bytes");
    }
    return dstack_tee_extend(tee, index, digest.data, event, err);
}

static int flat_tee_registers(dstack_tee *tee, uint8_t mrtd[48], uint8_t rtmr0[48],
                              uint8_t rtmr1[48], uint8_t rtmr2[48], uint8_t rtmr3[48],
                              dstack_error *err) {
    dstack_tee_info info;
    uint8_t *const to[4] = {rtmr0, rtmr1, rtmr2, rtmr3};
    const int rc = dstack_tee_info_get(tee, &info, err);
    if (rc == 0) {
        memcpy(mrtd, info.mrtd, 48);
        for (int i = 0; i < 4; i++) {
            memcpy(to[i], info.rtmr[i], 48);
        }
    }
    return rc;
}
%}
