/* Asks the guest's agent who this app is, derives a key, and takes evidence over a nonce.
 *
 *   cc agent.c -o agent $(pkg-config --cflags --libs dstack)
 *   ./agent [SOCKET]
 */
#include <dstack/agent.h>
#include <dstack/attestation.h>
#include <stdio.h>
#include <string.h>

static void print_hex(const char *name, const uint8_t *data, size_t len) {
    printf("%s ", name);
    for (size_t i = 0; i < len; i++) {
        printf("%02x", data[i]);
    }
    putchar('\n');
}

static int show(dstack_agent *agent, dstack_error *err) {
    dstack_agent_info info;
    dstack_agent_key key = {0};
    int rc = dstack_agent_get_info(agent, &info, err);
    if (rc == 0) {
        print_hex("app", info.app_id, sizeof info.app_id);
        rc = dstack_agent_get_key(agent, "example", "demo", "secp256k1", &key, err);
    }
    if (rc == 0) {
        /* The key itself stays in guarded memory; what vouches for it may be shown. */
        print_hex("link", key.link.data, key.link.len);
    }
    dstack_agent_key_clear(&key);
    return rc;
}

static int attest(dstack_agent *agent, dstack_bytes nonce, dstack_error *err) {
    dstack_buf encoded = {0};
    dstack_attestation *attestation = NULL;
    int rc = dstack_agent_attest(agent, nonce, &encoded, err);
    if (rc == 0) {
        const dstack_bytes bytes = {encoded.data, encoded.len};
        rc = dstack_attestation_decode(bytes, &attestation, err);
    }
    if (rc == 0) {
        const dstack_bytes bound = dstack_attestation_report_data(attestation);
        printf("nonce %s\n", memcmp(bound.data, nonce.data, nonce.len) == 0 ? "bound" : "lost");
    }
    dstack_attestation_free(attestation);
    dstack_buf_clear(&encoded);
    return rc;
}

int main(int argc, char **argv) {
    dstack_error err = {0};
    dstack_agent *agent = NULL;
    const char nonce[] = "a nonce of the relying party";
    int rc = dstack_agent_new(argc > 1 ? argv[1] : NULL, 0, &agent, &err);
    if (rc == 0) {
        rc = show(agent, &err);
    }
    if (rc == 0) {
        rc = attest(agent, (dstack_bytes){(const uint8_t *)nonce, sizeof nonce - 1}, &err);
    }
    dstack_agent_free(agent);
    if (rc != 0) {
        fprintf(stderr, "%s: %s\n", dstack_status_name(err.status), err.message);
        return 1;
    }
    return 0;
}
