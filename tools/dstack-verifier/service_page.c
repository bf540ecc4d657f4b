/* The page, its files, and the question that it asks. */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "inspect.h"
#include "page_files.h"
#include "service.h"
#include "service/log.h"

/* Nothing from elsewhere, nothing inline, nowhere to send anything but here. */
static const char content_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const char *type_of(const char *name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".svg", "image/svg+xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i][0], dot) == 0) {
            return types[i][1];
        }
    }
    return "application/octet-stream";
}

static void give(http_request *request, http_response *response, const char *name) {
    for (size_t i = 0; i < page_file_count; i++) {
        const page_file *file = &page_files[i];
        if (strcmp(file->name, name) == 0) {
            http_response_bytes(response, 200, type_of(name), bytes_of(file->data, file->len));
            http_response_header(response, "Content-Security-Policy", content_policy);
            http_response_header(response, "Referrer-Policy", "no-referrer");
            http_response_header(response, "Cache-Control", "no-cache");
            return;
        }
    }
    service_error(request, response, 404, "The requested resource could not be found.");
}

/* The reference's service has nothing at its root, and its clients may count on that: browsers alone
 * ask for HTML. */
void service_page(http_request *request, http_response *response, void *user) {
    (void)user;
    const char *accept = http_request_header(request, "Accept");
    bool browser = accept != NULL && strstr(accept, "text/html") != NULL;
    give(request, response, browser ? "index.html" : "");
}

void service_page_file(http_request *request, http_response *response, void *user) {
    (void)user;
    give(request, response, http_request_capture(request, 0));
}

/* ---- questions ------------------------------------------------------------------------------------ */

int service_page_open(verifier_service *s, const service_config *config, dstack_error *err) {
    const char *addresses = config_str(config, "addresses");
    s->inspect.insecure = s->insecure;
    s->inspect.timeout_ms = (int)config_duration_ms(config, "address_timeout");
    s->inspect.addresses = strcmp(addresses, "any") == 0      ? INSPECT_ANY_ADDRESS
                           : strcmp(addresses, "public") == 0 ? INSPECT_PUBLIC_ADDRESS
                                                              : INSPECT_NO_ADDRESS;
    /* Looking at an address takes long: some workers stay free for everything else. */
    int64_t workers = config_int(config, "workers");
    s->inspect_slots = workers > 1 ? (int)(workers / 2) : 1;
    (void)err;
    return 0;
}

static int status_of(const dstack_error *err) {
    switch (err->status) {
    case DSTACK_E_NETWORK:
    case DSTACK_E_TIMEOUT:
    case DSTACK_E_PEER:
        return 502;
    case DSTACK_E_MEMORY:
    case DSTACK_E_INTERNAL:
        return 500;
    default:
        return 422;
    }
}

void service_inspect(http_request *request, http_response *response, void *user) {
    verifier_service *s = user;
    dstack_error err = {0};
    if (!service_admit(s, request, response)) {
        return;
    }
    if (atomic_fetch_sub(&s->inspect_slots, 1) <= 0) {
        atomic_fetch_add(&s->inspect_slots, 1);
        service_error(request, response, 429, "The verifier is busy. Try again in a moment.");
        return;
    }
    DSTACK_AUTO(json)
    json_t *answer =
        inspect(s->engine, &s->inspect, http_request_body(request), clock_unix(), &err);
    atomic_fetch_add(&s->inspect_slots, 1);
    if (answer == NULL) {
        metrics_add(s->malformed, 1);
        service_error(request, response, status_of(&err), err.message);
        return;
    }
    bool valid = strcmp(json_string_value(json_object_get(answer, "verdict")), "verified") == 0;
    metrics_add(valid ? s->valid : s->invalid, 1);
    LOG_INFO("inspected", "kind", json_string_value(json_object_get(answer, "kind")), "valid",
             valid ? "yes" : "no", "request", http_request_id(request));
    http_response_json(response, 200, answer);
}
