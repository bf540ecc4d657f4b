/* The process that holds the root keys. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <dstack/cert.h>
#include <sodium.h>
#if DSTACK_HAVE_SECCOMP
#include <seccomp.h>
#endif

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ecdsa.h"
#include "signer.h"
#include "signer_wire.h"
#include "store.h"

typedef struct holder {
    kms_store store;
    ecdsa_private *root;
    bool loaded;
} holder;

static dstack_bytes secret_bytes(const dstack_secret *secret) {
    return bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret));
}

static int put(signer_answer *answer, dstack_bytes data, dstack_error *err) {
    if (data.len > SIGNER_DATA_MAX - answer->len) {
        return error_set(err, DSTACK_E_LIMIT, "the answer is too long");
    }
    memcpy(answer->data + answer->len, data.data, data.len);
    answer->len += (uint32_t)data.len;
    return 0;
}

static int put_secret(signer_answer *answer, int rc, dstack_secret *secret, dstack_error *err) {
    rc = rc != 0 ? rc : put(answer, secret_bytes(secret), err);
    dstack_secret_free(secret);
    return rc;
}

/* ---- confinement ------------------------------------------------------------------------------
 */

#if DSTACK_HAVE_SECCOMP && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* From here on: memory, time, randomness, and the socket that is open. No files, no processes, no
 * network. */
static int confine(dstack_error *err) {
    static const int allowed[] = {
        SCMP_SYS(recvfrom),       SCMP_SYS(recvmsg),       SCMP_SYS(sendto),
        SCMP_SYS(sendmsg),        SCMP_SYS(write),         SCMP_SYS(close),
        SCMP_SYS(exit),           SCMP_SYS(exit_group),    SCMP_SYS(rt_sigreturn),
        SCMP_SYS(mmap),           SCMP_SYS(munmap),        SCMP_SYS(mremap),
        SCMP_SYS(mprotect),       SCMP_SYS(madvise),       SCMP_SYS(mlock),
        SCMP_SYS(munlock),        SCMP_SYS(brk),           SCMP_SYS(getrandom),
        SCMP_SYS(futex),          SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
        SCMP_SYS(getpid),         SCMP_SYS(gettid),        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(restart_syscall)};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int code = filter != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; code == 0 && i < sizeof allowed / sizeof allowed[0]; i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    code = code == 0 ? seccomp_load(filter) : code;
    if (filter != NULL) {
        seccomp_release(filter);
    }
    errno = -code;
    return code == 0 ? 0 : error_set_errno(err, DSTACK_E_IO, "cannot confine the signer");
}
#else
static int confine(dstack_error *err) {
    (void)err;
    return 0;
}
#endif

/* ---- operations -------------------------------------------------------------------------------
 */

/* disk (32) ‖ env (32) ‖ k256 (32) ‖ signature (65) */
static int app_keys(const holder *h, const signer_request *request, signer_answer *answer,
                    dstack_error *err) {
    dstack_bytes app_id = bytes_of(request->app_id, sizeof request->app_id);
    dstack_bytes instance = bytes_of(request->instance_id, request->instance_len);
    dstack_secret *key = NULL;
    uint8_t public_key[DSTACK_K256_PUBLIC_SIZE], signature[DSTACK_SIGNATURE_SIZE];
    if (request->instance_len > sizeof request->instance_id) {
        return error_set(err, DSTACK_E_ARGUMENT, "instance id of another length");
    }
    int rc = dstack_key_app_disk(h->store.root, app_id, instance, &key, err);
    rc = put_secret(answer, rc, key, err);
    key = NULL;
    rc = rc != 0 ? rc : dstack_key_app_env(h->store.root, app_id, &key, err);
    rc = put_secret(answer, rc, key, err);
    key = NULL;
    rc = rc != 0 ? rc : dstack_key_app_k256(h->store.k256, app_id, &key, err);
    rc = rc != 0 ? rc : dstack_key_k256_public(key, public_key, err);
    rc = put_secret(answer, rc, key, err);
    rc = rc != 0 ? rc
                 : dstack_key_sign_app(h->store.k256, app_id,
                                       bytes_of(public_key, sizeof public_key), signature, err);
    return rc != 0 ? rc : put(answer, bytes_of(signature, sizeof signature), err);
}

/* public key (32) ‖ signature (65) ‖ signature with timestamp (65) */
static int env_key(const holder *h, const signer_request *request, signer_answer *answer,
                   dstack_error *err) {
    dstack_bytes app_id = bytes_of(request->app_id, sizeof request->app_id);
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    kms_env_key out;
    dstack_bytes view = bytes_of(out.public_key, sizeof out.public_key);
    int rc = dstack_key_app_env(h->store.root, app_id, &key, err);
    rc = rc != 0 ? rc : dstack_key_x25519_public(key, out.public_key, err);
    rc = rc != 0 ? rc : dstack_key_sign_env_legacy(h->store.k256, app_id, view, out.signature, err);
    rc = rc != 0 ? rc
                 : dstack_key_sign_env(h->store.k256, app_id, request->timestamp, view,
                                       out.signature_v1, err);
    rc = rc != 0 ? rc : put(answer, view, err);
    rc = rc != 0 ? rc : put(answer, bytes_of(out.signature, sizeof out.signature), err);
    return rc != 0 ? rc : put(answer, bytes_of(out.signature_v1, sizeof out.signature_v1), err);
}

static int app_ca(const holder *h, const signer_request *request, ecdsa_private **key,
                  dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *scalar = NULL;
    int rc = dstack_key_app_ca(h->store.root, bytes_of(request->app_id, sizeof request->app_id),
                               &scalar, err);
    return rc != 0 ? rc : ecdsa_private_from_scalar(key, ECDSA_P256, secret_bytes(scalar), err);
}

static int sign_with(const ecdsa_private *key, const signer_request *request, signer_answer *answer,
                     dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    int rc = ecdsa_sign_der(key, bytes_of(request->digest, sizeof request->digest), &der, err);
    return rc != 0 ? rc : put(answer, bytes_of_buf(&der), err);
}

static int with_app_ca(const holder *h, const signer_request *request, signer_answer *answer,
                       dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    int rc = app_ca(h, request, &key, err);
    if (rc == 0 && request->op == SIGNER_SIGN_APP) {
        return sign_with(key, request, answer, err);
    }
    rc = rc != 0 ? rc : ecdsa_key_spki(ecdsa_private_public(key), &spki, err);
    return rc != 0 ? rc : put(answer, bytes_of_buf(&spki), err);
}

/* The cryptographic libraries open their files at first use: not later than now. */
static int warm_up(const holder *h, dstack_error *err) {
    static const signer_request request;
    signer_answer answer = {0};
    int rc = app_keys(h, &request, &answer, err);
    answer.len = 0;
    rc = rc != 0 ? rc : sign_with(h->root, &request, &answer, err);
    sodium_memzero(&answer, sizeof answer);
    return rc;
}

/* root SPKI (91) ‖ k256 public key (33) */
static int load(holder *h, const signer_request *request, signer_answer *answer,
                dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    uint8_t k256[DSTACK_K256_PUBLIC_SIZE];
    if (h->loaded || memchr(request->dir, 0, sizeof request->dir) == NULL) {
        return error_set(err, DSTACK_E_STATE, "keys are loaded once");
    }
    int rc = kms_store_load_roots(&h->store, request->dir, request->insecure != 0, err);
    rc = rc != 0 ? rc : ecdsa_private_from_pem(&h->root, secret_bytes(h->store.root_pem), err);
    rc = rc != 0 ? rc : dstack_cert_key_public(h->store.root_pem, &spki, err);
    rc = rc != 0 ? rc : dstack_key_k256_public(h->store.k256, k256, err);
    rc = rc != 0 ? rc : put(answer, bytes_of_buf(&spki), err);
    rc = rc != 0 ? rc : put(answer, bytes_of(k256, sizeof k256), err);
    rc = rc != 0 ? rc : warm_up(h, err);
    rc = rc != 0 ? rc : confine(err);
    h->loaded = rc == 0;
    return rc;
}

/* k256 (32) ‖ root PEM */
static int handover(const holder *h, signer_answer *answer, dstack_error *err) {
    int rc = put(answer, secret_bytes(h->store.k256), err);
    return rc != 0 ? rc : put(answer, secret_bytes(h->store.root_pem), err);
}

static int serve_one(holder *h, const signer_request *request, signer_answer *answer,
                     dstack_error *err) {
    if (request->op != SIGNER_LOAD && !h->loaded) {
        return error_set(err, DSTACK_E_STATE, "no keys are loaded");
    }
    switch (request->op) {
    case SIGNER_LOAD:
        return load(h, request, answer, err);
    case SIGNER_APP_KEYS:
        return app_keys(h, request, answer, err);
    case SIGNER_ENV_KEY:
        return env_key(h, request, answer, err);
    case SIGNER_SIGN_ROOT:
        return sign_with(h->root, request, answer, err);
    case SIGNER_SIGN_APP:
    case SIGNER_APP_CA:
        return with_app_ca(h, request, answer, err);
    case SIGNER_HANDOVER:
        return handover(h, answer, err);
    default:
        return error_set(err, DSTACK_E_ARGUMENT, "no such message");
    }
}

/* ---- the process ------------------------------------------------------------------------------
 */

static void harden(void) {
    struct rlimit none = {0}, few = {16, 16};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_NOFILE, &few);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

int kms_signer_main(void) {
    static signer_request request;
    static signer_answer answer;
    holder h = {0};
    harden();
    if (sodium_init() < 0) {
        return 1;
    }
    for (;;) {
        dstack_error err = {0};
        ssize_t len = recv(SIGNER_FD, &request, sizeof request, 0);
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len != (ssize_t)sizeof request) {
            break; /* the other end is gone, or is no longer itself */
        }
        answer = (signer_answer){0};
        answer.status = serve_one(&h, &request, &answer, &err);
        memcpy(answer.message, err.message,
               sizeof answer.message < sizeof err.message ? sizeof answer.message
                                                          : sizeof err.message);
        answer.message[sizeof answer.message - 1] = 0;
        answer.len = answer.status == 0 ? answer.len : 0;
        len = send(SIGNER_FD, &answer, sizeof answer, MSG_NOSIGNAL);
        sodium_memzero(&answer, sizeof answer);
        if (len != (ssize_t)sizeof answer) {
            break;
        }
    }
    ecdsa_private_free(h.root);
    kms_store_clear(&h.store);
    return 0;
}
