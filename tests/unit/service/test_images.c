/* Images by their hash, from a real HTTP server into a real folder: once however many ask, whole or
 * not at all, and nothing that an archive says leads out of its folder. */
#include "check.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include <dstack/measure.h>

#include "service/image_store.h"
#include "measure/small_image.h"
#include "service/http.h"

#define LIMIT ((size_t)64 << 20)

typedef struct fixture {
    char dir[64];   /* cache and archives */
    char image[64]; /* the image's own folder */
    char hash[65];
    http_server *server;
    char url[80];
    image_store *store;
    dstack_buf archive; /* what the server gives */
    int status;
    unsigned delay_ms;
    atomic_uint asked;
} fixture;

static void serve(http_request *request, http_response *response, void *user) {
    fixture *f = user;
    atomic_fetch_add(&f->asked, 1);
    usleep(f->delay_ms * 1000);
    http_response_bytes(response, f->status, "application/gzip", bytes_of_buf(&f->archive));
}

static const http_route routes[] = {{"GET", "/*", serve, NULL, 0, 0}};

static image_store *new_store(const fixture *f, size_t download_max, size_t unpacked_max,
                              unsigned keep, int64_t timeout_ms) {
    char cache[100];
    snprintf(cache, sizeof cache, "%s/cache", f->dir);
    const image_store_options options = {.cache_dir = cache,
                                         .url = f->url,
                                         .timeout_ms = timeout_ms,
                                         .download_max = download_max,
                                         .unpacked_max = unpacked_max,
                                         .keep = keep,
                                         .parallel = 2};
    dstack_error err = {0};
    image_store *store = image_store_new(&options, &err);
    assert_non_null(store);
    return store;
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    dstack_error err = {0};
    strcpy(f->dir, "/tmp/dstack-images-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    strcpy(f->image, "/tmp/dstack-image-XXXXXX");
    small_image_make(f->image, "store");
    assert_ok(dstack_measure_digest(f->image, f->hash, &err), err);
    f->status = 200;
    f->server = http_server_new(&(http_server_config){.name = "images", .workers = 4});
    const http_listener_config listener = {
        .name = "images", .address = "127.0.0.1:0", .routes = routes, .route_count = 1, .user = f};
    assert_ok(http_server_listen(f->server, &listener, &err), err);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u/" IMAGE_STORE_PLACE,
             http_server_port(f->server, "images"));
    f->store = new_store(f, LIMIT, LIMIT, 2, 10000);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char command[100];
    image_store_free(f->store);
    http_server_free(f->server);
    dstack_buf_clear(&f->archive);
    small_image_remove(f->image);
    snprintf(command, sizeof command, "rm -r '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* ---- archives ------------------------------------------------------------------------------------
 */

typedef struct archive writer;

static void begin(writer **w, dstack_buf *out, size_t *used) {
    *w = archive_write_new();
    archive_write_add_filter_gzip(*w);
    archive_write_set_format_gnutar(*w);
    buf_reset(out);
    buf_reserve(out, LIMIT);
    assert_int_equal(archive_write_open_memory(*w, out->data, out->cap, used), ARCHIVE_OK);
}

static void put(writer *w, const char *path, mode_t type, const char *link, dstack_bytes content) {
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, path);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)content.len);
    if (link != NULL && type == AE_IFLNK) {
        archive_entry_set_symlink(entry, link);
    } else if (link != NULL) {
        archive_entry_set_hardlink(entry, link);
    }
    assert_int_equal(archive_write_header(w, entry), ARCHIVE_OK);
    if (content.len > 0) {
        assert_int_equal(archive_write_data(w, content.data, content.len), content.len);
    }
    archive_entry_free(entry);
}

static void put_image(writer *w, const fixture *f) {
    DIR *dir = opendir(f->image);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.') {
            char path[400], name[300];
            DSTACK_AUTO(buf) dstack_buf content = {0};
            snprintf(path, sizeof path, "%s/%s", f->image, entry->d_name);
            snprintf(name, sizeof name, "./%s", entry->d_name);
            load_file(path, &content);
            put(w, name, AE_IFREG, NULL, bytes_of_buf(&content));
        }
    }
    closedir(dir);
}

static void end(writer *w, dstack_buf *out, const size_t *used) {
    assert_int_equal(archive_write_close(w), ARCHIVE_OK);
    archive_write_free(w);
    out->len = *used;
}

/* The image, and one entry more. */
static void make_archive(fixture *f, const char *path, mode_t type, const char *link,
                         dstack_bytes content) {
    writer *w;
    size_t used = 0;
    begin(&w, &f->archive, &used);
    put_image(w, f);
    if (path != NULL) {
        put(w, path, type, link, content);
    }
    end(w, &f->archive, &used);
}

static bool exists(const fixture *f, const char *name) {
    char path[300];
    snprintf(path, sizeof path, "%s/cache/images/%s", f->dir, name);
    return access(path, F_OK) == 0;
}

static void expect_refusal(fixture *f, image_store *store, dstack_status status, const char *why) {
    dstack_error err = {0};
    DSTACK_AUTO(image_lease) image_lease lease = {.lock = -1};
    char lock[80];
    int rc = image_store_take(store, f->hash, &lease, &err);
    if (rc != (int)status || strstr(err.message, why) == NULL) {
        fail_msg("%s (%s), expected %s", err.message, dstack_status_name(rc), why);
    }
    /* nothing is left behind */
    snprintf(lock, sizeof lock, "tmp/%s", f->hash);
    assert_false(exists(f, lock));
    assert_false(exists(f, f->hash));
    snprintf(lock, sizeof lock, "%s.lock", f->hash);
    assert_false(exists(f, lock));
}

/* ---- tests ---------------------------------------------------------------------------------------
 */

static void an_image_is_downloaded_once_and_then_kept(void **state) {
    fixture *f = *state;
    dstack_error err = {0};
    make_archive(f, "extra", AE_IFREG, NULL, bytes_of_str("not listed"));
    for (int i = 0; i < 3; i++) {
        DSTACK_AUTO(image_lease) image_lease lease = {.lock = -1};
        dstack_image image;
        char extra[PATH_MAX + 8];
        assert_ok(image_store_take(f->store, f->hash, &lease, &err), err);
        assert_ok(dstack_image_load(lease.path, &image, &err), err);
        assert_string_equal(image.os_image_hash, f->hash);
        assert_int_equal(lease.is_dev, image.is_dev);
        assert_string_equal(lease.version, image.version);
        dstack_image_clear(&image);
        snprintf(extra, sizeof extra, "%s/extra", lease.path);
        assert_int_not_equal(access(extra, F_OK), 0);
    }
    assert_int_equal(atomic_load(&f->asked), 1);
}

typedef struct asker {
    fixture *f;
    image_store *store;
    int rc;
} asker;

static void *ask(void *user) {
    asker *a = user;
    DSTACK_AUTO(image_lease) image_lease lease = {.lock = -1};
    a->rc = image_store_take(a->store, a->f->hash, &lease, NULL);
    return NULL;
}

static void many_at_once_download_it_once_also_from_two_stores(void **state) {
    fixture *f = *state;
    make_archive(f, NULL, 0, NULL, (dstack_bytes){0});
    f->delay_ms = 200;
    image_store *second = new_store(f, LIMIT, LIMIT, 2, 10000);
    pthread_t threads[8];
    asker askers[8];
    for (int i = 0; i < 8; i++) {
        askers[i] = (asker){f, i % 2 == 0 ? f->store : second, -1};
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(askers[i].rc, 0);
    }
    assert_int_equal(atomic_load(&f->asked), 1);
    image_store_free(second);
}

static void sec_08_an_archive_cannot_lead_out_of_its_folder(void **state) {
    fixture *f = *state;
    static const struct {
        const char *path;
        mode_t type;
        const char *link;
        const char *why;
    } bad[] = {
        {"../evil", AE_IFREG, NULL, "unsafe path ../evil"},
        {"a/../../evil", AE_IFREG, NULL, "unsafe path a/../../evil"},
        {"/tmp/dstack-evil", AE_IFREG, NULL, "unsafe path /tmp/dstack-evil"},
        {"link", AE_IFLNK, "/etc/passwd", "unsupported entry link"},
        {"hard", AE_IFREG, "metadata.json", "unsupported entry hard"},
        {"fifo", AE_IFIFO, NULL, "unsupported entry fifo"},
        {"device", AE_IFCHR, NULL, "unsupported entry device"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        image_store *store = new_store(f, LIMIT, LIMIT, 2, 10000);
        make_archive(f, bad[i].path, bad[i].type, bad[i].link, (dstack_bytes){0});
        expect_refusal(f, store, DSTACK_E_REFUSED, bad[i].why);
        image_store_free(store);
    }
    char evil[100];
    snprintf(evil, sizeof evil, "%s/cache/evil", f->dir);
    assert_int_not_equal(access(evil, F_OK), 0);
    assert_int_not_equal(access("/tmp/dstack-evil", F_OK), 0);
}

static void sec_15_an_archive_that_unfolds_without_end_is_cut(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(buf) dstack_buf zeros = {0};
    buf_put_zeros(&zeros, (size_t)16 << 20);
    image_store *store = new_store(f, LIMIT, (size_t)8 << 20, 2, 10000);
    make_archive(f, "zeros", AE_IFREG, NULL, bytes_of_buf(&zeros));
    assert_true(f->archive.len < (size_t)8 << 20);
    expect_refusal(f, store, DSTACK_E_LIMIT, "too large");
    image_store_free(store);
    /* the same where nobody would write it */
    store = new_store(f, LIMIT, (size_t)8 << 20, 2, 10000);
    make_archive(f, "folder/zeros", AE_IFREG, NULL, bytes_of_buf(&zeros));
    expect_refusal(f, store, DSTACK_E_LIMIT, "too large");
    image_store_free(store);
}

static void sec_33_a_download_has_a_size_and_a_time(void **state) {
    fixture *f = *state;
    make_archive(f, NULL, 0, NULL, (dstack_bytes){0});
    image_store *store = new_store(f, 1000, LIMIT, 2, 10000);
    expect_refusal(f, store, DSTACK_E_LIMIT, "it is too large");
    image_store_free(store);
    f->delay_ms = 1500;
    store = new_store(f, LIMIT, LIMIT, 2, 300);
    expect_refusal(f, store, DSTACK_E_TIMEOUT, "Download image timeout");
    image_store_free(store);
}

static void what_is_not_the_image_of_that_hash_is_refused(void **state) {
    fixture *f = *state;
    make_archive(f, "metadata.json", AE_IFREG, NULL, bytes_of_str("{}")); /* the last one counts */
    expect_refusal(f, f->store, DSTACK_E_REFUSED, "Checksum verification failed: metadata.json");
    image_store *store = new_store(f, LIMIT, LIMIT, 2, 10000);
    make_archive(f, "sha256sum.txt", AE_IFREG, NULL, bytes_of_str("\n"));
    expect_refusal(f, store, DSTACK_E_REFUSED, "os_image_hash does not match");
    image_store_free(store);
    store = new_store(f, LIMIT, LIMIT, 2, 10000);
    make_archive(f, NULL, 0, NULL, (dstack_bytes){0});
    f->archive.len /= 2;
    expect_refusal(f, store, DSTACK_E_FORMAT, "image archive entry");
    image_store_free(store);
    store = new_store(f, LIMIT, LIMIT, 2, 10000);
    f->status = 404;
    expect_refusal(f, store, DSTACK_E_NETWORK, "HTTP status 404");
    image_store_free(store);
}

static void a_failed_download_is_not_repeated_at_once(void **state) {
    fixture *f = *state;
    f->status = 404;
    expect_refusal(f, f->store, DSTACK_E_NETWORK, "HTTP status 404");
    expect_refusal(f, f->store, DSTACK_E_STATE, "a moment ago");
    assert_int_equal(atomic_load(&f->asked), 1);
}

static void names_that_are_no_hashes_reach_neither_disk_nor_network(void **state) {
    fixture *f = *state;
    static const char *const bad[] = {
        "", "01020304", "../../../../etc",
        "0000000000000000000000000000000000000000000000000000000000000"
        "00G"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(image_lease) image_lease lease = {.lock = -1};
        assert_int_equal(image_store_take(f->store, bad[i], &lease, NULL), DSTACK_E_ARGUMENT);
    }
    assert_int_equal(atomic_load(&f->asked), 0);
    assert_false(exists(f, ""));
}

static void the_image_used_longest_ago_makes_room(void **state) {
    fixture *f = *state;
    dstack_error err = {0};
    char hashes[3][65], other[64];
    for (int i = 0; i < 3; i++) {
        char seed[8];
        small_image_remove(f->image);
        snprintf(seed, sizeof seed, "n%d", i);
        strcpy(other, "/tmp/dstack-image-XXXXXX");
        small_image_make(other, seed);
        strcpy(f->image, other);
        assert_ok(dstack_measure_digest(f->image, hashes[i], &err), err);
        make_archive(f, NULL, 0, NULL, (dstack_bytes){0});
        DSTACK_AUTO(image_lease) image_lease lease = {.lock = -1};
        assert_ok(image_store_take(f->store, hashes[i], &lease, &err), err);
        usleep(20000);
    }
    assert_false(exists(f, hashes[0]));
    assert_true(exists(f, hashes[1]) && exists(f, hashes[2]));
}

static void a_cache_that_others_may_write_to_is_not_used(void **state) {
    fixture *f = *state;
    char path[100];
    dstack_error err = {0};
    make_archive(f, NULL, 0, NULL, (dstack_bytes){0});
    snprintf(path, sizeof path, "%s/cache/images", f->dir);
    assert_ok(file_make_dirs(path, 0700, &err), err);
    assert_int_equal(chmod(path, 0777), 0);
    expect_refusal(f, f->store, DSTACK_E_REFUSED, "must belong to this user alone");
    assert_int_equal(atomic_load(&f->asked), 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(an_image_is_downloaded_once_and_then_kept),
        CASE(many_at_once_download_it_once_also_from_two_stores),
        CASE(sec_08_an_archive_cannot_lead_out_of_its_folder),
        CASE(sec_15_an_archive_that_unfolds_without_end_is_cut),
        CASE(sec_33_a_download_has_a_size_and_a_time),
        CASE(what_is_not_the_image_of_that_hash_is_refused),
        CASE(a_failed_download_is_not_repeated_at_once),
        CASE(names_that_are_no_hashes_reach_neither_disk_nor_network),
        CASE(the_image_used_longest_ago_makes_room),
        CASE(a_cache_that_others_may_write_to_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
