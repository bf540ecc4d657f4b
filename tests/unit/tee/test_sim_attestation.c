/* From an image's files to a verified attestation: measured, simulated, quoted, encoded, stripped,
 * verified; and each part exchanged for another. */
#include "sim_fixture.h"

#include <dstack/attestation.h>
#include <dstack/collateral.h>
#include <dstack/measure.h>
#include <dstack/verifier.h>

#include "../measure/small_image.h"

typedef struct stage {
    sim_fixture f;
    char image_dir[64];
    dstack_image image;
    char *vm_config;
    dstack_collateral *collateral;
    dstack_verifier *verifier;
} stage;

/* vm_config of the lite scheme for an image folder. */
static char *make_vm_config(const char *dir, const char *os_image_hash) {
    DSTACK_AUTO(buf) dstack_buf checksums = {0}, document = {0}, text = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/sha256sum.txt", dir);
    load_file(path, &checksums);
    snprintf(path, sizeof path, "%s/measurement.tdx.cbor", dir);
    load_file(path, &document);
    buf_put_fmt(&text,
                "{\"os_image_hash\":\"%s\",\"cpu_count\":2,\"memory_size\":2147483648,"
                "\"qemu_version\":\"10.0.2\",\"tdx_attestation_variant\":\"lite\","
                "\"tdx_measurement\":{\"checksum_file\":\"",
                os_image_hash);
    base64_encode(bytes_of_buf(&checksums), BASE64_STANDARD, &text);
    buf_put_str(&text, "\",\"measurement\":\"");
    base64_encode(bytes_of_buf(&document), BASE64_STANDARD, &text);
    buf_put_str(&text, "\"}}");
    char *result = buf_detach_text(&text);
    assert_non_null(result);
    return result;
}

static void restart_with(stage *s, const char *vm_config) {
    dstack_error err = {0};
    dstack_vm_config config;
    assert_ok(dstack_vm_config_parse(bytes_of_str(vm_config), &config, &err), err);
    assert_ok(dstack_measure_tdx(&s->image, &config.shape, &s->f.measured, &err), err);
    dstack_vm_config_clear(&config);
    fixture_stop_server(&s->f);
    sim_vm_free(s->f.vm);
    assert_ok(sim_vm_start(s->f.keys, &s->f.measured, NULL, s->f.state, &s->f.vm, &err), err);
    fixture_start_server(&s->f);
}

static void stage_setup(stage *s) {
    memset(s, 0, sizeof *s);
    dstack_error err = {0};
    strcpy(s->image_dir, "/tmp/dstack-image-XXXXXX");
    small_image_make(s->image_dir, "one");
    assert_ok(dstack_image_load(s->image_dir, &s->image, &err), err);
    s->vm_config = make_vm_config(s->image_dir, s->image.os_image_hash);
    fixture_setup(&s->f);
    restart_with(s, s->vm_config);
    assert_ok(dstack_collateral_parse(&s->collateral, sim_keys_collateral(s->f.keys), &err), err);
    const dstack_trust_root roots[] = {{.name = "simulation", .cert = sim_keys_root(s->f.keys)}};
    const dstack_verifier_options options = {.roots = roots, .root_count = 1};
    assert_ok(dstack_verifier_new(&s->verifier, &options, &err), err);
    assert_ok(dstack_verifier_add_collateral(s->verifier, s->collateral, &err), err);
}

static void stage_teardown(stage *s) {
    dstack_verifier_free(s->verifier);
    dstack_collateral_free(s->collateral);
    free(s->vm_config);
    fixture_teardown(&s->f);
    dstack_image_clear(&s->image);
    small_image_remove(s->image_dir);
}

/* What the guest does: measure the app, quote, put the logs together. */
static dstack_attestation *attest(stage *s, const char *vm_config) {
    dstack_error err = {0};
    dstack_tee *tee = fixture_open(&s->f);
    static const uint8_t app_id[20] = {0xaa}, compose_hash[32] = {0xcc};
    static const uint8_t report_data[64] = {0x11};
    const struct {
        const char *name;
        dstack_bytes payload;
    } events[] = {
        {"system-preparing", {0}},
        {"app-id", bytes_of(app_id, sizeof app_id)},
        {"compose-hash", bytes_of(compose_hash, sizeof compose_hash)},
        {"boot-mr-done", {0}},
        {"system-ready", {0}},
    };
    dstack_event_log *runtime = dstack_event_log_new(), *log = NULL;
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        uint8_t digest[48];
        assert_ok(dstack_runtime_event_digest(events[i].name, events[i].payload, 1, digest, &err),
                  err);
        assert_ok(dstack_tee_extend(tee, 3, digest, events[i].name, &err), err);
        assert_ok(dstack_event_log_add_runtime(runtime, events[i].name, events[i].payload, 1, &err),
                  err);
    }
    dstack_tee_report report;
    assert_ok(dstack_tee_evidence(tee, report_data, &report, &err), err);
    assert_ok(dstack_event_log_parse_ccel(bytes_of_buf(&report.boot_log), &log, &err), err);
    assert_ok(dstack_event_log_append(log, runtime, &err), err);
    dstack_registers replayed;
    assert_ok(dstack_event_log_replay(log, &replayed, &err), err);
    assert_memory_equal(replayed.rtmr, report.info.rtmr, sizeof replayed.rtmr);
    dstack_attestation *whole = NULL, *stripped = NULL;
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&report.quote), log, runtime, vm_config,
                                         &whole, &err),
              err);
    assert_ok(dstack_attestation_strip(whole, &stripped, &err), err);
    dstack_attestation_free(whole);
    dstack_event_log_free(log);
    dstack_event_log_free(runtime);
    dstack_tee_report_clear(&report);
    dstack_tee_close(tee);
    return stripped;
}

static int verify(stage *s, const dstack_attestation *attestation, const char *image_dir,
                  dstack_anchor *anchor, dstack_error *err) {
    const dstack_attestation_options options = {
        .now = FIXTURE_NOW, .image = dstack_measure_image_check, .image_user = (void *)image_dir};
    dstack_verified *verified = NULL;
    const int rc = dstack_attestation_verify(s->verifier, attestation, &options, &verified, err);
    if (rc == 0) {
        assert_true(dstack_verified_external_root(verified));
        *anchor = dstack_verified_image_anchor(verified);
        char hash[65];
        hex_encode(bytes_of(dstack_verified_identity(verified)->os_image_hash.data, 32), hash);
        assert_string_equal(hash, s->image.os_image_hash);
    }
    dstack_verified_free(verified);
    return rc;
}

static void a_measured_guest_verifies_and_its_image_claim_names_its_anchor(void **state) {
    stage s;
    stage_setup(&s);
    dstack_error err = {0};
    dstack_anchor anchor = DSTACK_ANCHOR_NONE;
    dstack_attestation *a = attest(&s, s.vm_config);
    /* The prover's own document alone proves consistency, not provenance (row 26). */
    assert_ok(verify(&s, a, NULL, &anchor, &err), err);
    assert_int_equal(anchor, DSTACK_ANCHOR_SELF_ASSERTED);
    assert_ok(verify(&s, a, s.image_dir, &anchor, &err), err);
    assert_int_equal(anchor, DSTACK_ANCHOR_REFERENCE_IMAGE);
    dstack_attestation_free(a);
    stage_teardown(&s);
}

static void sec_26_another_images_hash_or_document_is_refused(void **state) {
    stage s;
    stage_setup(&s);
    dstack_error err = {0};
    dstack_anchor anchor;
    char other_dir[] = "/tmp/dstack-image-XXXXXX";
    small_image_make(other_dir, "two");
    char hash[65];
    assert_ok(dstack_measure_digest(other_dir, hash, &err), err);
    char *other = make_vm_config(other_dir, hash);
    char *mixed = make_vm_config(s.image_dir, hash);
    dstack_attestation *a = attest(&s, other);
    assert_int_equal(verify(&s, a, NULL, &anchor, &err), DSTACK_E_REFUSED);
    dstack_attestation_free(a);
    restart_with(&s, s.vm_config);
    a = attest(&s, mixed);
    assert_int_equal(verify(&s, a, NULL, &anchor, &err), DSTACK_E_REFUSED);
    dstack_attestation_free(a);
    /* No material, and the caller has another image than the one that is named. */
    DSTACK_AUTO(buf) dstack_buf bare = {0};
    buf_put_fmt(&bare,
                "{\"os_image_hash\":\"%s\",\"cpu_count\":2,\"memory_size\":2147483648,"
                "\"qemu_version\":\"10.0.2\"}",
                s.image.os_image_hash);
    restart_with(&s, s.vm_config);
    a = attest(&s, buf_text(&bare));
    assert_int_equal(verify(&s, a, NULL, &anchor, &err), DSTACK_E_REFUSED);
    assert_int_equal(verify(&s, a, other_dir, &anchor, &err), DSTACK_E_REFUSED);
    assert_ok(verify(&s, a, s.image_dir, &anchor, &err), err);
    assert_int_equal(anchor, DSTACK_ANCHOR_REFERENCE_IMAGE);
    dstack_attestation_free(a);
    free(other);
    free(mixed);
    small_image_remove(other_dir);
    stage_teardown(&s);
}

static void a_machine_of_another_memory_size_than_stated_is_refused(void **state) {
    stage s;
    stage_setup(&s);
    dstack_error err = {0};
    dstack_anchor anchor;
    char *lied = strdup(s.vm_config);
    char *digits = strstr(lied, "2147483648");
    assert_non_null(digits);
    memcpy(digits, "4294967296", 10);
    dstack_attestation *a = attest(&s, lied);
    assert_int_equal(verify(&s, a, NULL, &anchor, &err), DSTACK_E_REFUSED);
    assert_non_null(strstr(err.message, "RTMR0"));
    dstack_attestation_free(a);
    free(lied);
    stage_teardown(&s);
}

/* A copy of the machine's configuration with one text in it changed for another of its length. */
static char *altered(const stage *s, const char *from, const char *to) {
    char *text = strdup(s->vm_config);
    assert_non_null(text);
    char *at = strstr(text, from);
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    return text;
}

static void acpi_tables_of_another_machine_than_stated_are_refused_by_name(void **state) {
    stage s;
    stage_setup(&s);
    dstack_error err = {0};
    dstack_anchor anchor;
    char *lied = altered(&s, "\"cpu_count\":2", "\"cpu_count\":3");
    dstack_attestation *a = attest(&s, lied);
    const char *const images[] = {NULL, s.image_dir};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(verify(&s, a, images[i], &anchor, &err), DSTACK_E_REFUSED);
        assert_non_null(strstr(err.message, "ACPI loader mismatch: QEMU 10.0.2"));
    }
    dstack_attestation_free(a);
    free(lied);
    stage_teardown(&s);
}

static void a_qemu_whose_tables_are_not_known_is_refused(void **state) {
    stage s;
    stage_setup(&s);
    dstack_error err = {0};
    dstack_anchor anchor;
    char *newer = altered(&s, "10.0.2", "99.0.2");
    dstack_attestation *a = attest(&s, newer);
    assert_int_equal(verify(&s, a, s.image_dir, &anchor, &err), DSTACK_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "ACPI tables of QEMU 99.0.2 are not known"));
    dstack_attestation_free(a);
    free(newer);
    stage_teardown(&s);
}

/* A document holds for some sizes only, because the kernel's header tells where the initrd is. */
static void an_image_at_hand_verifies_machines_of_any_memory_size(void **state) {
    stage s;
    stage_setup(&s);
    dstack_error err = {0};
    dstack_anchor anchor;
    char *small = altered(&s, "2147483648", "1073741824");
    restart_with(&s, small);
    dstack_attestation *a = attest(&s, small);
    assert_ok(verify(&s, a, s.image_dir, &anchor, &err), err);
    assert_int_equal(anchor, DSTACK_ANCHOR_REFERENCE_IMAGE);
    assert_int_equal(verify(&s, a, NULL, &anchor, &err), DSTACK_E_ARGUMENT);
    dstack_attestation_free(a);
    free(small);
    stage_teardown(&s);
}

/* Another process of the guest extends the register behind the log's back: no evidence any more. */
static void sec_07_a_log_that_misses_an_extension_is_refused(void **state) {
    stage s;
    stage_setup(&s);
    dstack_error err = {0};
    dstack_anchor anchor;
    dstack_tee *tee = fixture_open(&s.f);
    uint8_t digest[48];
    assert_ok(dstack_runtime_event_digest("system-preparing", (dstack_bytes){0}, 1, digest, &err),
              err);
    dstack_event_log *runtime = dstack_event_log_new(), *log = NULL;
    assert_ok(dstack_tee_extend(tee, 3, digest, "system-preparing", &err), err);
    assert_ok(dstack_event_log_add_runtime(runtime, "system-preparing", (dstack_bytes){0}, 1, &err),
              err);
    assert_ok(dstack_tee_extend(tee, 3, digest, "unlogged", &err), err);
    const uint8_t report_data[64] = {0};
    dstack_tee_report report;
    assert_ok(dstack_tee_evidence(tee, report_data, &report, &err), err);
    assert_ok(dstack_event_log_parse_ccel(bytes_of_buf(&report.boot_log), &log, &err), err);
    assert_ok(dstack_event_log_append(log, runtime, &err), err);
    dstack_attestation *a = NULL;
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&report.quote), log, runtime, s.vm_config, &a,
                                         &err),
              err);
    assert_int_equal(verify(&s, a, NULL, &anchor, &err), DSTACK_E_REFUSED);
    dstack_attestation_free(a);
    dstack_event_log_free(log);
    dstack_event_log_free(runtime);
    dstack_tee_report_clear(&report);
    dstack_tee_close(tee);
    stage_teardown(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_measured_guest_verifies_and_its_image_claim_names_its_anchor),
        cmocka_unit_test(sec_26_another_images_hash_or_document_is_refused),
        cmocka_unit_test(a_machine_of_another_memory_size_than_stated_is_refused),
        cmocka_unit_test(acpi_tables_of_another_machine_than_stated_are_refused_by_name),
        cmocka_unit_test(a_qemu_whose_tables_are_not_known_is_refused),
        cmocka_unit_test(an_image_at_hand_verifies_machines_of_any_memory_size),
        cmocka_unit_test(sec_07_a_log_that_misses_an_extension_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
