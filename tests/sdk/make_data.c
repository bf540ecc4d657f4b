/* Makes a folder of input files for `dstack-agent simulate`, and what a verifier of its recorded
 * evidence needs: simulated hardware boots a small image, measures an app and quotes. The keys are
 * fresh each time.
 *
 *   make_data DIR
 *
 * appkeys.json, app-compose.json, sys-config.json, attestation.bin   the simulator's inputs
 * root.der, collateral.json, image/                                  for verification
 * kms.json   app_id, kms_root (public key), env_public and env_secret (X25519)
 * ratls.pem  certificate and, in ratls.key, key whose evidence verifies under root.der
 */
#include "../unit/cli/verify_fixture.h"

#include <dstack/keys.h>
#include <sodium.h>
#include <sys/stat.h>
#include <time.h>

#define MANIFEST                                                                                   \
    "{\"allowed_envs\":[],\"docker_compose_file\":\"services: {}\\n\",\"gateway_enabled\":false,"  \
    "\"key_provider\":\"none\",\"manifest_version\":2,\"name\":\"sdk-test\",\"public_logs\":true," \
    "\"public_sysinfo\":true,\"public_tcbinfo\":true,\"runner\":\"docker-compose\"}"

static const char *out_dir;

static const char *out_path(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", out_dir, name);
    return path;
}

static void put_file(const char *name, dstack_bytes content) {
    dstack_error err = {0};
    assert_ok(file_write_atomic(out_path(name), content, 0600, &err), err);
}

static void put_json(const char *name, json_t *value) {
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *owned = value;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    assert_non_null(owned);
    assert_ok(json_write(owned, true, &text, &err), err);
    put_file(name, bytes_of_buf(&text));
}

static dstack_secret *random_secret(void) {
    dstack_secret *secret = dstack_secret_new(32);
    assert_non_null(secret);
    randombytes_buf(dstack_secret_data(secret), 32);
    return secret;
}

static json_t *json_secret(const dstack_secret *secret) {
    return json_hex(bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret)));
}

/* Keys as a KMS would have derived them for the app; the app's CA is its own. */
static void put_keys(scene *s) {
    dstack_error err = {0};
    const dstack_bytes app_id = bytes_of(s->app.app_id, 20);
    dstack_secret *root = random_secret(), *disk = random_secret(), *env = NULL, *k256 = NULL;
    uint8_t app_public[33], root_public[33], env_public[32], signature[65];
    assert_ok(dstack_key_app_k256(root, app_id, &k256, &err), err);
    assert_ok(dstack_key_app_env(root, app_id, &env, &err), err);
    assert_ok(dstack_key_k256_public(k256, app_public, &err), err);
    assert_ok(dstack_key_k256_public(root, root_public, &err), err);
    assert_ok(dstack_key_x25519_public(env, env_public, &err), err);
    assert_ok(dstack_key_sign_app(root, app_id, bytes_of(app_public, 33), signature, &err), err);

    scene_cert authority = {0};
    const dstack_cert_spec spec = {.org = "Dstack",
                                   .subject = "Dstack App CA",
                                   .is_ca = true,
                                   .path_len = 1,
                                   .not_after = time(NULL) + DSTACK_CA_LIFETIME};
    scene_key(&authority);
    assert_ok(dstack_cert_self_signed(&spec, authority.key, &authority.chain, &err), err);
    const json_int_t key_len = (json_int_t)dstack_secret_len(authority.key);
    put_json("appkeys.json",
             json_pack("{s:o, s:o, s:o, s:o, s:s, s:s, s:{s:{s:s%}}}", "disk_crypt_key",
                       json_secret(disk), "env_crypt_key", json_secret(env), "k256_key",
                       json_secret(k256), "k256_signature", json_hex(bytes_of(signature, 65)),
                       "gateway_app_id", "any", "ca_cert", buf_text(&authority.chain),
                       "key_provider", "None", "key",
                       (const char *)dstack_secret_peek(authority.key), (size_t)key_len));
    put_json("kms.json",
             json_pack("{s:o, s:o, s:o, s:o}", "app_id", json_hex(app_id), "kms_root",
                       json_hex(bytes_of(root_public, 33)), "env_public",
                       json_hex(bytes_of(env_public, 32)), "env_secret", json_secret(env)));
    scene_cert_clear(&authority);
    dstack_secret_free(root);
    dstack_secret_free(disk);
    dstack_secret_free(env);
    dstack_secret_free(k256);
}

/* A certificate that carries evidence over its own key, valid from now on. */
static void put_ratls(scene *s) {
    dstack_error err = {0};
    scene_cert leaf = {0};
    scene_key(&leaf);
    dstack_attestation *evidence =
        scene_attest_for(s, &s->app, "ratls-cert", bytes_of_buf(&leaf.spki));
    const char *const names[] = {"localhost", "127.0.0.1"};
    const dstack_cert_spec spec = {.subject = "localhost",
                                   .alt_names = names,
                                   .alt_name_count = 2,
                                   .server_auth = true,
                                   .client_auth = true,
                                   .not_after = time(NULL) + (int64_t)365 * DAY,
                                   .attestation = evidence};
    assert_ok(dstack_cert_self_signed(&spec, leaf.key, &leaf.chain, &err), err);
    put_file("ratls.pem", bytes_of_buf(&leaf.chain));
    put_file("ratls.key", bytes_of(dstack_secret_peek(leaf.key), dstack_secret_len(leaf.key)));
    dstack_attestation_free(evidence);
    scene_cert_clear(&leaf);
}

static void put_image(scene *s) {
    static const char *const files[] = {
        "ovmf.fd",       "bzImage",    "initramfs.cpio.gz",   "metadata.json",
        "sha256sum.txt", "digest.txt", "measurement.tdx.cbor"};
    mkdir(out_path("image"), 0700);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[192], to[64];
        DSTACK_AUTO(buf) dstack_buf content = {0};
        snprintf(from, sizeof from, "%s/%s", s->image_dir, files[i]);
        snprintf(to, sizeof to, "image/%s", files[i]);
        load_file(from, &content);
        put_file(to, bytes_of_buf(&content));
    }
}

/* The same evidence with the digests of runtime events written out: clients of the older interface
 * replay them without computing any. */
static dstack_attestation *with_digests(const dstack_attestation *from) {
    dstack_error err = {0};
    dstack_attestation *filled = NULL;
    dstack_event_log *log = dstack_event_log_new();
    assert_non_null(log);
    assert_ok(dstack_event_log_append(log, dstack_attestation_event_log(from), &err), err);
    assert_ok(dstack_event_log_fill_digests(log, &err), err);
    assert_ok(dstack_attestation_new_tdx(dstack_attestation_evidence(from), log,
                                         dstack_attestation_runtime_events(from),
                                         dstack_attestation_config(from), &filled, &err),
              err);
    dstack_event_log_free(log);
    return filled;
}

static void make(void **state) {
    (void)state;
    dstack_error err = {0};
    scene s;
    scene_setup(&s);
    scene_who(&s.app, MANIFEST);
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    dstack_attestation *evidence =
        scene_attest_for(&s, &s.app, "app-data", bytes_of_str("recorded"));
    dstack_attestation *filled = with_digests(evidence);
    assert_ok(dstack_attestation_encode(filled, DSTACK_ATTESTATION_V0, &encoded, &err), err);
    put_file("attestation.bin", bytes_of_buf(&encoded));
    dstack_attestation_free(filled);
    dstack_attestation_free(evidence);
    put_file("app-compose.json", bytes_of_str(MANIFEST));
    put_json("sys-config.json",
             json_pack("{s:[], s:[], s:s, s:s, s:s, s:s}", "kms_urls", "gateway_urls", "pccs_url",
                       "", "docker_registry", "", "host_api_url", "vsock://2:12000/api",
                       "vm_config", s.vm_config));
    put_file("root.der", sim_keys_root(s.f.keys));
    put_file("collateral.json", sim_keys_collateral(s.f.keys));
    put_image(&s);
    put_keys(&s);
    put_ratls(&s);
    scene_teardown(&s);
}

int main(int argc, char **argv) {
    if (argc != 2 || (mkdir(argv[1], 0700) != 0 && access(argv[1], W_OK) != 0)) {
        fprintf(stderr, "usage: make_data DIR\n");
        return 2;
    }
    out_dir = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(make)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
