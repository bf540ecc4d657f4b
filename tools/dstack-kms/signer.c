/* The way to the process that holds the root keys. */
#include "signer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/daemon.h"
#include "service/log.h"
#include "signer_wire.h"

#define SPKI_SIZE 91

struct kms_signer {
    int fd;
    pid_t pid;
    pthread_mutex_t lock; /* one question at a time */
    uint8_t root[SPKI_SIZE];
    uint8_t k256[DSTACK_K256_PUBLIC_SIZE];
};

/* One question and its answer, which the caller wipes. */
static int ask(kms_signer *s, const signer_request *request, signer_answer *answer,
               dstack_error *err) {
    ssize_t sent, got = -1;
    pthread_mutex_lock(&s->lock);
    sent = send(s->fd, request, sizeof *request, MSG_NOSIGNAL);
    while (sent == (ssize_t)sizeof *request) {
        got = recv(s->fd, answer, sizeof *answer, 0);
        if (got >= 0 || errno != EINTR) {
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (got != (ssize_t)sizeof *answer || answer->len > SIGNER_DATA_MAX) {
        LOG_ERROR("the process that holds the root keys is gone");
        daemon_request_stop();
        return error_set(err, DSTACK_E_STATE, "the keys are not available");
    }
    answer->message[sizeof answer->message - 1] = 0;
    return answer->status == 0
               ? 0
               : error_set(err, (dstack_status)answer->status, "%s", answer->message);
}

static void auto_answer(signer_answer *answer) {
    sodium_memzero(answer, sizeof *answer);
}

static int ask_for(kms_signer *s, signer_op op, dstack_bytes app_id, signer_request *request,
                   signer_answer *answer, size_t len, dstack_error *err) {
    if (app_id.len != 0 && app_id.len != sizeof request->app_id) {
        return error_set(err, DSTACK_E_ARGUMENT, "app_id must be 20 bytes");
    }
    request->op = op;
    if (app_id.len != 0) {
        memcpy(request->app_id, app_id.data, app_id.len);
    }
    int rc = ask(s, request, answer, err);
    return rc == 0 && len != 0 && answer->len != len
               ? error_set(err, DSTACK_E_INTERNAL, "an answer of another length")
               : rc;
}

/* ---- the process ------------------------------------------------------------------------------
 */

static int spawn(kms_signer *s, int theirs, dstack_error *err) {
    static char *const arguments[] = {"dstack-kms", KMS_SIGNER_FLAG, NULL};
    static char *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, theirs, SIGNER_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, SIGNER_FD + 1);
    int code = posix_spawn(&s->pid, "/proc/self/exe", &actions, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    errno = code;
    return code == 0 ? 0 : error_set_errno(err, DSTACK_E_IO, "cannot start the signer");
}

static int load(kms_signer *s, const char *dir, bool insecure, dstack_error *err) {
    signer_request request = {.insecure = insecure};
    __attribute__((cleanup(auto_answer))) signer_answer answer = {0};
    if (strlen(dir) >= sizeof request.dir) {
        return error_set(err, DSTACK_E_ARGUMENT, "core.cert_dir is too long");
    }
    strcpy(request.dir, dir);
    int rc = ask_for(s, SIGNER_LOAD, (dstack_bytes){0}, &request, &answer,
                     SPKI_SIZE + DSTACK_K256_PUBLIC_SIZE, err);
    if (rc == 0) {
        memcpy(s->root, answer.data, SPKI_SIZE);
        memcpy(s->k256, answer.data + SPKI_SIZE, sizeof s->k256);
    }
    return rc;
}

int kms_signer_start(kms_signer **out, const char *dir, bool insecure, dstack_error *err) {
    int pair[2];
    kms_signer *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    pthread_mutex_init(&s->lock, NULL);
    s->fd = -1;
    int rc = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0
                 ? 0
                 : error_set_errno(err, DSTACK_E_IO, "cannot make a socket pair");
    if (rc == 0) {
        s->fd = pair[0];
        rc = spawn(s, pair[1], err);
        close(pair[1]);
    }
    rc = rc != 0 ? rc : load(s, dir, insecure, err);
    if (rc != 0) {
        kms_signer_stop(s);
        return rc;
    }
    *out = s;
    return 0;
}

void kms_signer_stop(kms_signer *signer) {
    if (signer != NULL) {
        if (signer->fd >= 0) {
            close(signer->fd); /* it ends at that */
        }
        if (signer->pid > 0) {
            waitpid(signer->pid, NULL, 0);
        }
        pthread_mutex_destroy(&signer->lock);
        free(signer);
    }
}

dstack_bytes kms_signer_root(const kms_signer *signer) {
    return bytes_of(signer->root, sizeof signer->root);
}

const uint8_t *kms_signer_k256(const kms_signer *signer) {
    return signer->k256;
}

/* ---- questions --------------------------------------------------------------------------------
 */

void kms_app_secrets_clear(kms_app_secrets *secrets) {
    dstack_secret_free(secrets->disk);
    dstack_secret_free(secrets->env);
    dstack_secret_free(secrets->k256);
    *secrets = (kms_app_secrets){0};
}

int kms_signer_app_keys(kms_signer *signer, dstack_bytes app_id, dstack_bytes instance_id,
                        kms_app_secrets *out, dstack_error *err) {
    signer_request request = {.instance_len = (uint32_t)instance_id.len};
    __attribute__((cleanup(auto_answer))) signer_answer answer = {0};
    if (instance_id.len != 0 && instance_id.len != sizeof request.instance_id) {
        return error_set(err, DSTACK_E_ARGUMENT, "instance_id must be 20 bytes or none");
    }
    if (instance_id.len != 0) {
        memcpy(request.instance_id, instance_id.data, instance_id.len);
    }
    int rc = ask_for(signer, SIGNER_APP_KEYS, app_id, &request, &answer,
                     3 * DSTACK_KEY_SIZE + DSTACK_SIGNATURE_SIZE, err);
    if (rc != 0) {
        return rc;
    }
    out->disk = dstack_secret_copy(answer.data, DSTACK_KEY_SIZE);
    out->env = dstack_secret_copy(answer.data + DSTACK_KEY_SIZE, DSTACK_KEY_SIZE);
    out->k256 = dstack_secret_copy(answer.data + 2 * DSTACK_KEY_SIZE, DSTACK_KEY_SIZE);
    memcpy(out->signature, answer.data + 3 * DSTACK_KEY_SIZE, DSTACK_SIGNATURE_SIZE);
    return out->disk != NULL && out->env != NULL && out->k256 != NULL
               ? 0
               : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

int kms_signer_env_key(kms_signer *signer, dstack_bytes app_id, uint64_t timestamp,
                       kms_env_key *out, dstack_error *err) {
    signer_request request = {.timestamp = timestamp};
    __attribute__((cleanup(auto_answer))) signer_answer answer = {0};
    int rc = ask_for(signer, SIGNER_ENV_KEY, app_id, &request, &answer, sizeof *out, err);
    if (rc == 0) {
        memcpy(out, answer.data, sizeof *out); /* three arrays of bytes, without gaps */
    }
    return rc;
}

int kms_signer_sign(kms_signer *signer, dstack_bytes app_id, dstack_bytes digest, dstack_buf *der,
                    dstack_error *err) {
    signer_request request = {0};
    __attribute__((cleanup(auto_answer))) signer_answer answer = {0};
    if (digest.len != sizeof request.digest) {
        return error_set(err, DSTACK_E_ARGUMENT, "a digest of 32 bytes is signed");
    }
    memcpy(request.digest, digest.data, digest.len);
    int rc = ask_for(signer, app_id.len != 0 ? SIGNER_SIGN_APP : SIGNER_SIGN_ROOT, app_id, &request,
                     &answer, 0, err);
    if (rc == 0) {
        buf_put(der, answer.data, answer.len);
        rc = buf_check(der, err);
    }
    return rc;
}

int kms_signer_app_ca(kms_signer *signer, dstack_bytes app_id, dstack_buf *spki,
                      dstack_error *err) {
    signer_request request = {0};
    __attribute__((cleanup(auto_answer))) signer_answer answer = {0};
    int rc = ask_for(signer, SIGNER_APP_CA, app_id, &request, &answer, SPKI_SIZE, err);
    if (rc == 0) {
        buf_put(spki, answer.data, answer.len);
        rc = buf_check(spki, err);
    }
    return rc;
}

int kms_signer_handover(kms_signer *signer, dstack_secret **root_pem, dstack_secret **k256,
                        dstack_error *err) {
    signer_request request = {0};
    __attribute__((cleanup(auto_answer))) signer_answer answer = {0};
    int rc = ask_for(signer, SIGNER_HANDOVER, (dstack_bytes){0}, &request, &answer, 0, err);
    if (rc == 0 && answer.len <= DSTACK_KEY_SIZE) {
        rc = error_set(err, DSTACK_E_INTERNAL, "an answer of another length");
    }
    if (rc == 0) {
        *k256 = dstack_secret_copy(answer.data, DSTACK_KEY_SIZE);
        *root_pem = dstack_secret_copy(answer.data + DSTACK_KEY_SIZE, answer.len - DSTACK_KEY_SIZE);
        rc = *k256 != NULL && *root_pem != NULL ? 0
                                                : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return rc;
}
