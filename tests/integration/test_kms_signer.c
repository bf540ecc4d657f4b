/* The root keys of dstack-kms are in a process of their own. */
#include "kms_calls.h"

#include <sys/wait.h>

#include "crypto/ecdsa.h"

/* The child of the process under test. */
static pid_t signer_of(pid_t parent) {
    char path[64];
    long child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    DSTACK_AUTO(file) FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%ld", &child) != 1) {
        return 0;
    }
    return (pid_t)child;
}

/* Whether a process has these bytes anywhere in its memory; -1 when it cannot be looked at. */
static int holds(pid_t pid, dstack_bytes needle) {
    char maps_path[64], memory_path[64], line[512];
    int found = 0;
    size_t looked = 0;
    snprintf(maps_path, sizeof maps_path, "/proc/%d/maps", (int)pid);
    snprintf(memory_path, sizeof memory_path, "/proc/%d/mem", (int)pid);
    DSTACK_AUTO(file) FILE *maps = fopen(maps_path, "r");
    DSTACK_AUTO(fd) int memory = open(memory_path, O_RDONLY);
    while (maps != NULL && memory >= 0 && fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin, end;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, mode) != 3 || mode[1] != 'w' ||
            end - begin > (256ul << 20)) {
            continue;
        }
        uint8_t *content = malloc(end - begin);
        for (unsigned long at = begin; at < end; at += 4096) {
            ssize_t got = pread(memory, content + (at - begin), 4096, (off_t)at);
            if (got != 4096) {
                memset(content + (at - begin), 0, 4096);
            } else {
                looked++;
            }
        }
        found |= memmem(content, end - begin, needle.data, needle.len) != NULL;
        free(content);
    }
    return looked == 0 ? -1 : found;
}

static void the_process_that_parses_the_network_has_no_root_key(void **state) {
    world *w = *state;
    dstack_error err = {0};
    for (int start = 0; start < 2; start++) { /* the one that makes the keys, and a later one */
        world_run(w);
        DSTACK_AUTO(buf) dstack_buf k256 = {0}, pem = {0};
        load_file(world_path(w, "certs/root-k256.key"), &k256);
        load_file(world_path(w, "certs/root-ca.key"), &pem);
        DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
        ask_keys(w, &keys);
        world_post(w, "/prpc/GetAppEnvEncryptPubKey?json",
                   "{\"app_id\":\"5bb4ff9a3837357f19dc176407a5709c62eb6c56\"}", 200, "signature");
        pid_t signer = signer_of(w->pid);
        assert_true(signer > 0);
        int there = holds(signer, bytes_of_buf(&k256));
        if (there < 0) {
            print_message("skipped: the memory of another process cannot be read here\n");
            skip();
        }
        assert_int_equal(there, 1); /* what is looked for can be found */
        assert_int_equal(holds(w->pid, bytes_of_buf(&k256)), 0);
        /* the P-256 root: its PEM text without head and foot, and its scalar */
        DSTACK_AUTO(ecdsa_private) ecdsa_private *root = NULL;
        assert_ok(ecdsa_private_from_pem(&root, bytes_of_buf(&pem), &err), err);
        assert_int_equal(holds(signer, ecdsa_private_scalar(root)), 1);
        assert_int_equal(holds(w->pid, ecdsa_private_scalar(root)), 0);
        assert_int_equal(holds(w->pid, bytes_of(pem.data + 60, 80)), 0);
        world_kill(w, SIGTERM);
        assert_int_not_equal(kill(signer, 0), 0); /* it ends with the other */
    }
}

/* The KMS says so, or has ended already and says nothing. */
static void expect_no_keys(const world *w) {
    dstack_error err = {0};
    DSTACK_AUTO(kms) dstack_kms *client = world_client(w, w->guest);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    int rc = dstack_kms_app_keys(client, w->image.vm_config, &keys, &err);
    bool told = rc == DSTACK_E_PEER && strstr(err.message, "the keys are not available") != NULL;
    if (!told && rc != DSTACK_E_NETWORK) {
        fail_msg("expected no keys, got %d \"%s\"", rc, err.message);
    }
    assert_null(keys.k256_key);
}

static void without_its_signer_the_kms_stops(void **state) {
    world *w = *state;
    int status;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    pid_t signer = signer_of(w->pid);
    assert_true(signer > 0);
    assert_int_equal(kill(signer, SIGKILL), 0);
    expect_no_keys(w);
    for (int i = 0; i < 1000 && waitpid(w->pid, &status, WNOHANG) == 0; i++) {
        usleep(10000);
    }
    assert_int_not_equal(kill(w->pid, 0), 0);
    w->pid = 0;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    ask_keys(w, &again);
    assert_true(dstack_secret_equal(keys.k256_key, again.k256_key));
}

static void the_signer_is_confined(void **state) {
    world *w = *state;
    char path[64], line[256];
    int mode = -1;
    world_run(w);
    snprintf(path, sizeof path, "/proc/%d/status", (int)signer_of(w->pid));
    DSTACK_AUTO(file) FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "Seccomp: %d", &mode);
    }
    if (DSTACK_KMS_CHECK_SIZE) { /* not under sanitizers, which need more */
        assert_int_equal(mode, 2);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(the_process_that_parses_the_network_has_no_root_key),
        KMS_TEST(without_its_signer_the_kms_stops),
        KMS_TEST(the_signer_is_confined),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
