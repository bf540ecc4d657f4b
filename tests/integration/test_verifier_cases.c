/* The verdicts of the reference system's verifier, one by one, against ours over real HTTP: its
 * recorded HTTP exchanges, and its whole suite of evidence signed under test roots, with collateral
 * fetched from a small server of recorded answers. Where ours differs on purpose, a table says so. */
#include "verifier_world.h"

#include "service/http.h"

#define DATA SHARED_DATA "attestation/"

const char *kms_program; /* of the shared helpers; not run here */
const char *verifier_program;

/* ---- a server of collateral ----------------------------------------------------------------------
 */

static json_t *recorded;

static void serve_collateral(http_request *request, http_response *response, void *user) {
    size_t i;
    json_t *item;
    const char *path = http_request_path(request);
    json_array_foreach(recorded, i, item) {
        if (strcmp(text_at(item, "path", NULL), path) != 0) {
            continue;
        }
        const char *name;
        json_t *value;
        json_object_foreach(json_object_get(item, "headers"), name, value) {
            if (strcmp(name, "content-type") != 0) {
                http_response_header(response, name, json_string_value(value));
            }
        }
        DSTACK_AUTO(buf) dstack_buf body = {0};
        if (json_object_get(item, "body") != NULL) {
            buf_put_str(&body, text_at(item, "body", NULL));
        } else {
            put_hex(&body, text_at(item, "body_hex", NULL));
        }
        http_response_bytes(response, 200, "application/octet-stream", bytes_of_buf(&body));
        return;
    }
}

static const http_route collateral_routes[] = {{"GET", "/**", serve_collateral, NULL, 0, 0}};

static http_server *start_collateral_server(void) {
    dstack_error err = {0};
    recorded = load_json(DATA "mock/pccs.json");
    http_server *server = http_server_new(&(http_server_config){.name = "pccs", .workers = 1});
    assert_non_null(server);
    const http_listener_config listener = {
        .name = "pccs", .address = "127.0.0.1:0", .routes = collateral_routes, .route_count = 1};
    assert_ok(http_server_listen(server, &listener, &err), err);
    return server;
}

static void run_with_mock_roots(verifier_world *v, unsigned pccs_port) {
    char here[512], text[2048];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(text, sizeof text,
             "address: 'unix:%s/v.sock'\nrate: 0\n"
             "attestation:\n  insecure_allow_external_trust_anchors: true\n"
             "  root_ca: {tdx: '%s/" DATA "mock/roots/tdx.pem',\n"
             "    sev_snp_milan: '%s/" DATA "mock/roots/sev_snp_milan.pem',\n"
             "    gcp_tpm: '%s/" DATA "mock/roots/gcp_tpm.pem'}\n"
             "  urls: {pccs: ['http://127.0.0.1:%u']}\n",
             v->w.dir, here, here, here, pccs_port);
    world_write(&v->w, "kms.yaml", text);
    vworld_run(v);
}

/* ---- the suite ------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    bool accepted;
} differences[] = {
    /* two lists of events that tell different stories, or claims that cannot be right */
    {"tdx-log-differs", false},
    {"tdx-log-acpi-only", false},
    {"tdx-duplicate-claim", false},
    {"tdx-pair-runtime-imr1", false},
    {"tdx-no-events", false},
    {"tdx-app-id-3-bytes", false},
    {"tdx-init-script-short", false},
    {"tdx-init-script-six", false},
    {"tdx-key-provider-garbage", false},
    /* another machine than the measured one: the tables are recomputed, not believed */
    {"tdx-config-cpu", false},
    /* names of firmware events are not measured: their order is, and decides */
    {"tdx-acpi-unnamed", true},
    /* a whole sys-config around the vm_config is read through */
    {"tdx-pair-sysconfig", true},
    {"tdx-config-sysconfig", true},
    /* the purpose that TCG names for attestation keys */
    {"gcp-eku-other", true},
    /* a stripped event has no digest or preimage to compare; both are recomputed */
    /* the document is refused as such, before anything is measured with it */
    {"snp-mrc-version", false},
    {"tdx-v2-stripped", true},
    {"tdx-v2-no-preimage", true},
    {"tdx-v2-stripped-no-preimage", true},
};

/* Whether the table says that ours differs; *accepted is ours then. */
static bool differs(const char *name, bool *accepted) {
    for (size_t i = 0; i < sizeof differences / sizeof *differences; i++) {
        if (strcmp(differences[i].name, name) == 0) {
            *accepted = differences[i].accepted;
            return true;
        }
    }
    return false;
}

/* Keys of details whose values must be equal; texts of reasons are not. */
static const char *const compared[] = {
    "quote_verified",  "event_log_verified", "os_image_hash_verified", "tee_variant", "report_data",
    "tcb_status",      "advisory_ids",       "key_provider",           "app_info",    "boot_info",
    "os_image_is_dev", "os_image_version",   "acpi_tables_verified",
};

static size_t compare_details(const char *name, const json_t *ours, const json_t *theirs) {
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof compared / sizeof *compared; i++) {
        const json_t *a = json_object_get(ours, compared[i]);
        const json_t *b = json_object_get(theirs, compared[i]);
        if (a != NULL || b != NULL) {
            char *mine = json_dumps(a, JSON_ENCODE_ANY | JSON_SORT_KEYS);
            char *due = json_dumps(b, JSON_ENCODE_ANY | JSON_SORT_KEYS);
            if (mine == NULL || due == NULL || strcmp(mine, due) != 0) {
                print_message("%s: %s is %s, expected %s\n", name, compared[i], mine, due);
                wrong++;
            }
            free(mine);
            free(due);
        }
    }
    return wrong;
}

static void verdicts_over_http_are_the_references(void **state) {
    need_shared_data();
    verifier_world *v = *state;
    http_server *pccs = start_collateral_server();
    run_with_mock_roots(v, http_server_port(pccs, "pccs"));
    DSTACK_AUTO(json) json_t *cases = load_json(DATA "mock/cases.json");
    size_t i, checked = 0, wrong = 0;
    json_t *item;
    json_array_foreach(cases, i, item) {
        const char *name = text_at(item, "name", NULL);
        const char *family = text_at(item, "family", NULL);
        if (strncmp(family, "nitro", 5) == 0) {
            continue;
        }
        char *body = json_dumps(json_object_get(item, "request"), JSON_COMPACT);
        DSTACK_AUTO(json) json_t *answer = vworld_verify(v, body);
        free(body);
        const json_t *due = json_object_get(item, "response");
        bool accepted = json_is_true(json_object_get(due, "is_valid"));
        bool ours = json_is_true(json_object_get(answer, "is_valid"));
        bool listed = differs(name, &accepted);
        if (ours != accepted) {
            print_message("%s: %s, expected %s\n", name, text_at(answer, "reason", NULL),
                          text_at(due, "reason", NULL));
            wrong++;
        } else if (!listed) {
            wrong += compare_details(name, json_object_get(answer, "details"),
                                     json_object_get(due, "details"));
        }
        checked++;
    }
    http_server_free(pccs);
    json_decref(recorded);
    assert_int_equal(checked, 64 + 36 + 22);
    assert_int_equal(wrong, 0);
}

/* Documents of AWS are good for an hour: these are judged as of the time that they were made. */
static void documents_of_aws_give_the_references_verdicts_at_their_time(void **state) {
    need_shared_data();
    verifier_world *v = *state;
    char here[512], text[2048], now[24], file[128];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(text, sizeof text,
             "attestation:\n  insecure_allow_external_trust_anchors: true\n"
             "  root_ca: {aws_nitro_enclave: '%s/" DATA "mock/roots/aws_nitro_enclave.pem',\n"
             "    aws_nitro_tpm: '%s/" DATA "mock/roots/aws_nitro_tpm.pem'}\n"
             "  urls: {pccs: []}\n",
             here, here);
    world_write(&v->w, "kms.yaml", text);
    snprintf(file, sizeof file, "%s/request.json", v->w.dir);
    DSTACK_AUTO(json) json_t *cases = load_json(DATA "mock/cases.json");
    size_t i, checked = 0, wrong = 0;
    json_t *item;
    json_array_foreach(cases, i, item) {
        if (strncmp(text_at(item, "family", NULL), "nitro", 5) != 0) {
            continue;
        }
        char *body = json_dumps(json_object_get(item, "request"), JSON_COMPACT);
        world_write(&v->w, "request.json", body);
        free(body);
        snprintf(now, sizeof now, "%lld",
                 (long long)json_integer_value(json_object_get(item, "now")));
        const char *const judge[] = {
            "dstack-verifier", "--verify", file, "--config", v->w.config, "--now", now,
            "--insecure-dev",  NULL};
        bool accepted =
            json_is_true(json_object_get(json_object_get(item, "response"), "is_valid"));
        if ((vworld_command(v, judge) == 0) != accepted) {
            print_message("%s: %s expected\n", text_at(item, "name", NULL),
                          accepted ? "acceptance" : "refusal");
            wrong++;
        }
        checked++;
    }
    assert_int_equal(checked, 33);
    assert_int_equal(wrong, 0);
}

static void real_evidence_of_an_amd_machine_is_verified_offline(void **state) {
    need_shared_data();
    verifier_world *v = *state;
    char text[200];
    snprintf(text, sizeof text,
             "address: 'unix:%s/v.sock'\nrate: 0\nattestation: {urls: {pccs: []}}\n", v->w.dir);
    world_write(&v->w, "kms.yaml", text);
    vworld_run(v);
    DSTACK_AUTO(buf) dstack_buf body = {0};
    load_file(DATA "verifier/sev-snp-attestation.json", &body);
    DSTACK_AUTO(json) json_t *answer = vworld_verify(v, buf_text(&body));
    DSTACK_AUTO(json) json_t *due = load_json(DATA "verifier/sev-snp-attestation.response.json");
    assert_string_equal(text_at(answer, "reason", NULL), "");
    assert_int_equal(compare_details("sev-snp", json_object_get(answer, "details"),
                                     json_object_get(due, "details")),
                     0);
    assert_string_equal(claim_anchor(answer, "hardware_root"), "measured");
}

/* The tables are recorded by size and hash; register_debug whole. */
static size_t compare_debug(const char *name, const json_t *ours, const json_t *theirs) {
    const json_t *tables = json_object_get(ours, "acpi_tables");
    const char *part;
    json_t *due;
    size_t wrong =
        !json_equal(json_object_get(ours, "rtmr_debug"), json_object_get(theirs, "rtmr_debug")) &&
        json_object_get(theirs, "rtmr_debug") != NULL;
    json_object_foreach(json_object_get(theirs, "acpi_tables"), part, due) {
        DSTACK_AUTO(buf) dstack_buf bytes = {0};
        uint8_t digest[48];
        char hex[97];
        put_hex(&bytes, text_at(tables, part, NULL));
        hash_sha384(bytes_of_buf(&bytes), digest);
        hex_encode(bytes_of(digest, sizeof digest), hex);
        wrong += strcmp(hex, text_at(due, "sha384", NULL)) != 0;
    }
    if (wrong > 0) {
        print_message("%s: debug output differs\n", name);
    }
    return wrong;
}

/* ---- images ---------------------------------------------------------------------------------------
 */

/* What is served: one archive at a time. */
static struct {
    char archive[120];
    int status;
    unsigned asked;
} shelf;

static void serve_image(http_request *request, http_response *response, void *user) {
    DSTACK_AUTO(buf) dstack_buf content = {0};
    shelf.asked++;
    if (file_read(shelf.archive, (size_t)64 << 20, &content, NULL) == 0) {
        http_response_bytes(response, shelf.status, "application/gzip", bytes_of_buf(&content));
    }
}

static const http_route image_routes[] = {{"GET", "/images/*", serve_image, NULL, 0, 0},
                                          {"GET", "/**", serve_collateral, NULL, 0, 0}};

static void run_with_images(verifier_world *v, unsigned port) {
    char here[512], text[2048], command[200];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(command, sizeof command, "rm -rf '%s/cache'", v->w.dir);
    assert_int_equal(system(command), 0);
    snprintf(text, sizeof text,
             "address: 'unix:%s/v.sock'\nrate: 0\nimage_cache_dir: cache\n"
             "image_download_url: 'http://127.0.0.1:%u/images/{OS_IMAGE_HASH}'\n"
             "attestation:\n  insecure_allow_external_trust_anchors: true\n"
             "  root_ca: {tdx: '%s/" DATA "mock/roots/tdx.pem'}\n"
             "  urls: {pccs: ['http://127.0.0.1:%u']}\n",
             v->w.dir, port, here, port);
    world_write(&v->w, "kms.yaml", text);
    vworld_run(v);
}

static void stop(verifier_world *v) {
    world_kill(&v->w, SIGTERM);
    http_client_free(v->client);
    v->client = NULL;
}

static void images_are_downloaded_checked_and_measured_as_the_reference_does(void **state) {
    need_shared_data();
    verifier_world *v = *state;
    dstack_error err = {0};
    recorded = load_json(DATA "mock/pccs.json");
    http_server *server = http_server_new(&(http_server_config){.name = "images", .workers = 1});
    const http_listener_config listener = {
        .name = "images", .address = "127.0.0.1:0", .routes = image_routes, .route_count = 2};
    assert_ok(http_server_listen(server, &listener, &err), err);
    DSTACK_AUTO(json) json_t *cases = load_json(DATA "mock/image-cases.json");
    size_t i, wrong = 0;
    json_t *item;
    json_array_foreach(cases, i, item) {
        const char *name = text_at(item, "name", NULL);
        snprintf(shelf.archive, sizeof shelf.archive, DATA "mock/images/%s",
                 text_at(item, "archive", NULL));
        shelf.status = (int)json_integer_value(json_object_get(item, "http_status"));
        run_with_images(v, http_server_port(server, "images"));
        char *body = json_dumps(json_object_get(item, "request"), JSON_COMPACT);
        DSTACK_AUTO(json) json_t *answer = vworld_verify(v, body);
        free(body);
        const json_t *due = json_object_get(item, "response");
        if (json_is_true(json_object_get(answer, "is_valid")) !=
            json_is_true(json_object_get(due, "is_valid"))) {
            print_message("%s: %s\n   expected %s\n", name, text_at(answer, "reason", NULL),
                          text_at(due, "reason", NULL));
            wrong++;
        } else {
            wrong += compare_details(name, json_object_get(answer, "details"),
                                     json_object_get(due, "details"));
            wrong += compare_debug(name, json_object_get(answer, "details"),
                                   json_object_get(due, "details"));
        }
        stop(v);
    }
    http_server_free(server);
    json_decref(recorded);
    assert_int_equal(wrong, 0);
    assert_int_equal(i, 36);
}

/* ---- the HTTP level -------------------------------------------------------------------------------
 */

static void large_body(const char *name, dstack_buf *out) {
    size_t size = (size_t)1 << 20;
    if (strcmp(name, "too big") == 0) {
        buf_put_str(out, "{\"attestation\":\"");
        for (size_t i = 0; i < size; i++) {
            buf_put_u8(out, '0');
        }
        buf_put_str(out, "\"}");
        return;
    }
    size += strcmp(name, "1MiB+1") == 0;
    buf_put_str(out, "{\"x\":\"");
    while (out->len < size - 2) {
        buf_put_u8(out, 'x');
    }
    buf_put_str(out, "\"}");
}

static void http_exchanges_are_the_references(void **state) {
    need_shared_data();
    verifier_world *v = *state;
    run_with_mock_roots(v, 9);
    DSTACK_AUTO(json) json_t *cases = load_json(DATA "verifier/http-cases.json");
    size_t i, wrong = 0;
    json_t *item;
    json_array_foreach(cases, i, item) {
        const char *name = text_at(item, "name", NULL);
        DSTACK_AUTO(buf) dstack_buf body = {0}, headers = {0}, answer = {0};
        if (json_object_get(item, "body_note") != NULL) {
            large_body(name, &body);
        } else {
            buf_put_str(&body, text_at(item, "body", NULL));
        }
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(item, "headers"), key, value) {
            buf_put_fmt(&headers, "%s: %s\r\n", key, json_string_value(value));
        }
        char type[80];
        int status = vworld_send(v, text_at(item, "method", NULL), text_at(item, "path", NULL),
                                 buf_text(&headers), bytes_of_buf(&body), &answer, type);
        const json_t *due = json_object_get(item, "response");
        DSTACK_AUTO(json)
        json_t *ours =
            status == 200 ? json_parse(bytes_of_buf(&answer), SIZE_MAX, "answer", NULL) : NULL;
        json_object_del(ours, "insecure_dev"); /* told in every answer of this mode */
        if (status != json_integer_value(json_object_get(item, "status")) ||
            strcmp(type, text_at(item, "content_type", NULL)) != 0 ||
            (due != NULL && !json_equal((json_t *)due, ours))) {
            print_message("%s: %d %s %s\n", name, status, type, buf_text(&answer));
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    assert_true(i >= 30);
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 2);
    verifier_program = argv[1];
#define CASE(name) cmocka_unit_test_setup_teardown(name, vworld_setup, vworld_teardown)
    const struct CMUnitTest tests[] = {
        CASE(verdicts_over_http_are_the_references),
        CASE(documents_of_aws_give_the_references_verdicts_at_their_time),
        CASE(real_evidence_of_an_amd_machine_is_verified_offline),
        CASE(images_are_downloaded_checked_and_measured_as_the_reference_does),
        CASE(http_exchanges_are_the_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
