/* The dashboard as a whole, and the files that belong to it. */
#include "serve/pages.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "serve/html.h"
#include "serve/log_format.h"
#include "serve/page_files.h"

/* Nothing from elsewhere, nothing inline, nowhere to send anything but here. */
static const char content_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static void harden(http_response *response, const char *cache) {
    http_response_header(response, "Content-Security-Policy", content_policy);
    http_response_header(response, "Referrer-Policy", "no-referrer");
    http_response_header(response, "Cache-Control", cache);
}

void page_html(http_response *response, int status, dstack_bytes html) {
    http_response_bytes(response, status, "text/html; charset=utf-8", html);
    harden(response, "no-store");
}

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

static void give(http_response *response, const char *name) {
    for (size_t i = 0; i < agent_page_file_count; i++) {
        const page_file_content *file = &agent_page_files[i];
        if (strcmp(file->name, name) == 0) {
            http_response_bytes(response, 200, type_of(name), bytes_of(file->data, file->len));
            harden(response, "no-cache");
            return;
        }
    }
}

void page_file(http_request *request, http_response *response, void *user) {
    (void)user;
    give(response, http_request_capture(request, 0));
}

void page_viewer(http_request *request, http_response *response, void *user) {
    const agent *a = user;
    const char *container = http_request_capture(request, 0);
    if (a->app->public_logs && container != NULL && log_name_valid(container)) {
        give(response, "logs.html");
    }
}

static void put_live(agent *a, dstack_buf *out) {
    dashboard_live(live_take(a->live), a->app->public_logs, a->app->public_sysinfo, out);
    live_give(a->live);
}

void page_live(http_request *request, http_response *response, void *user) {
    DSTACK_AUTO(buf) dstack_buf html = {0};
    put_live(user, &html);
    page_html(response, 200, bytes_of_buf(&html));
}

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta name=\"referrer\" content=\"no-referrer\">\n"
    "<link rel=\"icon\" href=\"/page/icon.svg\" type=\"image/svg+xml\">\n"
    "<link rel=\"stylesheet\" href=\"/page/page.css\">\n"
    "<script src=\"/page/page.js\" defer></script>\n<title>";

static void put_header(const agent *a, dstack_buf *out) {
    const char *name = a->app->name != NULL ? a->app->name : "";
    buf_put_str(out, page_head);
    html_text(out, name);
    buf_put_str(out, " · dstack</title>\n</head>\n<body>\n<header>\n"
                     "<img src=\"/page/icon.svg\" alt=\"\" width=\"36\" height=\"36\">\n<div><h1>");
    html_text(out, name);
    buf_put_str(out, "</h1>\n<p>An app in a confidential VM.</p></div>\n</header>\n<main>\n");
    if (a->insecure_dev) {
        buf_put_str(out, "<p class=\"card note\">Development mode: this machine's TEE is simulated "
                         "and its evidence can be forged.</p>\n");
    }
}

static void put_evidence(dstack_buf *out) {
    buf_put_str(out,
                "<section class=\"card\"><h2>How to check it</h2>\n"
                "<p class=\"hint\">What this page says is the guest's own word. Its evidence is at "
                "<code>/.well-known/dstack/evidence?nonce=…</code>, and <code>dstack verify</code> "
                "with this address follows it to the hardware's root.</p></section>\n");
}

void page_dashboard(http_request *request, http_response *response, void *user) {
    agent *a = user;
    const agent_info *info;
    dstack_error err = {0};
    if (agent_info_get(a, &info, &err) != 0) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        buf_put_fmt(&text, "Failed to get worker info: %s", err.message);
        http_response_text(response, 200, buf_text(&text));
        return;
    }
    DSTACK_AUTO(buf) dstack_buf page = {0};
    DSTACK_AUTO(buf) dstack_buf machine = {0};
    put_header(a, &page);
    buf_put_str(&page, "<div id=\"live\">\n");
    put_live(a, &page);
    buf_put_str(&page, "</div>\n");
    if (a->cloud_vendor[0] != '\0' || a->cloud_product[0] != '\0') {
        buf_put_fmt(&machine, "%s (%s)", a->cloud_vendor, a->cloud_product);
    }
    dashboard_identity(&info->identity, buf_text(&machine), &page);
    DSTACK_AUTO(str) char *pem = agent_app_cert_text(a);
    dashboard_certificates(pem != NULL ? pem : "", &page);
    if (a->app->public_tcbinfo) {
        dashboard_measurements(info->tcb_info, &page);
    } else {
        buf_put_str(&page,
                    "<section class=\"card\"><h2>Measurements</h2>\n<p class=\"hint\">The "
                    "manifest keeps registers, event log and itself from this page. Evidence "
                    "has them all the same.</p></section>\n");
    }
    put_evidence(&page);
    buf_put_str(&page, "</main>\n</body>\n</html>\n");
    page_html(response, 200, bytes_of_buf(&page));
}
