/* Verifying what stands behind an HTTPS address: what is fetched, what is checked, what is told. */
#ifndef DSTACK_VERIFY_URL_H
#define DSTACK_VERIFY_URL_H

#include <dstack/attestation.h>
#include <dstack/cert.h>

#include "cli.h"
#include "cli_trust.h"

DSTACK_AUTO_DEFINE(verified, dstack_verified, dstack_verified_free)
DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

/* "https://<id>[-<port>][s].<base>[:port]" taken apart. */
struct target {
    char host[256];
    unsigned port;
    char id[128];    /* first label without port and flags; "" when it is not of that form */
    char base[256];  /* the rest of the name */
};
int target_parse(const char *url, struct target *out, dstack_error *err);

/* What the caller trusts and expects. */
struct verify_setup {
    dstack_verifier *verifier;
    dstack_policy *policy; /* NULL: UpToDate and the levels that ask for hardening pass */
    const char *image_dir; /* NULL: the image's hash stays the prover's word */
    dstack_buf ca;         /* PEM roots for the public certificate; empty: the system's */
    const char *connect;   /* "ip:port", or NULL */
    int64_t now;
    bool insecure_dev;
};

/* One answer, and the certificate of the connection that it came over. */
struct fetched {
    int status;
    dstack_buf body;
    dstack_buf leaf; /* DER */
};
void fetched_clear(struct fetched *fetched);
DSTACK_AUTO_DEFINE_CLEAR(fetched, struct fetched, fetched_clear)
/* GET https://host:port/path. With `trusted`, the certificate must chain to the caller's roots and
 * name the host; otherwise any certificate will do, for its evidence is to be judged. */
int verify_fetch(const struct verify_setup *setup, const char *host, unsigned port, const char *path,
                 bool trusted, struct fetched *out, dstack_error *err);

/* Everything that was established. */
struct verify_result {
    bool passthrough;
    dstack_verified *app;
    dstack_verified *gateway;    /* terminated only */
    dstack_cert *app_cert;       /* passthrough: the connection's leaf; else the evidence's leaf */
    bool kms_checked;            /* the app's certificate chains to the measured KMS root */
    char app_cert_root[65];      /* SHA-256 of that root's public key */
    char connection_key[65];     /* SHA-256 of the public key of this connection */
    char kms_name[32];
    bool gateway_pinned, kms_pinned; /* the caller named them, and they are those */
};
void verify_result_clear(struct verify_result *result);
DSTACK_AUTO_DEFINE_CLEAR(verify_result, struct verify_result, verify_result_clear)

/* Connects, fetches and verifies. A failed check is its status with a message that names it. */
int verify_url(const struct verify_setup *setup, const struct target *target,
               struct verify_result *out, dstack_error *err);

/* SHA-256 of a certificate's public key, hex. */
void verify_key_hash(const dstack_cert *cert, char out[65]);

/* The expectations of the command line: app id, compose hash, gateway, manifest, KMS root. */
int verify_expectations(const struct cli *cli, struct verify_result *result, dstack_error *err);

/* Prints the chain of trust as a tree, or as one JSON document. */
int verify_print(struct cli *cli, const char *url, const struct verify_setup *setup,
                 const struct verify_result *result, dstack_error *err);

#endif
