/* Verdicts as EAR tokens, and the key they are signed with. */
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "service.h"
#include "service/log.h"

#define KEY_FILE_MAX ((size_t)16 << 10)

/* A key that others can read signs for them too. */
static int check_mode(const char *path, dstack_error *err) {
    struct stat info;
    if (stat(path, &info) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", path);
    }
    return (info.st_mode & 077) == 0 && info.st_uid == geteuid()
               ? 0
               : error_set(err, DSTACK_E_REFUSED, "%s must be readable by its owner alone (0600)",
                           path);
}

static int read_key(const char *path, dstack_secret **out, dstack_error *err) {
    DSTACK_AUTO(wiped_buf) dstack_buf text = {0};
    buf_reserve(&text, KEY_FILE_MAX);
    int rc = file_read(path, KEY_FILE_MAX, &text, err);
    rc = rc != 0 ? rc : check_mode(path, err);
    if (rc == 0 && (*out = dstack_secret_copy(text.data, text.len)) == NULL) {
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return rc;
}

static int make_key(const char *path, dstack_secret **out, dstack_error *err) {
    int rc = dstack_cert_key_new(out, err);
    rc = rc != 0 ? rc
                 : file_write_new(path, bytes_of(dstack_secret_peek(*out), dstack_secret_len(*out)),
                                  0600, err);
    if (rc == 0) {
        LOG_INFO("made a key for attestation results", "file", path);
    }
    return rc;
}

int service_ear_open(verifier_service *s, const service_config *config, dstack_error *err) {
    const char *path = config_str(config, "ear.key_file");
    const char *issuer = config_str(config, "ear.issuer");
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    int rc = path[0] == '\0' ? 0 : read_key(path, &key, err);
    if (rc == DSTACK_E_NOT_FOUND) {
        rc = make_key(path, &key, err);
    }
    s->issuer = issuer[0] != '\0' ? issuer : NULL;
    s->form = strcmp(config_str(config, "ear.form"), "ietf") == 0 ? DSTACK_EAR_FORM_IETF
                                                                  : DSTACK_EAR_FORM_TRUSTEE;
    s->lifetime_s = config_duration_ms(config, "ear.lifetime") / 1000;
    rc = rc != 0 ? rc : dstack_ear_signer_new(&s->signer, key, err);
    return error_prefix(err, rc, "ear.key_file");
}

/* What stands in the way of judging is no judgement of the evidence. */
static dstack_ear_failure failure_of(const verdict *v) {
    switch (v->error.status) {
    case DSTACK_E_MEMORY:
    case DSTACK_E_IO:
    case DSTACK_E_NETWORK:
    case DSTACK_E_TIMEOUT:
    case DSTACK_E_INTERNAL:
    case DSTACK_E_LIMIT:
    case DSTACK_E_STATE:
    case DSTACK_E_DCAP_COLLATERAL_FETCH:
    case DSTACK_E_DCAP_COLLATERAL_NOT_FOUND:
        return DSTACK_EAR_NO_VERDICT;
    default:
        return v->stage == STAGE_IMAGE ? DSTACK_EAR_IMAGE_REFUSED : DSTACK_EAR_EVIDENCE_REFUSED;
    }
}

void service_ear(http_request *request, http_response *response, void *user) {
    verifier_service *s = user;
    DSTACK_AUTO(request) verify_request body = {0};
    DSTACK_AUTO(verdict) verdict v = {0};
    DSTACK_AUTO(buf) dstack_buf token = {0};
    if (!service_judge(s, request, response, &body, &v)) {
        return;
    }
    if (v.stage == STAGE_DECODE) {
        service_error(request, response, 422, v.reason); /* there is nothing to attest to */
        return;
    }
    bool held = v.stage >= STAGE_POLICY;
    const dstack_ear_result result = {
        .verified = v.config_unreadable ? NULL : v.verified,
        .decision = v.decision,
        .failure = held ? DSTACK_EAR_NOT_FAILED : failure_of(&v),
        .reason = v.reason,
        .issuer = s->issuer,
        .now = v.now,
        .lifetime = s->lifetime_s,
        /* a nonce that the evidence does not bind would vouch for a freshness that is not there */
        .nonce = held ? bytes_of_buf(&body.nonce) : (dstack_bytes){0},
        .insecure_dev = s->insecure,
        .form = s->form,
    };
    dstack_error err = {0};
    if (dstack_ear_sign(s->signer, &result, &token, &err) != 0) {
        LOG_ERROR("no attestation result", "reason", err.message);
        service_error(request, response, 500, "The result could not be signed.");
        return;
    }
    http_response_bytes(response, 200, DSTACK_EAR_MEDIA_TYPE, bytes_of_buf(&token));
}

void service_jwks(http_request *request, http_response *response, void *user) {
    const verifier_service *s = user;
    DSTACK_AUTO(buf) dstack_buf keys = {0};
    if (dstack_ear_signer_jwks(s->signer, &keys, NULL) != 0) {
        service_error(request, response, 500, "The key could not be written.");
        return;
    }
    http_response_bytes(response, 200, "application/jwk-set+json", bytes_of_buf(&keys));
}
