#include "vmm_client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "console_reason.h"

#define DEFAULT_URL "unix:/run/dstack/vmm.sock"
#define ANSWER_LIMIT ((size_t)128 << 20)
#define TOKEN_LIMIT 4096
/* CreateVm and StartVm answer when QEMU is up. */
#define CALL_TIMEOUT_MS 180000
#define POLL_MS 300
/* How long a running guest may still report "done" after it has told an error. */
#define ERROR_GRACE_S 30
/* How long a VM that ended without a reason may take to be started again by its VMM. */
#define RESTART_GRACE_S 60
/* Among these the reason of a guest that ended early is looked for. */
#define CONSOLE_LINES 400

const char *vmm_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static int find_url(const struct cli *cli, char **url, dstack_error *err) {
    const char *given = cli_value(cli, "vmm", NULL);
    const char *state = cli_value(cli, "state", NULL);
    int rc = 0;
    if (given == NULL && state != NULL) {
        rc = asprintf(url, "unix:%s/vmm.sock", state);
    } else {
        rc = asprintf(url, "%s", given != NULL ? given : DEFAULT_URL);
    }
    if (rc < 0) {
        *url = NULL;
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    if (strncmp(*url, "unix:", 5) != 0 && strncmp(*url, "http://", 7) != 0 &&
        strncmp(*url, "https://", 8) != 0) {
        return cli_usage(err, "--vmm %s: expected unix:PATH or http(s)://HOST:PORT", *url);
    }
    return 0;
}

static int read_token(const struct cli *cli, char **token, dstack_error *err) {
    const char *path = cli_value(cli, "token-file", NULL);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (path == NULL) {
        return 0;
    }
    int rc = file_read(path, TOKEN_LIMIT, &text, err);
    if (rc == 0) {
        *token = buf_detach_text(&text);
        if (*token != NULL) {
            (*token)[strcspn(*token, "\r\n")] = 0;
        }
    }
    return rc;
}

int vmm_client_open(const struct cli *cli, struct vmm_client *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    int rc = find_url(cli, &out->url, err);
    rc = rc != 0 ? rc : read_token(cli, &out->token, err);
    if (rc == 0) {
        dstack_error local = {0};
        out->http = http_client_new(&(http_client_config){.url = out->url,
                                                          .total_timeout_ms = CALL_TIMEOUT_MS,
                                                          .body_limit = ANSWER_LIMIT},
                                    &local);
        rc = out->http != NULL ? 0 : error_set(err, local.status, "%s", local.message);
    }
    if (rc != 0) {
        vmm_client_close(out);
    }
    return rc;
}

void vmm_client_close(struct vmm_client *client) {
    http_client_free(client->http);
    free(client->url);
    free(client->token);
    memset(client, 0, sizeof *client);
}

/* {"error": "..."} of a failed call. */
static int peer_error(const http_client_response *response, dstack_error *err) {
    dstack_error ignored = {0};
    DSTACK_AUTO(json)
    json_t *answer = json_parse(bytes_of_buf(&response->body), ANSWER_LIMIT, "answer", &ignored);
    const char *text = vmm_text(answer, "error");
    return error_set(err, DSTACK_E_PEER, "%s", text[0] != 0 ? text : "the VMM refused the request");
}

int vmm_client_call(struct vmm_client *client, const char *method, const json_t *arguments,
                    json_t **out, dstack_error *err) {
    char path[64], headers[TOKEN_LIMIT + 64] = "";
    DSTACK_AUTO(buf) dstack_buf body = {0};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    snprintf(path, sizeof path, "/prpc/%s?json", method);
    if (client->token != NULL) {
        snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", client->token);
    }
    int rc = 0;
    if (arguments != NULL) {
        rc = json_write(arguments, false, &body, err);
    } else {
        buf_put_str(&body, "null");
    }
    rc = rc != 0
             ? rc
             : http_client_send(client->http,
                                &(http_client_request){.method = "POST",
                                                       .path = path,
                                                       .content_type = "application/json",
                                                       .headers = headers[0] != 0 ? headers : NULL,
                                                       .body = bytes_of_buf(&body)},
                                &response, err);
    if (rc != 0) {
        return error_prefix(err, rc, "the VMM at %s", client->url);
    }
    if (response.status != 200) {
        return peer_error(&response, err);
    }
    if (out != NULL) {
        *out =
            json_loadb((const char *)response.body.data, response.body.len, JSON_DECODE_ANY, NULL);
        rc =
            *out != NULL ? 0 : error_set(err, DSTACK_E_FORMAT, "%s: the answer is no JSON", method);
    }
    return rc;
}

/* ---- finding a VM ---- */

static bool means(const json_t *vm, const char *name, int way) {
    const char *id = vmm_text(vm, "id");
    switch (way) {
    case 0:
        return strcmp(id, name) == 0;
    case 1:
        return strcmp(vmm_text(vm, "name"), name) == 0;
    default:
        return strlen(name) >= 4 && strncmp(id, name, strlen(name)) == 0;
    }
}

int vmm_client_find(struct vmm_client *client, const char *name, json_t **out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *arguments = json_pack("{s:b}", "brief", 1);
    DSTACK_AUTO(json) json_t *status = NULL;
    int rc = vmm_client_call(client, "Status", arguments, &status, err);
    for (int way = 0; way < 3 && rc == 0; way++) {
        json_t *found = NULL;
        size_t i, count = 0;
        json_t *vm;
        json_array_foreach(json_object_get(status, "vms"), i, vm) {
            if (means(vm, name, way)) {
                found = vm;
                count++;
            }
        }
        if (count == 1) {
            *out = json_incref(found);
            return 0;
        }
        if (count > 1) {
            return error_set(err, DSTACK_E_REFUSED, "%s means %zu VMs; use the id", name, count);
        }
    }
    return rc != 0 ? rc : error_set(err, DSTACK_E_REFUSED, "there is no VM %s", name);
}

/* ---- logs ---- */

struct log_sink {
    FILE *out;
    long status;
    CURL *curl;
    dstack_buf error;
};

static size_t on_log(char *data, size_t size, size_t count, void *user) {
    struct log_sink *sink = user;
    curl_easy_getinfo(sink->curl, CURLINFO_RESPONSE_CODE, &sink->status);
    if (sink->status != 200) {
        if (sink->error.len < TOKEN_LIMIT) {
            buf_put(&sink->error, data, size * count);
        }
        return size * count;
    }
    size_t written = fwrite(data, size, count, sink->out);
    fflush(sink->out);
    return written * size;
}

static void set_target(CURL *curl, const struct vmm_client *client, const char *query) {
    char url[2048];
    if (strncmp(client->url, "unix:", 5) == 0) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->url + 5);
        snprintf(url, sizeof url, "http://vmm%s", query);
    } else {
        size_t len = strlen(client->url);
        while (len > 0 && client->url[len - 1] == '/') {
            len--;
        }
        snprintf(url, sizeof url, "%.*s%s", (int)len, client->url, query);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
}

int vmm_client_logs(struct vmm_client *client, const char *id, const char *channel, int64_t lines,
                    bool follow, bool ansi, FILE *out, dstack_error *err) {
    char query[512], header[TOKEN_LIMIT + 64];
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    struct log_sink sink = {.out = out, .curl = curl};
    if (curl == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    snprintf(query, sizeof query, "/logs?id=%s&ch=%s&lines=%lld&follow=%s&ansi=%s", id, channel,
             (long long)lines, follow ? "true" : "false", ansi ? "true" : "false");
    set_target(curl, client, query);
    if (client->token != NULL) {
        snprintf(header, sizeof header, "Authorization: Bearer %s", client->token);
        headers = curl_slist_append(headers, header);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    }
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_log);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
    CURLcode code = curl_easy_perform(curl);
    int rc = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &sink.status); /* an empty log brings no data */
    if (code != CURLE_OK && code != CURLE_PARTIAL_FILE) {
        rc = error_set(err, DSTACK_E_NETWORK, "the VMM at %s: %s", client->url,
                       curl_easy_strerror(code));
    } else if (sink.status != 200) {
        const char *text = buf_text(&sink.error);
        rc = error_set(err, DSTACK_E_PEER, "%.200s",
                       text != NULL && text[0] != 0 ? text : "refused");
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    dstack_buf_clear(&sink.error);
    return rc;
}

/* ---- waiting ---- */

static int get_info(struct vmm_client *client, const char *id, json_t **answer, const json_t **info,
                    dstack_error *err) {
    DSTACK_AUTO(json) json_t *arguments = json_pack("{s:s}", "id", id);
    int rc = vmm_client_call(client, "GetInfo", arguments, answer, err);
    *info = rc == 0 ? json_object_get(*answer, "info") : NULL;
    if (rc == 0 && !json_is_object(*info)) {
        rc = error_set(err, DSTACK_E_REFUSED, "the VM is gone");
    }
    return rc;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

struct boot_watch {
    char progress[256], error[4096];
    int64_t started_ms, error_ms, ended_ms;
};

static const char *last_event(const json_t *info) {
    const json_t *events = json_object_get(info, "events");
    const json_t *last = json_array_get(events, json_array_size(events) - 1);
    return last != NULL ? vmm_text(last, "body") : "no reason known";
}

/* What a guest that ended said last, where it could not tell its host: `: "…"`, or nothing. */
static void last_words(struct vmm_client *client, const char *id, char *out, size_t size) {
    char reason[200];
    char *console = NULL;
    size_t len = 0;
    out[0] = '\0';
    FILE *file = open_memstream(&console, &len);
    if (file == NULL) {
        return;
    }
    int rc = vmm_client_logs(client, id, "serial", CONSOLE_LINES, false, false, file, NULL);
    if (fclose(file) == 0 && rc == 0 && console_reason(console, reason, sizeof reason)) {
        snprintf(out, size, ": \"%s\"", reason);
    }
    free(console);
}

/* One look: 1 booted, 0 not yet, negative failed. */
static int look(struct cli *cli, struct vmm_client *client, struct boot_watch *watch,
                const json_t *info, dstack_error *err) {
    const char *progress = vmm_text(info, "boot_progress");
    const char *problem = vmm_text(info, "boot_error");
    const char *status = vmm_text(info, "status");
    int64_t now = clock_monotonic_ms();
    if (strcmp(progress, watch->progress) != 0 && progress[0] != 0) {
        snprintf(watch->progress, sizeof watch->progress, "%s", progress);
        cli_note(cli, "  %5.1f s  %s", (double)(now - watch->started_ms) / 1000.0, progress);
    }
    if (strcmp(problem, watch->error) != 0 && problem[0] != 0) {
        snprintf(watch->error, sizeof watch->error, "%s", problem);
        watch->error_ms = now;
        cli_note(cli, "  %5.1f s  problem: %s", (double)(now - watch->started_ms) / 1000.0,
                 problem);
    }
    if (strcmp(progress, "done") == 0) {
        return 1;
    }
    bool ended = strcmp(status, "running") != 0;
    if (problem[0] != 0 && (ended || now - watch->error_ms > ERROR_GRACE_S * 1000)) {
        return error_set(err, DSTACK_E_REFUSED, "the VM did not boot: %s", problem);
    }
    if (!ended) {
        watch->ended_ms = 0;
        return 0;
    }
    /* "exited" is a VM that its VMM starts again; anything else stays as it is. */
    if (watch->ended_ms == 0) {
        watch->ended_ms = now;
        cli_note(cli, "  %5.1f s  the VM ended by itself (%s)",
                 (double)(now - watch->started_ms) / 1000.0, last_event(info));
    }
    if (strcmp(status, "exited") == 0 && now - watch->ended_ms < RESTART_GRACE_S * 1000) {
        return 0;
    }
    char words[224];
    last_words(client, vmm_text(info, "id"), words, sizeof words);
    return error_set(err, DSTACK_E_STATE,
                     "the VM ended while it booted (%s), after \"%s\"%s; see `dstack logs`", status,
                     watch->progress, words);
}

int vmm_client_wait_boot(struct cli *cli, struct vmm_client *client, const char *id,
                         int64_t timeout_s, dstack_error *err) {
    struct boot_watch watch = {.started_ms = clock_monotonic_ms()};
    for (;;) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        const json_t *info = NULL;
        int rc = get_info(client, id, &answer, &info, err);
        rc = rc != 0 ? rc : look(cli, client, &watch, info, err);
        if (rc != 0) {
            return rc > 0 ? 0 : rc;
        }
        if (clock_monotonic_ms() - watch.started_ms > timeout_s * 1000) {
            return error_set(err, DSTACK_E_TIMEOUT, "the VM has not booted after %lld s: at \"%s\"",
                             (long long)timeout_s, watch.progress);
        }
        pause_ms(POLL_MS);
    }
}

int vmm_client_wait_stopped(struct vmm_client *client, const char *id, int64_t timeout_s,
                            dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + timeout_s * 1000;
    for (;;) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        const json_t *info = NULL;
        int rc = get_info(client, id, &answer, &info, err);
        const char *status = vmm_text(info, "status");
        if (rc != 0 || strcmp(status, "stopped") == 0 || strcmp(status, "exited") == 0) {
            return rc;
        }
        if (clock_monotonic_ms() > deadline) {
            return error_set(err, DSTACK_E_TIMEOUT, "the VM is still %s after %lld s", status,
                             (long long)timeout_s);
        }
        pause_ms(POLL_MS);
    }
}
