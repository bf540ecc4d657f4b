/* dstack-kms as a process: keys for an attested guest, and every way of being refused. */
#include "kms_calls.h"

#include "crypto/ecdsa.h"

static void an_attested_app_gets_its_keys_and_the_same_after_a_crash(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    char gateway[41];
    snprintf(gateway, sizeof gateway, "%040d", 7);
    assert_string_equal(keys.gateway_app_id, gateway);
    char image[65];
    hex_encode(bytes_of_buf(&keys.os_image_hash), image);
    assert_string_equal(image, w->image.image.os_image_hash);
    uint8_t public_key[33], signer[33];
    dstack_error err = {0};
    assert_ok(dstack_key_k256_public(keys.k256_key, public_key, &err), err);
    assert_ok(dstack_key_app_signer(workload_app_id(w->guest), bytes_of(public_key, 33),
                                    bytes_of_buf(&keys.k256_signature), signer, &err),
              err);
    char root[67];
    hex_encode(bytes_of(signer, 33), root);
    world_post(w, "/prpc/KMS.GetMeta?json", "null", 200, root);
    world_post(w, "/prpc/GetMeta?json", "", 200, "\"insecure_dev\":true");
    world_kill(w, SIGKILL);
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    ask_keys(w, &again);
    assert_true(dstack_secret_equal(keys.disk_crypt_key, again.disk_crypt_key));
    assert_true(dstack_secret_equal(keys.env_crypt_key, again.env_crypt_key));
    assert_true(dstack_secret_equal(keys.k256_key, again.k256_key));
}

static void each_refusal_says_its_reason(void **state) {
    world *w = *state;
    const char *vm_config = w->image.vm_config;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    /* the allow-list is read again when it changes */
    world_allow(w, "", "apps: {}\n");
    expect_refusal(w, w->guest, vm_config, "allow-list: ");
    world_allow(w, w->image.image.os_image_hash, "apps: {}\n");
    expect_refusal(w, w->guest, vm_config, "App not allowed: Boot denied: app not registered");
    char apps[300];
    snprintf(apps, sizeof apps, "apps: {'%s': {composeHashes: ['%064d'], allowAnyDevice: true}}\n",
             w->app_id, 1);
    world_allow(w, w->image.image.os_image_hash, apps);
    expect_refusal(w, w->guest, vm_config,
                   "App not allowed: Boot denied: compose hash not allowed");
    snprintf(apps, sizeof apps, "apps: {'%s': {composeHashes: ['%s']}}\n", w->app_id,
             w->compose_hash);
    world_allow(w, w->image.image.os_image_hash, apps);
    expect_refusal(w, w->guest, vm_config,
                   "App not allowed: Boot denied: app is not allowed to boot on this device");
    world_write(w, "allow.yaml", "nonsense: [");
    expect_refusal(w, w->guest, vm_config, "KMS self authorization failed: allow-list: ");
    world_allow(w, w->image.image.os_image_hash, NULL);
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    ask_keys(w, &again);
    world_post(w, "/prpc/GetAppKey?json", "{\"api_version\":1}", 400,
               "\"error\": \"App not allowed: No attestation provided\"");
    world_post(w, "/prpc/GetAppEnvEncryptPubKey?json", "{\"app_id\":\"0x5bb4ff9a\"}", 400,
               "\"error\": \"app_id must be 20 bytes\"");
    world_post(w, "/prpc/GetKmsKey?json", "{}", 400, "\"error\": \"No attestation provided\"");
    world_post(w, "/prpc/Nope?json", "{}", 404, "Service not found: Nope");
    world_post(w, "/prpc/SignCert?json", "{\"api_version\":3}", 400, "Unsupported API version: 3");
    world_post(w, "/prpc/SignCert?json", "{\"api_version\":2,\"csr\":\"0102\"}", 400,
               "Failed to parse csr: ");
}

static void registers_are_held_to_the_image_that_vm_config_names(void **state) {
    world *w = *state;
    world_image other = {0};
    world_image_make(&other, "two");
    world_allow(w, other.image.os_image_hash, NULL);
    world_run(w);
    /* the policy allows both images, the guest runs the first and claims the second */
    expect_refusal(w, w->guest, other.vm_config,
                   "App not allowed: Failed to verify os image hash: ");
    expect_refusal(w, w->guest, "{}", "App not allowed: Boot denied: OS image is not allowed");
    world_image_remove(&other);
}

static void a_kms_that_its_own_policy_does_not_allow_releases_nothing(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(world_path(w, "allow.yaml"), &text);
    char *hash = strstr((char *)buf_text(&text), w->kms_compose_hash);
    memset(hash, '0', 64);
    world_write(w, "allow.yaml", buf_text(&text));
    expect_refusal(w, w->guest, w->image.vm_config,
                   "KMS self authorization failed: KMS is not allowed: aggregated MR not allowed");
    world_post(w, "/prpc/GetTempCaCert?json", "null", 400, "KMS is not allowed");
    world_post(w, "/prpc/GetMeta?json", "null", 200, "ca_cert");
}

static void sec_13_simulated_evidence_under_another_root_is_refused(void **state) {
    world *w = *state;
    dstack_error err = {0};
    sim_keys *other = NULL;
    world_tee tee = {0};
    assert_ok(sim_keys_init(world_path(w, "other"), NULL, clock_unix() - 60, &err), err);
    assert_ok(sim_keys_load(world_path(w, "other"), &other, &err), err);
    world_tee_start(w, &tee, "other-tee", &w->image.measured, other);
    workload *guest =
        world_workload(w, &tee, other, world_app_manifest, w->image.vm_config, "guest2");
    world_run(w);
    expect_refusal(w, guest, w->image.vm_config, "invalid quote: ");
    workload_free(guest);
    world_tee_stop(&tee);
    sim_keys_free(other);
}

static void a_kms_may_be_named_by_an_ip_address(void **state) {
    world *w = *state;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(w->config, &text);
    char *domain = strstr((char *)buf_text(&text), "localhost");
    memcpy(domain, "127.0.0.1", 9);
    world_write(w, "kms.yaml", buf_text(&text));
    world_run(w);
    snprintf(w->url, sizeof w->url, "https://127.0.0.1:%u", w->port);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    dstack_error err = {0};
    snprintf(w->url, sizeof w->url, "https://localhost:%u", w->port);
    DSTACK_AUTO(kms) dstack_kms *other = world_client(w, w->guest);
    DSTACK_AUTO(app_keys) dstack_app_keys none = {0};
    assert_int_not_equal(dstack_kms_app_keys(other, w->image.vm_config, &none, &err), 0);
}

/* Key material that is public in the description of the derivations, so that answers are known. */
static void known_roots_give_the_published_keys(void **state) {
    world *w = *state;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf scalar = {0}, k256 = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *pem = NULL;
    put_hex(&scalar, "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1");
    put_hex(&k256, "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of_buf(&scalar), &err), err);
    assert_ok(ecdsa_private_pem(key, &pem, &err), err);
    assert_ok(file_make_dirs(world_path(w, "certs"), 0700, &err), err);
    assert_ok(file_write_new(world_path(w, "certs/root-ca.key"),
                             bytes_of(dstack_secret_peek(pem), dstack_secret_len(pem)), 0600, &err),
              err);
    assert_ok(file_write_new(world_path(w, "certs/root-k256.key"), bytes_of_buf(&k256), 0600, &err),
              err);
    static const char *const others[] = {"certs/tmp-ca.key", "certs/rpc.key"};
    for (size_t i = 0; i < 2; i++) {
        DSTACK_AUTO(secret) dstack_secret *other = NULL;
        assert_ok(dstack_cert_key_new(&other, &err), err);
        assert_ok(file_write_new(world_path(w, others[i]),
                                 bytes_of(dstack_secret_peek(other), dstack_secret_len(other)),
                                 0600, &err),
                  err);
    }
    world_write(w, "certs/insecure-dev", "1");
    world_run(w);
    const char *body = "{\"app_id\":\"0x5bb4ff9a3837357f19dc176407a5709c62eb6c56\"}";
    world_post(w, "/prpc/GetAppEnvEncryptPubKey?json", body, 200,
               "{\"public_key\":"
               "\"4a4d30b8973c08c75b404d5d2f433aaa3baaee0d85389fbd2ce29d09c28a0019\","
               "\"signature\":\"a49a0a2226dc20f8ec5d6faba4ab3c432777adeca54cb990ce32e4d2a691d009"
               "0f9604ccdb692d81bddd5f85f2c132f2d19fbd47fb84b2ac4674340e41428c3801\","
               "\"timestamp\":");
    world_post(w, "/prpc/KMS.GetMeta?json", "", 200,
               "\"k256_pubkey\":"
               "\"0284bf7562262bbd6940085748f3be6afa52ae317155181ece31b66351ccffa4b0\"");
    DSTACK_AUTO(buf) dstack_buf root = {0};
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    load_file(world_path(w, "certs/root-ca.crt"), &root);
    assert_ok(dstack_cert_parse(bytes_of_buf(&root), &cert, &err), err);
    assert_hex(
        dstack_cert_spki(cert),
        "3059301306072a8648ce3d020106082a8648ce3d0301070342000491f50522407ce29dce3ed7d31a15d8"
        "0c1c42f13a23552d2b33a0ce09ee11e47bce95936f3e7f80d195f879e28e1b144ef37ac9ab8e36a690cb"
        "f930b775897b27");
}

static void sec_16_no_secret_is_in_the_log(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    world_post(w, "/prpc/GetAppKey?json", "{\"api_version\":1}", 400, "No attestation");
    DSTACK_AUTO(buf) dstack_buf log = {0}, root = {0};
    load_file(w->log, &log);
    load_file(world_path(w, "certs/root-k256.key"), &root);
    const dstack_secret *secrets[] = {keys.disk_crypt_key, keys.env_crypt_key, keys.k256_key};
    for (size_t i = 0; i < 3; i++) {
        char hex[65];
        hex_encode(bytes_of(dstack_secret_peek(secrets[i]), 32), hex);
        assert_null(strstr(buf_text(&log), hex));
    }
    char hex[65];
    hex_encode(bytes_of_buf(&root), hex);
    assert_null(strstr(buf_text(&log), hex));
    assert_non_null(strstr(buf_text(&log), "app keys released"));
    assert_non_null(strstr(buf_text(&log), w->app_id));
}

static void the_kms_is_ready_fast_and_small(void **state) {
    world *w = *state;
    world_run(w); /* first start makes keys */
    world_kill(w, SIGTERM);
    int64_t begin = clock_monotonic_ms();
    world_run(w);
    int64_t ready = clock_monotonic_ms() - begin;
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)w->pid);
    long rss = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmRSS: %ld kB", &rss) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    print_message("ready after %lld ms, RSS %ld KiB\n", (long long)ready, rss);
    if (rss > 0 && DSTACK_KMS_CHECK_SIZE) {
        assert_true(rss <= 20 * 1024);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(an_attested_app_gets_its_keys_and_the_same_after_a_crash),
        KMS_TEST(each_refusal_says_its_reason),
        KMS_TEST(registers_are_held_to_the_image_that_vm_config_names),
        KMS_TEST(a_kms_that_its_own_policy_does_not_allow_releases_nothing),
        KMS_TEST(sec_13_simulated_evidence_under_another_root_is_refused),
        KMS_TEST(a_kms_may_be_named_by_an_ip_address),
        KMS_TEST(known_roots_give_the_published_keys),
        KMS_TEST(sec_16_no_secret_is_in_the_log),
        KMS_TEST(the_kms_is_ready_fast_and_small),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
