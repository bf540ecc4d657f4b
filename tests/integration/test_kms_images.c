/* Images that dstack-kms fetches by their hash from a real server, and holds registers to. */
#include "kms_calls.h"

#include <stdatomic.h>

#include "service/http.h"

typedef struct images {
    world *w;
    http_server *server;
    http_route route;
    pthread_mutex_t lock; /* archive, status, delay_ms and last: a slow answer outlives its case */
    dstack_buf archive;   /* what the server gives */
    int status;
    unsigned delay_ms;
    atomic_uint asked;
    char last[200]; /* path of the last request */
    char *vm_config;
    world_tee tee; /* a machine of the legacy scheme */
    workload *guest;
} images;

static void serve(http_request *request, http_response *response, void *user) {
    images *i = user;
    pthread_mutex_lock(&i->lock);
    snprintf(i->last, sizeof i->last, "%s", http_request_path(request));
    unsigned delay_ms = i->delay_ms;
    pthread_mutex_unlock(&i->lock);
    atomic_fetch_add(&i->asked, 1);
    usleep(delay_ms * 1000);
    pthread_mutex_lock(&i->lock);
    http_response_bytes(response, i->status, "application/gzip", bytes_of_buf(&i->archive));
    pthread_mutex_unlock(&i->lock);
}

static void answer_with(images *i, int status, unsigned delay_ms) {
    pthread_mutex_lock(&i->lock);
    i->status = status;
    i->delay_ms = delay_ms;
    pthread_mutex_unlock(&i->lock);
}

static char *legacy_config(const char *image, unsigned cpus, uint64_t memory) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text,
                "{\"os_image_hash\":\"%s\",\"cpu_count\":%u,\"memory_size\":%llu,"
                "\"qemu_version\":\"10.0.2\",\"tdx_attestation_variant\":\"legacy\"}",
                image, cpus, (unsigned long long)memory);
    return buf_detach_text(&text);
}

/* The archive of an image's folder, with something done to it before (shell commands, or ""). */
static void pack(images *i, const char *folder, const char *change) {
    char command[600];
    snprintf(command, sizeof command,
             "set -e; rm -rf '%s/work'; cp -r '%s' '%s/work'; cd '%s/work'; %s; "
             "tar --owner=0 --group=0 -czf ../archive.tar.gz .",
             i->w->dir, folder, i->w->dir, i->w->dir, change[0] != 0 ? change : "true");
    assert_int_equal(system(command), 0);
    pthread_mutex_lock(&i->lock);
    buf_reset(&i->archive);
    load_file(world_path(i->w, "archive.tar.gz"), &i->archive);
    pthread_mutex_unlock(&i->lock);
}

static void start(images *i, world *w) {
    dstack_error err = {0};
    dstack_vm_config config;
    dstack_measurements measured;
    *i = (images){.w = w, .status = 200};
    pthread_mutex_init(&i->lock, NULL);
    i->route = (http_route){"GET", "/**", serve, i, 0, 0};
    i->server = http_server_new(&(http_server_config){.name = "images", .workers = 4});
    assert_ok(http_server_listen(i->server,
                                 &(http_listener_config){.name = "images",
                                                         .address = "127.0.0.1:0",
                                                         .routes = &i->route,
                                                         .route_count = 1},
                                 &err),
              err);
    i->vm_config = legacy_config(w->image.image.os_image_hash, 2, 2147483648);
    assert_ok(dstack_vm_config_parse(bytes_of_str(i->vm_config), &config, &err), err);
    assert_ok(dstack_measure_tdx(&w->image.image, &config.shape, &measured, &err), err);
    dstack_vm_config_clear(&config);
    world_tee_start(w, &i->tee, "legacy-tee", &measured, w->keys);
    i->guest = world_workload(w, &i->tee, w->keys, world_app_manifest, i->vm_config, "legacy");
    pack(i, w->image.dir, "");
}

static void end(images *i) {
    http_server_free(i->server);
    dstack_buf_clear(&i->archive);
    pthread_mutex_destroy(&i->lock);
    free(i->vm_config);
    workload_free(i->guest);
    world_tee_stop(&i->tee);
}

/* Starts the KMS anew with these settings of core.image, and an empty cache. */
static void run_with(const images *i, const char *more) {
    char text[300], command[200];
    world_kill(i->w, SIGTERM);
    snprintf(command, sizeof command, "rm -rf '%s/cache'", i->w->dir);
    assert_int_equal(system(command), 0);
    snprintf(text, sizeof text,
             "  image: {cache_dir: cache, download_url: "
             "'http://127.0.0.1:%u/img/{OS_IMAGE_HASH}.tar.gz'%s}\n",
             http_server_port(i->server, "images"), more);
    world_configure(i->w, text);
    world_run(i->w);
}

static void expect_keys(const images *i) {
    dstack_error err = {0};
    DSTACK_AUTO(kms) dstack_kms *client = world_client(i->w, i->guest);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    int rc = dstack_kms_app_keys(client, i->vm_config, &keys, &err);
    if (rc != 0) {
        world_show_log(i->w);
    }
    assert_ok(rc, err);
}

static void an_image_is_fetched_once_by_its_hash_and_checked_at_every_use(void **state) {
    world *w = *state;
    images i;
    char path[200], command[300];
    start(&i, w);
    run_with(&i, "");
    expect_keys(&i);
    snprintf(path, sizeof path, "/img/%s.tar.gz", w->image.image.os_image_hash);
    assert_string_equal(i.last, path);
    expect_keys(&i);
    assert_int_equal(atomic_load(&i.asked), 1);
    /* what lies in the cache is not believed */
    snprintf(command, sizeof command, "echo >> '%s/cache/images/%s/bzImage'", w->dir,
             w->image.image.os_image_hash);
    assert_int_equal(system(command), 0);
    expect_refusal(w, i.guest, i.vm_config, "App not allowed: Failed to verify os image hash: ");
    end(&i);
}

static void each_image_that_is_not_what_its_hash_says_is_refused(void **state) {
    world *w = *state;
    images i;
    world_image other = {0};
    char text[200];
    world_image_make(&other, "two");
    start(&i, w);
    snprintf(text, sizeof text, "cp -r '%s'/* .", other.dir);
    const struct {
        const char *change;   /* of the folder before it is packed */
        const char *settings; /* more of core.image */
        int status;
        unsigned delay_ms;
        const char *says;
    } cases[] = {
        {"echo >> bzImage", "", 200, 0,
         "Checksum verification failed: bzImage is not the file that is listed"},
        {"rm initramfs.cpio.gz", "", 200, 0, "Checksum verification failed: initramfs.cpio.gz"},
        {text, "", 200, 0, "os_image_hash does not match sha256(sha256sum.txt)"},
        {"ln -s /etc/passwd link", "", 200, 0, "image archive contains unsupported entry ./link"},
        {"", "", 404, 0, "Failed to download image: HTTP status 404"},
        {"", ", download_max: 256", 200, 0, "Failed to download image: it is too large"},
        {"dd if=/dev/zero of=zeros bs=1M count=8 2>/dev/null", ", unpacked_max: 1M", 200, 0,
         "the unpacked image is too large"},
        {"", ", download_timeout: 300ms", 200, 3000, "Download image timeout"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        pack(&i, w->image.dir, cases[c].change);
        answer_with(&i, cases[c].status, cases[c].delay_ms);
        run_with(&i, cases[c].settings);
        expect_refusal(w, i.guest, i.vm_config, cases[c].says);
        expect_refusal(w, i.guest, i.vm_config,
                       "App not allowed: Failed to verify os image hash: ");
    }
    /* no archive at all */
    answer_with(&i, 200, 0);
    pthread_mutex_lock(&i.lock);
    buf_reset(&i.archive);
    buf_put_str(&i.archive, "<html>no image</html>");
    pthread_mutex_unlock(&i.lock);
    run_with(&i, "");
    expect_refusal(w, i.guest, i.vm_config, "Failed to read image archive entry");
    /* and nowhere to fetch it from */
    world_kill(w, SIGTERM);
    world_configure(w, "");
    world_run(w);
    expect_refusal(w, i.guest, i.vm_config, "is not at hand");
    end(&i);
    world_image_remove(&other);
}

static void a_vm_config_that_was_changed_is_refused(void **state) {
    world *w = *state;
    images i;
    world_image other = {0};
    world_image_make(&other, "two");
    start(&i, w);
    run_with(&i, "");
    world_allow(w, other.image.os_image_hash, NULL);
    expect_keys(&i);
    const char *image = w->image.image.os_image_hash;
    DSTACK_AUTO(str) char *cpus = legacy_config(image, 3, 2147483648);
    DSTACK_AUTO(str) char *memory = legacy_config(image, 2, 4294967296);
    DSTACK_AUTO(str) char *another = legacy_config(other.image.os_image_hash, 2, 2147483648);
    DSTACK_AUTO(str) char *nowhere = legacy_config("00", 2, 2147483648);
    expect_refusal(w, i.guest, cpus, "App not allowed: Failed to verify os image hash: ");
    expect_refusal(w, i.guest, memory, "App not allowed: Failed to verify os image hash: ");
    /* an image that the policy allows too, and that the server has: the guest does not run it */
    pack(&i, other.dir, "");
    expect_refusal(w, i.guest, another, "App not allowed: Failed to verify os image hash: ");
    assert_non_null(strstr(i.last, other.image.os_image_hash));
    expect_refusal(w, i.guest, nowhere, "App not allowed: ");
    /* the lite scheme without its document */
    DSTACK_AUTO(buf) dstack_buf lite = {0};
    buf_put_fmt(&lite,
                "{\"os_image_hash\":\"%s\",\"cpu_count\":2,\"memory_size\":2147483648,"
                "\"qemu_version\":\"10.0.2\",\"tdx_attestation_variant\":\"lite\"}",
                image);
    expect_refusal(w, i.guest, buf_text(&lite),
                   "tdx lite attestation requires vm_config.tdx_measurement");
    end(&i);
    world_image_remove(&other);
}

static void nothing_is_fetched_for_what_the_policy_refuses(void **state) {
    world *w = *state;
    images i;
    start(&i, w);
    run_with(&i, "");
    DSTACK_AUTO(str)
    char *unknown = legacy_config(
        "1111111111111111111111111111111111111111111111111111111111111111", 2, 2147483648);
    expect_refusal(w, i.guest, unknown, "App not allowed: Boot denied: OS image is not allowed");
    world_allow(w, w->image.image.os_image_hash, "apps: {}\n");
    expect_refusal(w, i.guest, i.vm_config, "App not allowed: Boot denied: app not registered");
    assert_int_equal(atomic_load(&i.asked), 0);
    end(&i);
}

static void settings_that_cannot_be_are_refused(void **state) {
    world *w = *state;
    static const char *const bad[] = {
        "  image: {download_url: 'http://127.0.0.1/image.tar.gz'}\n",
        "  image: {download_url: 'ftp://127.0.0.1/{OS_IMAGE_HASH}'}\n",
        "  image: {download_timeout: never}\n",
        "  image: {keep: 0}\n",
        "  image: {downloads: 5000}\n",
        "  evidence: {max_age: long}\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        world_configure(w, bad[i]);
        if (exit_status(w, true) != 2) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(an_image_is_fetched_once_by_its_hash_and_checked_at_every_use),
        KMS_TEST(each_image_that_is_not_what_its_hash_says_is_refused),
        KMS_TEST(a_vm_config_that_was_changed_is_refused),
        KMS_TEST(nothing_is_fetched_for_what_the_policy_refuses),
        KMS_TEST(settings_that_cannot_be_are_refused),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
