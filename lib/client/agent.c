#include <dstack/agent.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "client/http_client.h"

#define ANSWER_MAX ((size_t)16 << 20)
#define DEFAULT_TIMEOUT_MS 30000

struct dstack_agent {
    http_client *http;
};

static const char *const SOCKETS[] = {
    "/var/run/dstack.sock",
    "/run/dstack.sock",
    "/var/run/dstack/dstack.sock",
    "/run/dstack/dstack.sock",
};

static const char *first_socket(void) {
    for (size_t i = 0; i < sizeof SOCKETS / sizeof *SOCKETS; i++) {
        if (access(SOCKETS[i], F_OK) == 0) {
            return SOCKETS[i];
        }
    }
    return NULL;
}

int dstack_agent_new(const char *endpoint, int timeout_ms, dstack_agent **out, dstack_error *err) {
    *out = NULL;
    const char *where = endpoint != NULL ? endpoint : first_socket();
    if (where == NULL) {
        return error_set(err, DSTACK_E_NOT_FOUND, "no guest agent's socket is mounted here");
    }
    char url[512];
    int len = snprintf(url, sizeof url, "%s%s", where[0] == '/' ? "unix:" : "", where);
    if (len < 0 || (size_t)len >= sizeof url) {
        return error_set(err, DSTACK_E_ARGUMENT, "the agent's endpoint is too long");
    }
    const http_client_config config = {
        .url = url,
        .total_timeout_ms = timeout_ms > 0 ? timeout_ms : DEFAULT_TIMEOUT_MS,
        .body_limit = ANSWER_MAX,
    };
    dstack_agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    dstack_error why = {0};
    agent->http = http_client_new(&config, &why);
    if (agent->http == NULL) {
        free(agent);
        return error_set(err, why.status, "%s", why.message);
    }
    *out = agent;
    return 0;
}

void dstack_agent_free(dstack_agent *agent) {
    if (agent != NULL) {
        http_client_free(agent->http);
        free(agent);
    }
}

/* Takes the reference to `arguments`. */
static int call(dstack_agent *agent, const char *path, json_t *arguments, json_t **answer,
                dstack_error *err) {
    DSTACK_AUTO(json) json_t *body = arguments;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    if (body == NULL) {
        return error_set(err, DSTACK_E_ARGUMENT, "an argument is not UTF-8 text");
    }
    int rc = json_write(body, false, &text, err);
    if (rc != 0) {
        return rc;
    }
    const http_client_request request = {
        .method = "POST",
        .path = path,
        .content_type = "application/json",
        .body = bytes_of_buf(&text),
    };
    if ((rc = http_client_send_ok(agent->http, &request, &response, err)) != 0) {
        return error_prefix(err, rc, "guest agent");
    }
    *answer = json_parse(bytes_of_buf(&response.body), ANSWER_MAX, "the agent's answer", NULL);
    return json_is_object(*answer)
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "the agent's answer is no JSON object");
}

void dstack_agent_key_clear(dstack_agent_key *key) {
    if (key != NULL) {
        dstack_secret_free(key->key);
        dstack_buf_clear(&key->link);
        dstack_buf_clear(&key->issued);
        memset(key, 0, sizeof *key);
    }
}

static int link_read(const json_t *chain, size_t index, dstack_buf *out, dstack_error *err) {
    const char *text = json_string_value(json_array_get(chain, index));
    if (text == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "signature_chain must hold two strings");
    }
    int rc = hex_decode(bytes_of_str(text), out, err);
    return rc != 0 || out->len == 65 || (index == 1 && out->len == 0)
               ? rc
               : error_set(err, DSTACK_E_FORMAT, "signature_chain holds a wrong length");
}

static int key_read(const json_t *answer, dstack_agent_key *out, dstack_error *err) {
    const char *text = NULL, *public_key = NULL;
    json_t *chain = NULL;
    int rc;
    if ((rc = json_need_str(answer, "key", &text, err)) != 0 ||
        (rc = json_str_or(answer, "public_key", "", &public_key, err)) != 0 ||
        (rc = json_need_array(answer, "signature_chain", &chain, err)) != 0 ||
        (rc = link_read(chain, 0, &out->link, err)) != 0 ||
        (rc = link_read(chain, 1, &out->issued, err)) != 0) {
        return rc;
    }
    out->key = dstack_secret_new(DSTACK_KEY_SIZE);
    if (out->key == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (hex_decode_fixed(text, dstack_secret_data(out->key), DSTACK_KEY_SIZE, NULL) != 0) {
        return error_set(err, DSTACK_E_FORMAT, "member \"key\" must be 32 bytes in hex");
    }
    size_t len = strlen(public_key) / 2;
    if (len > sizeof out->public_key) {
        return error_set(err, DSTACK_E_FORMAT, "member \"public_key\" is too long");
    }
    out->public_key_len = len;
    return hex_decode_fixed(public_key, out->public_key, len, err);
}

static int key_call(dstack_agent *agent, const char *path, json_t *arguments, dstack_agent_key *out,
                    dstack_error *err) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(json) json_t *answer = NULL;
    int rc = call(agent, path, arguments, &answer, err);
    if (rc == 0) {
        rc = key_read(answer, out, err);
    }
    if (rc != 0) {
        dstack_agent_key_clear(out);
    }
    return rc;
}

int dstack_agent_get_key(dstack_agent *agent, const char *path, const char *purpose,
                         const char *algorithm, dstack_agent_key *out, dstack_error *err) {
    return key_call(
        agent, "/GetKey",
        json_pack("{s:s,s:s,s:s}", "path", path, "purpose", purpose, "algorithm", algorithm), out,
        err);
}

int dstack_agent_get_key_v1(dstack_agent *agent, const char *domain, const char *algorithm,
                            dstack_agent_key *out, dstack_error *err) {
    return key_call(agent, "/v1/GetKey",
                    json_pack("{s:s,s:s}", "domain", domain, "algorithm", algorithm), out, err);
}

static json_t *tls_arguments(const dstack_agent_tls_request *request) {
    json_t *names = json_array();
    for (size_t i = 0; i < request->alt_name_count; i++) {
        json_array_append_new(names, json_string(request->alt_names[i]));
    }
    json_t *body = json_pack(
        "{s:s,s:o,s:b,s:b,s:b,s:b}", "subject", request->subject != NULL ? request->subject : "",
        "alt_names", names, "usage_ra_tls", (int)request->ra_tls, "usage_server_auth",
        (int)request->server_auth, "usage_client_auth", (int)request->client_auth, "with_app_info",
        (int)request->with_app_info);
    if (body != NULL && request->not_before != 0) {
        json_object_set_new(body, "not_before", json_integer((json_int_t)request->not_before));
    }
    if (body != NULL && request->not_after != 0) {
        json_object_set_new(body, "not_after", json_integer((json_int_t)request->not_after));
    }
    return body;
}

int dstack_agent_get_tls_key(dstack_agent *agent, const dstack_agent_tls_request *request,
                             dstack_secret **key, dstack_buf *chain, dstack_error *err) {
    *key = NULL;
    DSTACK_AUTO(json) json_t *answer = NULL;
    const char *pem = NULL;
    json_t *certificates = NULL;
    int rc;
    if ((rc = call(agent, "/GetTlsKey", tls_arguments(request), &answer, err)) != 0 ||
        (rc = json_need_str(answer, "key", &pem, err)) != 0 ||
        (rc = json_need_array(answer, "certificate_chain", &certificates, err)) != 0) {
        return rc;
    }
    for (size_t i = 0; i < json_array_size(certificates); i++) {
        const char *text = json_string_value(json_array_get(certificates, i));
        if (text == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "certificate_chain must hold strings");
        }
        buf_put_str(chain, text);
    }
    if ((rc = buf_check(chain, err)) != 0) {
        return rc;
    }
    *key = pem[0] != '\0' ? dstack_secret_copy((const uint8_t *)pem, strlen(pem)) : NULL;
    return *key != NULL ? 0 : error_set(err, DSTACK_E_FORMAT, "the agent gave no key");
}

static json_t *report_data_arguments(dstack_bytes report_data) {
    json_t *body = json_object();
    json_object_set_new(body, "report_data", json_hex(report_data));
    return body;
}

int dstack_agent_get_quote(dstack_agent *agent, dstack_bytes report_data, dstack_buf *quote,
                           dstack_buf *event_log, dstack_error *err) {
    DSTACK_AUTO(json) json_t *answer = NULL;
    const char *log = NULL;
    int rc;
    if ((rc = call(agent, "/GetQuote", report_data_arguments(report_data), &answer, err)) != 0 ||
        (rc = json_hex_or_empty(answer, "quote", quote, err)) != 0 ||
        (rc = json_need_str(answer, "event_log", &log, err)) != 0) {
        return rc;
    }
    buf_put_str(event_log, log);
    return buf_check(event_log, err);
}

int dstack_agent_attest(dstack_agent *agent, dstack_bytes report_data, dstack_buf *attestation,
                        dstack_error *err) {
    DSTACK_AUTO(json) json_t *answer = NULL;
    int rc = call(agent, "/Attest", report_data_arguments(report_data), &answer, err);
    return rc != 0 ? rc : json_hex_or_empty(answer, "attestation", attestation, err);
}

int dstack_agent_get_info(dstack_agent *agent, dstack_agent_info *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(json) json_t *answer = NULL;
    const char *instance = NULL, *name = NULL;
    int rc;
    if ((rc = call(agent, "/Info", json_object(), &answer, err)) != 0 ||
        (rc = json_need_hex(answer, "app_id", out->app_id, sizeof out->app_id, err)) != 0 ||
        (rc = json_need_hex(answer, "compose_hash", out->compose_hash, sizeof out->compose_hash,
                            err)) != 0 ||
        (rc = json_str_or(answer, "instance_id", "", &instance, err)) != 0 ||
        (rc = json_str_or(answer, "app_name", "", &name, err)) != 0) {
        return rc;
    }
    snprintf(out->app_name, sizeof out->app_name, "%s", name);
    out->has_instance_id = instance[0] != '\0';
    return out->has_instance_id
               ? hex_decode_fixed(instance, out->instance_id, sizeof out->instance_id, err)
               : 0;
}

int dstack_agent_get_version(dstack_agent *agent, dstack_buf *version, dstack_error *err) {
    DSTACK_AUTO(json) json_t *answer = NULL;
    const char *text = NULL;
    int rc;
    if ((rc = call(agent, "/Version", json_object(), &answer, err)) != 0 ||
        (rc = json_need_str(answer, "version", &text, err)) != 0) {
        return rc;
    }
    buf_put_str(version, text);
    return buf_check(version, err);
}
