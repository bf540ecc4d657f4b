/* dstack key: what scripts see. */
#include "check.h"

#include "cli.h"

extern const struct cli_command cli_command_key;

static const struct cli_command *const children[] = {&cli_command_key, NULL};
static const struct cli_command root = {
    .name = "dstack", .summary = "test", .children = children, .max_args = -1};

/* Runs a command line with --json; gives its exit code and document. */
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
    *document = json_parse(bytes_of(text, len), 65536, "output", &err);
    free(text);
    if (*document == NULL) {
        fail_msg("%s", err.message);
    }
    return code;
}

#define ARGS(...) ((const char *const[]){"key", __VA_ARGS__, NULL})
#define APP "5bb4ff9a3837357f19dc176407a5709c62eb6c56"
#define ROOT "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1"
#define ROOT_K256 "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define APP_KEY "d6e88992cdeeee35fe70b5db61ab66cdb191fb9b6ec9313757ef162dd7214d5d"
#define KMS_PUBLIC "0321529e458424ab1f710a3a57ec4dad2fb195ddca572f7469242ba6c7563085b6"
#define LINK                                                                                       \
    "c2ac442934a10d730c14b553e6b93e4db61aa7afa48b7aa51e649841115d6f41"                             \
    "60a29b24a87e0ef4c02e37c10b176913f1449ebb41466fccdc44a6ef5d9b247300"
#define ISSUED                                                                                     \
    "9e618603e72d01fedb82deff6daf2d62a572becf0059eec3f89c1ab40e1f2e59"                             \
    "4d2a283f843f34e8f39e4cc49a612496ce67223a12ac923f8efe330346dfc6c500"
#define PUBLIC "02c53a10a891f3c5d599539056edcfa080555ac975cae78e59b5d519dcdaf03389"

/* Made with the KMS root key and app id of the reference's cross-language set for Sign. */
#define SIGN_APP "a9019d1b2c3d4e5f60718293a4b5c6d7e8f90a1b"
#define SIGN_KMS "0318f228673448772dd4835a82149a9d475db8095234469a8fcc85cfa18b85abbc"
#define SIGN_ISSUED                                                                                \
    "00ac321fbbe6817c5de0720644e936b20046ff1c9226e0558a9c86856e8a1dd0"                             \
    "6bb7a7efae1cf3ec522553c28627ea96c139d5dc9cdd5a1898c2406c074438d800"
#define SIGN_LINK                                                                                  \
    "77ae5ea476f00df11938fd1df3a65a4fbd9f92b64c816b9f29ee79a1e4ae74ed"                             \
    "43269a36376b4ed838460ef3b56ba553cefa6e63def4a4487386f783f14295a001"
#define SIGN_SIGNATURE                                                                             \
    "4753cea786fe882ec17a1f75199d15f43e864286ddf1d599a901e503db787dc2"                             \
    "5c825c8a7a259a7c256fdbf75e74bd73282737f03fc449f9e627c8b540a161f4"
#define SIGN_PUBLIC "03f6e0f232f5eb6f4b118960a80c3939ea947b6dc727215aba43451910f2741bb8"
#define VMS_KEY "95c8e9f38d09b353ae49b806a17a0a72d5f96d208d5e0fec93e4b391a01c078b"
#define SIGN_ANSWER                                                                                \
    "{\"signature\":\"" SIGN_SIGNATURE "\",\"signature_chain\":[\"" SIGN_SIGNATURE                 \
    "\",\"" SIGN_LINK "\",\"" SIGN_ISSUED "\"],\"public_key\":\"" SIGN_PUBLIC "\"}"
#define V1_PUBLIC "036c5c31dbfd4f372ef0028ac1359f3d8c3ad2ca4a77ce822f83bd287ad817d97d"
#define V1_LINK                                                                                    \
    "41d9840c27908a9510eb568398685c82dc1be1dd2bfe34164f9adc1984542a11"                             \
    "2f272308270c0a8e006890708c919942a18f87e2a1068a58bc0d02d68b19abb800"

static void every_scheme_gives_its_known_value(void **state) {
    (void)state;
    static const struct {
        const char *args[16];
        const char *name, *value;
    } cases[] = {
        {{"key", "derive", "--scheme", "dh", "--ikm", ROOT, "--context", "text:context one",
          "--context", "636f6e746578742074776f"},
         "key",
         "663afd58820be8ad645f9c035e93199d114ab16f738db62393bc1d7d623e8813"},
        {{"key", "derive", "--scheme", "p256", "--ikm", ROOT, "--context", "text:context one",
          "--context", "text:context two"},
         "key",
         "b60ac47b8fcfbdf96031b9e94f0b60cfe9de05eccb5a1dca41a26f757833c0e7"},
        {{"key", "derive", "--scheme", "hkdf", "--ikm", ROOT, "--context", "text:context one",
          "--context", "text:context two"},
         "key",
         "b60ac47b8fcfbdf96031b9e94f0b60cfe9de05eccb5a1dca41a26f757833c0e7"},
        {{"key", "derive", "--scheme", "app CA key", "--root", ROOT, "--app-id", APP},
         "key",
         "b7aaa3fad9afc9093b2562590207013d4f0c460e4ca97097cd933abac7e18001"},
        {{"key", "derive", "--scheme", "disk_crypt_key", "--root", ROOT, "--app-id", APP,
          "--instance-id", "1691ed1b47506cad7d08834668691d88246f5b1f"},
         "key",
         "f6fe5ab7893178666e7489553ac4ad84f416278cbec0c3aa3d4bebc0db8e8558"},
        {{"key", "derive", "--scheme", "env_crypt_key", "--root", ROOT, "--app-id", APP},
         "public_key",
         "4a4d30b8973c08c75b404d5d2f433aaa3baaee0d85389fbd2ce29d09c28a0019"},
        {{"key", "derive", "--scheme", "k256_key", "--root", ROOT_K256, "--app-id", APP},
         "k256_signature",
         "ac1faee283f6c59ad2f38f0ced98c74f3db32f6a7b2696f50f83a526d5bdf9a1"
         "73991ea4de557b8a53ec5f6400b26a974f1dead4497c1bc1f01f855300ed28f901"},
        {{"key", "derive", "--scheme", "env-signature", "--root", ROOT_K256, "--app-id", APP,
          "--public-key", "4a4d30b8973c08c75b404d5d2f433aaa3baaee0d85389fbd2ce29d09c28a0019",
          "--timestamp", "1700000000"},
         "signature_v1",
         "5a32a4a145ccfe1b954fc2416ded8fc45e087ea157cef3b6dc03215c964b2f56"
         "257968814c25e0f1e80bcdcc60bd4296e807d1e73ff2ed10d9cc4dbf125f6a6701"},
        {{"key", "derive", "--scheme", "seed", "--seed",
          "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"},
         "disk_crypt_key",
         "16271dff935a2b916181f4c8a0a6666de98224ba51437c329171a11dd481a09a"},
        {{"key", "derive", "--scheme", "GetKey", "--app-key", APP_KEY, "--path", "text:test",
          "--purpose", "text:signing"},
         "signature",
         LINK},
        {{"key", "derive", "--scheme", "GetKey v1", "--app-key",
          "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b", "--algorithm",
          "ed25519"},
         "key",
         "b023493030669cf22e9cafa6a464d4cf3ae4edfe5474ec796710f21ea011946d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(json) json_t *document = NULL;
        assert_int_equal(run(&document, cases[i].args), 0);
        assert_string_equal(json_string_value(json_object_get(document, cases[i].name)),
                            cases[i].value);
    }
}

static void missing_and_malformed_inputs_are_usage_errors(void **state) {
    (void)state;
    static const char *const lines[][10] = {
        {"key", "derive"},
        {"key", "derive", "--scheme", "nonsense"},
        {"key", "derive", "--scheme", "k256-key", "--app-id", APP},
        {"key", "derive", "--scheme", "k256-key", "--root", "zz", "--app-id", APP},
        {"key", "derive", "--scheme", "k256-key", "--root", "0x01", "--app-id", APP},
        {"key", "derive", "--scheme", "k256-key", "--root", ROOT_K256, "--app-id", "00"},
        {"key", "derive", "--scheme", "get-key", "--app-key", APP_KEY, "--algorithm", "rsa"},
        {"key", "derive", "--scheme", "dh", "--ikm", "@/nonexistent/file"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        DSTACK_AUTO(json) json_t *document = NULL;
        assert_int_equal(run(&document, lines[i]), 2);
        assert_non_null(json_object_get(document, "error"));
    }
}

static void a_secret_may_come_from_a_file(void **state) {
    (void)state;
    char path[] = "/tmp/dstack-key-test-XXXXXX";
    char option[64];
    DSTACK_AUTO(json) json_t *document = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, APP_KEY "\n", strlen(APP_KEY) + 1), strlen(APP_KEY) + 1);
    close(fd);
    snprintf(option, sizeof option, "@%s", path);
    int code = run(&document, ARGS("derive", "--scheme", "get-key", "--app-key", option, "--path",
                                   "text:test", "--purpose", "text:signing"));
    unlink(path);
    assert_int_equal(code, 0);
    assert_string_equal(json_string_value(json_object_get(document, "public_key")), PUBLIC);
}

static void chains_are_verified(void **state) {
    (void)state;
    DSTACK_AUTO(json) json_t *good = NULL;
    DSTACK_AUTO(json) json_t *bad = NULL;
    DSTACK_AUTO(json) json_t *unclear = NULL;
    assert_int_equal(run(&good, ARGS("verify-chain", "--public-key", PUBLIC, "--purpose",
                                     "text:signing", "--link", LINK, "--issued", ISSUED, "--app-id",
                                     APP, "--kms-root", KMS_PUBLIC)),
                     0);
    assert_true(json_is_true(json_object_get(good, "valid")));
    assert_string_equal(json_string_value(json_object_get(good, "app_public_key")),
                        "02818494263695e8839122dbd88e281d7380622999df4e60a14befa0f2d096fc7c");
    assert_int_equal(
        run(&bad, ARGS("verify-chain", "--public-key", PUBLIC, "--purpose", "text:other", "--link",
                       LINK, "--issued", ISSUED, "--app-id", APP, "--kms-root", KMS_PUBLIC)),
        1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(bad, "error"), "check")),
                        "crypto");
    assert_int_equal(
        run(&unclear, ARGS("verify-chain", "--public-key", PUBLIC, "--link", LINK, "--issued",
                           ISSUED, "--app-id", APP, "--kms-root", KMS_PUBLIC)),
        2);
}

/* Runs verify-chain on an answer in a file. */
static int run_answer(json_t **document, const char *answer, const char *const *args) {
    char path[] = "/tmp/dstack-answer-test-XXXXXX";
    const char *all[32] = {"key",        "verify-chain", "--app-id", SIGN_APP,
                           "--kms-root", SIGN_KMS,       "--answer", path};
    size_t count = 8;
    while (*args != NULL) {
        all[count++] = *args++;
    }
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, answer, strlen(answer)), strlen(answer));
    close(fd);
    int code = run(document, all);
    unlink(path);
    return code;
}

static void an_answer_of_the_agent_is_verified_as_it_came(void **state) {
    (void)state;
    static const struct {
        const char *answer, *args[8];
        int code;
        const char *text; /* in the error's message */
    } cases[] = {
        /* v1 tells the public key */
        {"{\"key\":\"00\",\"public_key\":\"" V1_PUBLIC "\",\"signature_chain\":[\"" V1_LINK
         "\",\"" SIGN_ISSUED "\"]}",
         {"--domain", "text:wallet"},
         0,
         NULL},
        {"{\"public_key\":\"" V1_PUBLIC "\",\"signature_chain\":[\"" V1_LINK "\",\"" SIGN_ISSUED
         "\"]}",
         {"--domain", "text:walleT"},
         1,
         "expected KMS root key"},
        {"{\"public_key\":\"" V1_PUBLIC "\",\"signature_chain\":[\"" V1_LINK "\",\"\"]}",
         {"--domain", "text:wallet"},
         1,
         "without a KMS"},
        {"{\"public_key\":\"" V1_PUBLIC "\",\"signature_chain\":[\"" V1_LINK "\",\"" SIGN_ISSUED
         "\"]}",
         {"--domain", "text:wallet", "--public-key", PUBLIC},
         1,
         "another key"},
        /* v0 tells the key alone: its public half is made from it */
        {"{\"key\":\"" VMS_KEY "\",\"signature_chain\":[\"" SIGN_LINK "\",\"" SIGN_ISSUED "\"]}",
         {"--purpose", "text:signing"},
         0,
         NULL},
        {"{\"k256_key\":\"" VMS_KEY "\",\"k256_signature_chain\":[\"" SIGN_LINK "\",\"" SIGN_ISSUED
         "\"]}",
         {"--purpose", "text:signing"},
         0,
         NULL},
        {"{\"signature_chain\":[\"" SIGN_LINK "\",\"" SIGN_ISSUED "\"]}",
         {"--purpose", "text:signing"},
         1,
         "--public-key is needed"},
        /* Sign */
        {SIGN_ANSWER, {"--data", "text:dstack signature chain test vector"}, 0, NULL},
        {SIGN_ANSWER, {"--data", "text:other"}, 1, "signature over the data"},
        {SIGN_ANSWER, {"--purpose", "text:signing"}, 1, "needs --data"},
        /* not what the agent answers, and lines that are unclear */
        {"{\"error\":\"Unsupported algorithm\"}",
         {"--purpose", "text:signing"},
         1,
         "signature_chain"},
        {"{\"signature_chain\":[1,2]}", {"--purpose", "text:signing"}, 1, "found no text"},
        {"[]", {"--purpose", "text:signing"}, 1, NULL},
        {SIGN_ANSWER, {"--data", "00", "--link", "00"}, 2, "--answer holds the chain"},
        {SIGN_ANSWER, {"--data", "00", "--purpose", "00"}, 2, "want one of"},
        {SIGN_ANSWER, {"--data", "00", "--algorithm", "rsa"}, 2, "rsa"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(json) json_t *document = NULL;
        int code = run_answer(&document, cases[i].answer, cases[i].args);
        const char *message =
            json_string_value(json_object_get(json_object_get(document, "error"), "message"));
        if (code != cases[i].code || (code == 0) != (message == NULL) ||
            (cases[i].text != NULL && strstr(message, cases[i].text) == NULL)) {
            fail_msg("case %zu: exit %d, %s", i, code, message == NULL ? "no error" : message);
        }
        /* what is said of an answer never shows its key */
        assert_true(message == NULL || strstr(message, VMS_KEY) == NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scheme_gives_its_known_value),
        cmocka_unit_test(missing_and_malformed_inputs_are_usage_errors),
        cmocka_unit_test(a_secret_may_come_from_a_file),
        cmocka_unit_test(chains_are_verified),
        cmocka_unit_test(an_answer_of_the_agent_is_verified_as_it_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
