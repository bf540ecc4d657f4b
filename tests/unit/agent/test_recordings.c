/* Requests and answers recorded from the reference system. */
#include "agent_recorded.h"

#include <dirent.h>

/* Where this agent answers otherwise than the recording, and why. */
static const struct superseded {
    const char *target;
    int recorded, status;
    const char *type, *why;
} superseded[] = {
    {"/getkey", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/Tappd.GetKey", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/Nope", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/NoSuchMethod", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/DstackGuest.Version", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/prpc/Worker.Version", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/prpc/Tappd.GetKey", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/prpc/Worker.GetKey", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/api/GuestApi.Info", 400, 404, NULL, "an unknown method is 404 since 0.6.0"},
    {"/GpuInfo", 200, 404, NULL, "removed in 0.6.0"},
    {"/prpc/Worker.GetAttestationForAppKey", 400, 200, NULL, "secp256k1_prehashed is accepted"},
    {"/logs/foo?since=30x", 200, 400, RAW_JSON, "an error is no 200"},
    {"/logs/foo?until=x", 200, 400, RAW_JSON, "an error is no 200"},
    {"/logs/x?since=abc", 200, 400, RAW_JSON, "an error is no 200"},
    {"/logs/foo?follow=maybe", 422, 422, RAW_JSON, "says what is wrong instead of a page"},
};

static const struct superseded *superseded_find(const char *target, int status) {
    for (size_t i = 0; i < sizeof superseded / sizeof *superseded; i++) {
        if (strcmp(superseded[i].target, target) == 0 && superseded[i].recorded == status) {
            return &superseded[i];
        }
    }
    return NULL;
}

static void body_of(const json_t *from, dstack_buf *out) {
    const char *hex = json_string_value(json_object_get(from, "body_hex"));
    const json_t *body = json_object_get(from, "body");
    const char *text = json_string_value(json_object_get(from, "body_text"));
    if (hex != NULL) {
        put_hex(out, hex);
    } else if (text != NULL) {
        buf_put_str(out, text);
    } else if (json_is_string(body)) {
        buf_put_str(out, json_string_value(body));
    } else if (body != NULL && !json_is_null(body)) {
        DSTACK_AUTO(str) char *compact = dump(body);
        buf_put_str(out, compact);
    }
}

/* A success that depends on neither chance nor build is the same byte for byte. */
static bool body_is_fixed(const char *target, const dstack_buf *want) {
    return want->len > 0 && want->data[0] != '(' && strstr(target, "Version") == NULL;
}

static void every_recorded_edge_case_has_the_same_status_and_shape(void **state) {
    recorded r;
    recorded_begin(&r);
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "agent/http-edge-cases.json");
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(data, "cases"), i, row) {
        const json_t *response = json_object_get(row, "response");
        const char *target = text_of(row, "target"), *type = text_of(response, "content_type");
        int status = (int)json_integer_value(json_object_get(response, "status"));
        const struct superseded *other = superseded_find(target, status);
        DSTACK_AUTO(buf) dstack_buf body = {0};
        DSTACK_AUTO(buf) dstack_buf want = {0};
        body_of(row, &body);
        body_of(response, &want);
        DSTACK_AUTO(http_client_response) http_client_response answer = {0};
        raw_call(r.dir, text_of(row, "socket"), text_of(row, "method"), target,
                 json_string_value(json_object_get(row, "content_type")), bytes_of_buf(&body),
                 &answer);
        char have[64] = "";
        http_client_response_header(&answer, "content-type", have, sizeof have);
        bool same = status != 200 || !body_is_fixed(target, &want) ||
                    bytes_equal(bytes_of_buf(&answer.body), bytes_of_buf(&want));
        if (answer.status != (other != NULL ? other->status : status) ||
            strcmp(have, other != NULL && other->type != NULL ? other->type : type) != 0 ||
            !raw_shape_is_right(&answer, have) || (other == NULL && !same)) {
            fail_msg("case %zu (%s): %d %s\n%.*s", i, text_of(row, "note"), answer.status, have,
                     (int)answer.body.len, (const char *)answer.body.data);
        }
    }
    assert_int_equal(i, 73);
    recorded_end(&r);
}

/* ---- whole answers ----------------------------------------------------------------------------- */

/* What of an answer is not the same in every run or place. `start` is how the file's name starts;
 * `keys` are members whose value differs, "*" all of them. */
static const struct variable_part {
    const char *start, *keys, *why;
} variable_parts[] = {
    {"DstackGuest.GetTlsKey.", "key certificate_chain", "a fresh key"},
    {"Tappd.DeriveKey.random-seed", "key certificate_chain", "a fresh key"},
    {"Tappd.DeriveKey.", "certificate_chain", "time and signature"},
    {"DstackGuest.Info", "app_cert", "a fresh key"},
    {"Tappd.Info", "app_cert", "a fresh key"},
    {"Worker.Info", "app_cert", "a fresh key"},
    {"GuestApi.Info", "app_cert", "a fresh key"},
    {"DstackGuest.Version", "rev", "the build"},
    {"Tappd.Version", "rev", "the build"},
    {"Worker.Version", "rev", "the build"},
    {"GuestApi.SysInfo", "*", "the machine"},
    {"GuestApi.NetworkInfo", "*", "the machine"},
    {"GuestApi.ListContainers", "error", "the engine's absence in our words"},
    {"DstackGuest.EmitEvent", "error", "it answers its fixed text since 0.6.0"},
    {"DstackGuest.GetKey.malformed-json", "error", "a parser's words"},
    {"DstackGuest.GetKey.null-field", "error", "a parser's words"},
    {"DstackGuest.GetKey.wrong-type", "error", "a parser's words"},
    {"DstackGuest.GetQuote.not-hex", "error", "a parser's words"},
};

static bool varies(const char *file, const char *key) {
    for (size_t i = 0; i < sizeof variable_parts / sizeof *variable_parts; i++) {
        const struct variable_part *part = &variable_parts[i];
        if (strncmp(file, part->start, strlen(part->start)) == 0 &&
            (strcmp(part->keys, "*") == 0 || strstr(part->keys, key) != NULL)) {
            return true;
        }
    }
    return false;
}

/* Same members in the same order; "attestation" of GetQuote is gone since 0.6.0. */
static void assert_same_object(const char *file, json_t *have, json_t *want) {
    const char *key;
    json_t *value;
    if (strstr(file, "GetQuote") != NULL || strstr(file, "GetAttestationForAppKey") != NULL) {
        json_object_del(want, "attestation");
    }
    void *at = json_object_iter(have);
    json_object_foreach(want, key, value) {
        if (at == NULL || strcmp(json_object_iter_key(at), key) != 0) {
            fail_msg("%s: member %s, recorded %s", file,
                     at != NULL ? json_object_iter_key(at) : "(none)", key);
        }
        const json_t *own = json_object_iter_value(at);
        if (json_typeof(own) != json_typeof(value) ||
            (!varies(file, key) && !json_equal(own, value))) {
            fail_msg("%s: value of %s differs", file, key);
        }
        at = json_object_iter_next(have, at);
    }
    assert_null(at);
}

/* Names without their values: the machine's figures are its own. */
static void assert_same_metrics(const char *have, const char *want) {
    for (const char *line = want; *line != 0; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, "# TYPE ", 7) == 0) {
            DSTACK_AUTO(buf) dstack_buf wanted = {0};
            buf_put(&wanted, line, strcspn(line, "\n"));
            buf_put_str(&wanted, "\n");
            assert_non_null(strstr(have, buf_text(&wanted)));
        }
    }
}

static void assert_same_answer(const char *file, http_client_response *answer, json_t *response) {
    const char *text = json_string_value(json_object_get(response, "body_text"));
    const char *hex = json_string_value(json_object_get(response, "body_hex"));
    json_t *want = json_object_get(response, "body");
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    if (json_is_object(want)) {
        DSTACK_AUTO(json)
        json_t *have = json_parse(bytes_of_buf(&answer->body), (size_t)16 << 20, file, NULL);
        assert_true(json_is_object(have));
        assert_same_object(file, have, want);
    } else if (hex != NULL && strstr(file, "GetQuote") == NULL) {
        put_hex(&bytes, hex);
        assert_true(bytes_equal(bytes_of_buf(&answer->body), bytes_of_buf(&bytes)));
    } else if (strstr(file, "metrics") != NULL) {
        assert_same_metrics(buf_text(&answer->body), text);
    }
}

static void replay(recorded *r, const char *file) {
    char path[300], have[64] = "";
    snprintf(path, sizeof path, SHARED_DATA "agent/responses/%s", file);
    DSTACK_AUTO(json) json_t *call = load_json(path);
    const json_t *request = json_object_get(call, "request");
    json_t *response = json_object_get(call, "response");
    const char *target = text_of(request, "path");
    const char *type =
        json_string_value(json_object_get(json_object_get(response, "headers"), "content-type"));
    int status = (int)json_integer_value(json_object_get(response, "status"));
    const struct superseded *other = superseded_find(target, status);
    if (strstr(target, "GetAttestationForAppKey") != NULL &&
        strstr(file, "secp256k1_prehashed") == NULL) {
        other = NULL;
    }
    DSTACK_AUTO(buf) dstack_buf body = {0};
    body_of(request, &body);
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    raw_call(r->dir, text_of(request, "socket"), text_of(request, "method"), target,
             json_string_value(json_object_get(request, "content_type")), bytes_of_buf(&body),
             &answer);
    http_client_response_header(&answer, "content-type", have, sizeof have);
    if (answer.status != (other != NULL ? other->status : status) ||
        strcmp(have, other != NULL && other->type != NULL ? other->type : type) != 0) {
        fail_msg("%s: %d %s, recorded %d %s", file, answer.status, have, status, type);
    }
    if (other == NULL) {
        assert_same_answer(file, &answer, response);
    }
}

static void every_recorded_answer_is_given_again(void **state) {
    recorded r;
    recorded_begin(&r);
    DIR *dir = opendir(SHARED_DATA "agent/responses");
    assert_non_null(dir);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0) {
            /* Each call is one of the public's, which has a budget per second. */
            r.f.a->public_evidence.tokens_at_ms = 0;
            replay(&r, entry->d_name);
            count++;
        }
    }
    closedir(dir);
    assert_true(count >= 95);
    recorded_end(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_edge_case_has_the_same_status_and_shape),
        cmocka_unit_test(every_recorded_answer_is_given_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
