/* Key and certificate come from the guest agent (GetTlsKey), in memory only. */
#include "tls.h"

#include "agent.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RENEW_SECONDS (12 * 3600)
#define ANSWER_MAX (256 * 1024)

static bool use_key(SSL_CTX *context, const char *pem) {
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    bool done = key != NULL && SSL_CTX_use_PrivateKey(context, key) == 1;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return done;
}

/* The first certificate is ours, the others lead to the app's CA. One string may hold several. */
static int use_certificates(SSL_CTX *context, const char *pem, int have) {
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert;
    while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        bool first = have == 0;
        bool done = first ? SSL_CTX_use_certificate(context, cert) == 1
                          : SSL_CTX_add_extra_chain_cert(context, cert) == 1;
        if (first || !done) { /* a chain certificate now belongs to the context */
            X509_free(cert);
        }
        have += done;
    }
    ERR_clear_error(); /* the end of the text */
    BIO_free(bio);
    return have;
}

static bool fill(SSL_CTX *context, const char *answer, char *pem) {
    int certificates = 0;
    const char *at = agent_string(answer, "certificate_chain", pem, ANSWER_MAX);
    while (at != NULL) {
        certificates = use_certificates(context, pem, certificates);
        at = *at == ',' ? agent_next_string(at, pem, ANSWER_MAX) : NULL;
    }
    return certificates > 0 && agent_string(answer, "key", pem, ANSWER_MAX) != NULL &&
           use_key(context, pem) && SSL_CTX_check_private_key(context) == 1;
}

static SSL_CTX *new_context(void) {
    static char answer[ANSWER_MAX], pem[ANSWER_MAX];
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    bool done =
        context != NULL && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
        agent_call("GetTlsKey",
                   "{\"subject\":\"hello\",\"usage_ra_tls\":true,\"usage_server_auth\":true}",
                   answer, sizeof answer) &&
        fill(context, answer, pem);
    OPENSSL_cleanse(answer, sizeof answer);
    OPENSSL_cleanse(pem, sizeof pem);
    if (!done) {
        fprintf(stderr, "no certificate from the guest agent\n");
        ERR_print_errors_fp(stderr);
        SSL_CTX_free(context);
    }
    return done ? context : NULL;
}

SSL *tls_accept(int fd) {
    static SSL_CTX *context;
    static time_t made;
    time_t now = time(NULL);
    if (context == NULL || now - made > RENEW_SECONDS) {
        SSL_CTX *fresh = new_context();
        if (fresh != NULL) {
            SSL_CTX_free(context);
            context = fresh;
            made = now;
        }
    }
    SSL *tls = context == NULL ? NULL : SSL_new(context);
    if (tls != NULL && (SSL_set_fd(tls, fd) != 1 || SSL_accept(tls) != 1)) {
        ERR_print_errors_fp(stderr);
        SSL_free(tls);
        tls = NULL;
    }
    return tls;
}
