/* The parts of the dashboard that a boot fixes: identity, certificate, measurements. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "serve/html.h"
#include "serve/pages.h"
#include "x509/cert.h"
#include "x509/pem.h"

#define TCB_INFO_MAX ((size_t)32 << 20)
#define PAYLOAD_SHOWN 256

static dstack_bytes value(const dstack_value *v) {
    return bytes_of(v->data, v->len);
}

/* ---- identity ----------------------------------------------------------------------------------- */

/* {"name": who gives this app its keys, "id": its public key}, as the boot measured it. */
static void put_key_provider(const char *text, dstack_buf *out) {
    DSTACK_AUTO(json) json_t *info = json_parse(bytes_of_str(text), 65536, "key provider", NULL);
    const char *name = json_string_value(json_object_get(info, "name"));
    const char *id = json_string_value(json_object_get(info, "id"));
    if (name == NULL || id == NULL) {
        html_fact(out, "Key provider", text);
        return;
    }
    buf_put_str(out, "<dt>Key provider</dt><dd>");
    html_text(out, name);
    if (id[0] != '\0') {
        buf_put_str(out, "<div class=\"value\">");
        html_text(out, id);
        buf_put_str(out, "</div>");
    }
    buf_put_str(out, "</dd>\n");
}

void dashboard_identity(const dstack_identity *identity, const char *machine, dstack_buf *out) {
    buf_put_str(out, "<section class=\"card\"><h2>Identity</h2>\n<dl class=\"facts\">\n");
    html_fact_hex(out, "App ID", value(&identity->app_id));
    html_fact_hex(out, "Instance ID", value(&identity->instance_id));
    html_fact_hex(out, "Compose hash", value(&identity->compose_hash));
    html_fact_hex(out, "OS image hash", value(&identity->os_image_hash));
    html_fact_hex(out, "All measurements", value(&identity->mr_aggregated));
    html_fact_hex(out, "Device ID", value(&identity->device_id));
    put_key_provider(identity->key_provider_info, out);
    html_fact(out, "Machine provider", machine);
    buf_put_str(out, "</dl></section>\n");
}

/* ---- certificates ------------------------------------------------------------------------------- */

static void put_names(const x509_cert *cert, dstack_buf *out) {
    size_t position = 0;
    x509_san san;
    DSTACK_AUTO(buf) dstack_buf names = {0};
    while (x509_cert_san_next(cert, &position, &san)) {
        if (san.kind == X509_SAN_DNS || san.kind == X509_SAN_URI || san.kind == X509_SAN_EMAIL) {
            buf_put_str(&names, names.len > 0 ? ", " : "");
            buf_put_bytes(&names, san.value);
        }
    }
    html_fact(out, "Names", buf_text(&names));
}

static void put_certificate(const x509_cert *cert, dstack_buf *out) {
    char subject[256], issuer[256];
    uint8_t hash[HASH_SHA256_SIZE];
    hash_sha256(cert->der, hash);
    html_fact(out, "Subject", x509_name_text(cert->subject, subject, sizeof subject));
    html_fact(out, "Issuer", x509_name_text(cert->issuer, issuer, sizeof issuer));
    put_names(cert, out);
    buf_put_str(out, "<dt>Valid</dt><dd>");
    html_moment(out, cert->not_before);
    buf_put_str(out, " to ");
    html_moment(out, cert->not_after);
    buf_put_str(out, "</dd>\n");
    html_fact_hex(out, "SHA-256", bytes_of(hash, sizeof hash));
}

void dashboard_certificates(const char *pem, dstack_buf *out) {
    pem_reader reader;
    size_t count = 0;
    pem_reader_init(&reader, bytes_of_str(pem));
    buf_put_str(out, "<section class=\"card\"><h2>Certificate</h2>\n");
    for (;;) {
        DSTACK_AUTO(pem_block) pem_block block = {0};
        bool found = false;
        x509_cert cert;
        if (pem_next(&reader, &block, &found, NULL) != 0 || !found ||
            x509_cert_parse(&cert, bytes_of_buf(&block.der), NULL) != 0) {
            break;
        }
        buf_put_str(out, count == 0 ? "" : "<h3>Signed by</h3>\n");
        buf_put_str(out, "<dl class=\"facts\">\n");
        put_certificate(&cert, out);
        buf_put_str(out, "</dl>\n");
        count++;
    }
    if (count == 0) {
        buf_put_str(out, "<p class=\"hint\">Not there yet.</p>\n");
    } else {
        buf_put_str(out, "<details><summary>PEM</summary><textarea readonly rows=\"8\" "
                         "aria-label=\"Certificate chain\">");
        html_text(out, pem);
        buf_put_str(out, "</textarea></details>\n");
    }
    buf_put_str(out, "</section>\n");
}

/* ---- event log ---------------------------------------------------------------------------------- */

/* TCG PC Client Platform Firmware Profile, 10.4.1, and dstack's own. */
static const char *type_name(json_int_t type) {
    static const struct {
        uint32_t type;
        const char *name;
    } names[] = {
        {0x00000001, "Post code"},
        {0x00000003, "No action"},
        {0x00000004, "Separator"},
        {0x00000005, "Action"},
        {0x00000006, "Event tag"},
        {0x00000008, "CPU microcode"},
        {0x0000000a, "Platform configuration"},
        {0x0000000d, "IPL"},
        {0x08000001, "Runtime event"},
        {0x80000001, "EFI variable, driver configuration"},
        {0x80000002, "EFI variable, boot"},
        {0x80000003, "EFI boot services application"},
        {0x80000004, "EFI boot services driver"},
        {0x80000006, "EFI partition table"},
        {0x80000007, "EFI action"},
        {0x80000008, "EFI firmware"},
        {0x8000000a, "EFI firmware"},
        {0x8000000b, "EFI handoff tables"},
        {0x8000000c, "EFI variable, boot"},
        {0x800000e0, "EFI variable, authority"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].type == type) {
            return names[i].name;
        }
    }
    return "Event";
}

static bool is_readable(dstack_bytes bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if ((bytes.data[i] < 0x20 && bytes.data[i] != '\n') || bytes.data[i] > 0x7e) {
            return false;
        }
    }
    return bytes.len > 0;
}

/* As text where it is text, in hexadecimal otherwise; the start of it where it is long. */
static void put_payload(const char *hex, dstack_buf *out) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    if (hex[0] == '\0' || hex_decode(bytes_of_str(hex), &bytes, NULL) != 0) {
        return;
    }
    size_t shown = bytes.len < PAYLOAD_SHOWN ? bytes.len : PAYLOAD_SHOWN;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (is_readable(bytes_of_buf(&bytes))) {
        buf_put(&text, bytes.data, shown);
    } else {
        buf_put_hex(&text, bytes_of(bytes.data, shown));
    }
    buf_put_str(out, "<div class=\"value payload\">");
    html_text(out, buf_text(&text));
    if (shown < bytes.len) {
        buf_put_fmt(out, " <span class=\"detail\">… %zu bytes</span>", bytes.len);
    }
    buf_put_str(out, "</div>");
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void put_event(const json_t *event, dstack_buf *out) {
    const char *name = text_of(event, "event");
    const char *kind = type_name(json_integer_value(json_object_get(event, "event_type")));
    buf_put_fmt(out, "<li><span class=\"register\">RTMR%d</span><div><span class=\"what\">",
                (int)json_integer_value(json_object_get(event, "imr")));
    html_text(out, name[0] != '\0' ? name : kind);
    buf_put_str(out, "</span>");
    put_payload(text_of(event, "event_payload"), out);
    buf_put_str(out, "<div class=\"value digest\">");
    html_text(out, text_of(event, "digest"));
    buf_put_str(out, "</div></div></li>\n");
}

static void put_events(const json_t *log, dstack_buf *out) {
    size_t i;
    json_t *event;
    buf_put_fmt(out,
                "<section class=\"card\"><div class=\"row\"><h2>Event log <span "
                "class=\"count\">%zu</span></h2>\n<input id=\"find-event\" type=\"search\" "
                "placeholder=\"Search\" aria-label=\"Search the event log\" hidden></div>\n"
                "<p class=\"hint\">What the registers were extended with, in order: name, payload, "
                "digest.</p>\n<ol id=\"events\" class=\"events\">\n",
                json_array_size(log));
    json_array_foreach(log, i, event) {
        put_event(event, out);
    }
    buf_put_str(out, "</ol>\n<p id=\"events-none\" class=\"hint\" hidden>No event has that.</p>\n"
                     "</section>\n");
}

static void put_document(const char *title, const char *text, dstack_buf *out) {
    buf_put_fmt(out,
                "<details><summary>%s</summary><textarea readonly rows=\"16\" "
                "aria-label=\"%s\">\n",
                title, title);
    html_text(out, text);
    buf_put_str(out, "</textarea></details>\n");
}

void dashboard_measurements(const char *tcb_info, dstack_buf *out) {
    static const struct {
        const char *key, *title;
    } registers[] = {{"mrtd", "MRTD"},
                     {"rtmr0", "RTMR0"},
                     {"rtmr1", "RTMR1"},
                     {"rtmr2", "RTMR2"},
                     {"rtmr3", "RTMR3"}};
    static const char *const holds[] = {"firmware", "hardware as configured", "kernel",
                                        "command line and initrd", "what the boot measured"};
    DSTACK_AUTO(json)
    json_t *tcb = json_parse(bytes_of_str(tcb_info), TCB_INFO_MAX, "tcb_info", NULL);
    buf_put_str(out, "<section class=\"card\"><h2>Measurements</h2>\n<dl class=\"facts\">\n");
    for (size_t i = 0; i < sizeof registers / sizeof *registers; i++) {
        const char *hex = text_of(tcb, registers[i].key);
        if (hex[0] != '\0') {
            buf_put_fmt(out, "<dt>%s <span class=\"detail\">%s</span></dt><dd class=\"value\">",
                        registers[i].title, holds[i]);
            html_text(out, hex);
            buf_put_str(out, "</dd>\n");
        }
    }
    buf_put_str(out, "</dl>\n");
    put_document("Manifest (app-compose.json)", text_of(tcb, "app_compose"), out);
    put_document("TCB info", tcb_info, out);
    buf_put_str(out, "</section>\n");
    put_events(json_object_get(tcb, "event_log"), out);
}
