/* dstack attestation, eventlog, cert, compose, env: what scripts see. */
#include "attest/fixtures.h"
#include "attest/mock.h"
#include "check.h"

#include "cli.h"
#include "crypto/hash.h"

extern const struct cli_command cli_command_attestation, cli_command_eventlog, cli_command_cert,
    cli_command_compose, cli_command_env;

static const struct cli_command *const children[] = {
    &cli_command_attestation, &cli_command_eventlog, &cli_command_cert,
    &cli_command_compose,     &cli_command_env,      NULL};
static const struct cli_command root = {
    .name = "dstack", .summary = "test", .children = children, .max_args = -1};

static char folder[] = "/tmp/dstack-cli-XXXXXX";

static int set_up(void **state) {
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* Writes a file into the test's folder; the path stays valid until the next eight calls. */
static const char *file(const char *name, dstack_bytes content) {
    static char paths[8][128];
    static size_t next;
    char *path = paths[next++ % 8];
    dstack_error err = {0};
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    assert_ok(file_write_atomic(path, content, 0600, &err), err);
    return path;
}

static int run(json_t **document, const char *const *args) {
    char *argv[40] = {"dstack"};
    int argc = 1;
    for (; *args != NULL; args++) {
        argv[argc++] = (char *)(uintptr_t)*args;
    }
    argv[argc++] = "--json";
    char *text = NULL;
    size_t len = 0;
    dstack_error err = {0};
    FILE *out = open_memstream(&text, &len);
    FILE *diag = fopen("/dev/null", "w");
    int code = cli_main(&root, argc, argv, out, diag);
    fclose(out);
    fclose(diag);
    *document = json_parse(bytes_of(text, len), (size_t)16 << 20, "output", &err);
    free(text);
    if (*document == NULL) {
        fail_msg("%s", err.message);
    }
    return code;
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static void compose_hash_tells_what_the_guest_measures(void **state) {
    const char *path = file(
        "m.json",
        bytes_of_str("{\"manifest_version\":2,\"name\":\"t\",\"runner\":\"docker-compose\"}\n"));
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(run(&answer, ARGS("compose", "hash", path)), 0);
    assert_string_equal(text_of(answer, "compose_hash"),
                        "510e9d5d287bea391e0c9325fef3600e00e15623c59559ac5e4b1d61a1de639e");
    assert_string_equal(text_of(answer, "app_id"), "510e9d5d287bea391e0c9325fef3600e00e15623");
    assert_string_equal(text_of(answer, "canonical_hash"),
                        "ad30bc88a8de4b4d53aeb3dd88e6da533e8cf5c9b5523e7cfd900aa9358326c0");
    DSTACK_AUTO(json) json_t *refusal = NULL;
    path = file("bad.json", bytes_of_str("{\"name\":\"t\"}"));
    assert_int_equal(run(&refusal, ARGS("compose", "hash", path)), 1);
    assert_string_equal(text_of(json_object_get(refusal, "error"), "check"), "format");
}

static void env_encrypt_and_verify_key_serve_a_deployer(void **state) {
    static const char key[] = "4b03687002c7e0f6e8eaabea3edc108de72a06d2c2b64a3e14c34883645c7127";
    const char *path = file("env", bytes_of_str("B=2\nA=secret value\n"));
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(run(&answer, ARGS("env", "encrypt", "--key", key, path)), 0);
    assert_int_equal(strlen(text_of(answer, "encrypted_env")),
                     2 * (60 + strlen("{\"env\":[{\"key\":\"A\",\"value\":\"secret value\"},"
                                      "{\"key\":\"B\",\"value\":\"2\"}]}")));
    DSTACK_AUTO(json) json_t *usage = NULL;
    assert_int_equal(run(&usage, ARGS("env", "encrypt", "--key", "00", path)), 2);

    static const char *const args[] = {
        "env",
        "verify-key",
        "--key",
        "dededededededededededededededededededededededededededededededede",
        "--app-id",
        "abababababababababababababababababababab",
        "--signature",
        "c9e643b59985ab43c0ae4ec75e302d9d7a70abe0212f9928d5fc56563aa56b5415271d9ea4dd8d02125359dae4"
        "267d70"
        "4c374ba72a829bece6e16b5e3cdfc9f600",
        "--timestamp",
        "1700000000",
        "--now",
        "1700000100",
        "--signer",
        NULL,
        NULL};
    const char *with_signer[16];
    memcpy(with_signer, args, sizeof args);
    with_signer[13] = "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f";
    DSTACK_AUTO(json) json_t *good = NULL;
    assert_int_equal(run(&good, with_signer), 0);
    assert_true(json_is_true(json_object_get(good, "trusted")));
    with_signer[13] = "021b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f";
    DSTACK_AUTO(json) json_t *other = NULL;
    assert_int_equal(run(&other, with_signer), 1);
    assert_string_equal(text_of(json_object_get(other, "error"), "check"), "refused");
}

static void eventlog_replay_gives_registers(void **state) {
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(1);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    assert_int_equal(dstack_event_log_to_json(log, &text, NULL), 0);
    const char *path = file("log.json", bytes_of_buf(&text));
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(run(&answer, ARGS("eventlog", "replay", path)), 0);
    const json_t *rtmr3 = json_array_get(json_object_get(answer, "rtmr"), 3);
    assert_string_equal(
        text_of(rtmr3, "value"),
        "51e6737cc37085e270f04c1719caf0bb97a2d7e4396f570793ce9d61da7672cfeb07f01e154cb"
        "615295785002e931c47");
    DSTACK_AUTO(json) json_t *missing = NULL;
    assert_int_equal(run(&missing, ARGS("eventlog", "replay", "/nonexistent")), 3);
}

static void attestation_decode_reads_hex_and_binary(void **state) {
    uint8_t raw[2 + 1 + 1 + 1 + 64 + 1] = {0};
    DSTACK_AUTO(buf) dstack_buf hex = {0};
    buf_put_hex(&hex, bytes_of(raw, sizeof raw));
    const char *binary = file("a.bin", bytes_of(raw, sizeof raw));
    const char *text = file("a.hex", bytes_of_buf(&hex));
    DSTACK_AUTO(json) json_t *one = NULL;
    DSTACK_AUTO(json) json_t *two = NULL;
    assert_int_equal(run(&one, ARGS("attestation", "decode", binary)), 0);
    assert_int_equal(run(&two, ARGS("attestation", "decode", text)), 0);
    assert_true(json_equal(one, two));
    assert_string_equal(text_of(one, "tee_variant"), "dstack-tdx");
    DSTACK_AUTO(json) json_t *refused = NULL;
    assert_int_equal(
        run(&refused, ARGS("attestation", "verify", binary, "--pccs", "http://127.0.0.1:1")), 1);
}

static void attestation_verify_names_root_and_anchors(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    const json_t *item = json_array_get(cases, 0);
    DSTACK_AUTO(buf) dstack_buf request = {0};
    DSTACK_AUTO(buf) dstack_buf bundle = {0};
    dstack_error err = {0};
    assert_ok(json_write(json_object_get(item, "request"), false, &request, &err), err);
    dstack_collateral *collateral = mock_collateral();
    assert_ok(dstack_collateral_to_json(collateral, false, &bundle, &err), err);
    dstack_collateral_free(collateral);
    const char *evidence = file("request.json", bytes_of_buf(&request));
    const char *json = file("collateral.json", bytes_of_buf(&bundle));
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(run(&answer, ARGS("attestation", "verify", evidence, "--collateral", json,
                                       "--root", MOCK "roots/tdx.pem", "--now", "1795267944")),
                     0);
    assert_string_equal(text_of(answer, "anchor"), "tdx.pem");
    assert_true(json_is_true(json_object_get(answer, "external_root")));
    DSTACK_AUTO(json) json_t *refused = NULL;
    assert_int_equal(run(&refused, ARGS("attestation", "verify", evidence, "--collateral", json,
                                        "--now", "1795267944")),
                     1);
    DSTACK_AUTO(json) json_t *other = NULL;
    assert_int_equal(
        run(&other, ARGS("attestation", "verify", evidence, "--collateral", json, "--root",
                         MOCK "roots/tdx.pem", "--now", "1795267944", "--nonce", "00")),
        1);
}

static void attestation_verify_holds_evidence_to_a_whole_policy(void **state) {
    need_shared_data();
    static const char anchor[] = MOCK "roots/tdx.pem", now[] = "1795267944";
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    DSTACK_AUTO(buf) dstack_buf request = {0}, bundle = {0};
    dstack_error err = {0};
    const json_t *item = json_array_get(cases, 0);
    assert_ok(json_write(json_object_get(item, "request"), false, &request, &err), err);
    dstack_collateral *collateral = mock_collateral();
    assert_ok(dstack_collateral_to_json(collateral, false, &bundle, &err), err);
    dstack_collateral_free(collateral);
    const char *evidence = file("request.json", bytes_of_buf(&request));
    const char *json = file("collateral.json", bytes_of_buf(&bundle));
    const json_t *info =
        json_object_get(json_object_get(json_object_get(item, "response"), "details"), "app_info");
    DSTACK_AUTO(buf) dstack_buf pem = {0}, text = {0};
    uint8_t digest[32];
    load_file(anchor, &pem);
    pem_reader reader;
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = false;
    pem_reader_init(&reader, bytes_of_buf(&pem));
    assert_ok(pem_next(&reader, &block, &found, &err), err);
    hash_sha256(bytes_of_buf(&block.der), digest);
    buf_put_str(&text, "version: 1\nhardware_roots: ['");
    buf_put_hex(&text, bytes_of(digest, sizeof digest));
    buf_put_fmt(&text, "']\nos_image_hashes: ['%s']\nanchors: {os_image_hash: [policy]}\n",
                text_of(info, "os_image_hash"));
    const char *good = file("good.yaml", bytes_of_buf(&text));
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(run(&answer, ARGS("attestation", "verify", evidence, "--collateral", json,
                                       "--root", anchor, "--now", now, "--policy", good)),
                     0);
    assert_true(json_is_true(json_object_get(json_object_get(answer, "policy"), "accepted")));
    const char *bad = file("bad.yaml", bytes_of_str("version: 1\n"));
    DSTACK_AUTO(json) json_t *refused = NULL;
    assert_int_equal(run(&refused, ARGS("attestation", "verify", evidence, "--collateral", json,
                                        "--root", anchor, "--now", now, "--policy", bad)),
                     1);
    assert_non_null(
        strstr(text_of(json_object_get(refused, "error"), "message"), "hardware_roots"));
    const char *broken = file("broken.yaml", bytes_of_str("version: 1\napp: 1\n"));
    DSTACK_AUTO(json) json_t *error = NULL;
    assert_int_equal(run(&error, ARGS("attestation", "verify", evidence, "--collateral", json,
                                      "--root", anchor, "--now", now, "--policy", broken)),
                     1);
    assert_non_null(strstr(text_of(json_object_get(error, "error"), "message"), "unknown key app"));
}

static void cert_inspect_and_verify_read_a_chain(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *leaf = load_json(SHARED_DATA "attestation/ratls/leaf-simulated.json");
    const char *pem =
        json_string_value(json_array_get(json_object_get(leaf, "certificate_chain"), 0));
    const char *path = file("leaf.pem", bytes_of_str(pem));
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(run(&answer, ARGS("cert", "inspect", path)), 0);
    assert_string_equal(text_of(answer, "usage"), "app:custom");
    assert_string_equal(text_of(answer, "serial"), "3908c0b0630edb785b99db9bf2277e7abbe2ea95");
    DSTACK_AUTO(json) json_t *unreachable = NULL;
    assert_int_equal(
        run(&unreachable, ARGS("cert", "verify", path, "--pccs", "http://127.0.0.1:1")), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compose_hash_tells_what_the_guest_measures),
        cmocka_unit_test(env_encrypt_and_verify_key_serve_a_deployer),
        cmocka_unit_test(eventlog_replay_gives_registers),
        cmocka_unit_test(attestation_decode_reads_hex_and_binary),
        cmocka_unit_test(attestation_verify_names_root_and_anchors),
        cmocka_unit_test(attestation_verify_holds_evidence_to_a_whole_policy),
        cmocka_unit_test(cert_inspect_and_verify_read_a_chain),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
