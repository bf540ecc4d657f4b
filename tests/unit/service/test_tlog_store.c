/* A transparency log in a folder: what is appended stays, what is damaged does not open. */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <pthread.h>

#include "base/file.h"
#include "service/tlog_store.h"
#include "tlog/tlog.h"

typedef struct place {
    char dir[64];
} place;

static int make_place(void **state) {
    place *p = calloc(1, sizeof *p);
    strcpy(p->dir, "/tmp/dstack-tlog-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    *state = p;
    return 0;
}

static int drop_place(void **state) {
    place *p = *state;
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", p->dir);
    assert_int_equal(system(command), 0);
    free(p);
    return 0;
}

static tlog_store *open_log(const place *p) {
    dstack_error err = {0};
    tlog_store *store = NULL;
    assert_ok(tlog_store_open(&store, p->dir, "log.example/kms", &err), err);
    return store;
}

static void entry_of(size_t i, dstack_buf *out) {
    buf_reset(out);
    buf_put_fmt(out, "entry %zu", i);
    buf_put_zeros(out, i % 7);
}

static void append(tlog_store *store, size_t from, size_t to) {
    DSTACK_AUTO(buf) dstack_buf entry = {0};
    dstack_error err = {0};
    for (size_t i = from; i < to; i++) {
        uint64_t index;
        entry_of(i, &entry);
        assert_ok(tlog_store_append(store, bytes_of_buf(&entry), &index, &err), err);
        assert_int_equal(index, i);
    }
}

static void expect_log(tlog_store *store, size_t size) {
    DSTACK_AUTO(buf) dstack_buf entry = {0}, found = {0}, note = {0};
    dstack_tlog_checkpoint checkpoint;
    dstack_tlog_hash *leaves = calloc(size + 1, sizeof *leaves), root;
    dstack_error err = {0};
    for (size_t i = 0; i < size; i++) {
        entry_of(i, &entry);
        dstack_tlog_leaf(bytes_of_buf(&entry), &leaves[i]);
    }
    for (size_t i = 0; i < size; i += 1 + size / 50) {
        entry_of(i, &entry);
        buf_reset(&found);
        assert_ok(tlog_store_entry(store, i, &found, &err), err);
        assert_true(bytes_equal(bytes_of_buf(&entry), bytes_of_buf(&found)));
    }
    assert_ok(tlog_store_checkpoint(store, &note, &err), err);
    assert_ok(
        dstack_tlog_checkpoint_open(bytes_of_buf(&note), tlog_store_key(store), &checkpoint, &err),
        err);
    dstack_tlog_root(leaves, size, &root);
    assert_int_equal(checkpoint.size, size);
    assert_memory_equal(checkpoint.root.bytes, root.bytes, 32);
    assert_int_equal(tlog_store_entry(store, size, &found, &err), DSTACK_E_NOT_FOUND);
    free(leaves);
}

static void entries_stay_over_restarts_and_tile_borders(void **state) {
    const place *p = *state;
    static const size_t sizes[] = {0, 1, 2, 255, 256, 257, 511, 512, 700};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tlog_store *store = open_log(p);
        expect_log(store, i > 0 ? sizes[i - 1] : 0);
        append(store, i > 0 ? sizes[i - 1] : 0, sizes[i]);
        expect_log(store, sizes[i]);
        tlog_store_free(store);
    }
}

static void tiles_are_served_as_far_as_they_are_signed(void **state) {
    const place *p = *state;
    tlog_store *store = open_log(p);
    dstack_error err = {0};
    append(store, 0, 300);
    static const struct {
        const char *path;
        size_t len; /* 0: not there */
    } cases[] = {
        {"tile/0/000", 256 * 32},
        {"tile/0/001.p/44", 44 * 32},
        {"tile/0/001.p/43", 43 * 32},
        {"tile/1/000.p/1", 32},
        {"tile/0/001", 0},
        {"tile/0/001.p/45", 0},
        {"tile/0/002.p/1", 0},
        {"tile/1/000.p/2", 0},
        {"tile/2/000.p/1", 0},
        {"tile/0/000.p/256", 0},
        {"tile/0/000.p/0", 0},
        {"tile/0/00", 0},
        {"tile/0/0000", 0},
        {"tile/0/x000/000/", 0},
        {"tile/0/../../log.key", 0},
        {"tile/9/000", 0},
        {"tile/entries/../log.key", 0},
        {"log.key", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        int rc = tlog_store_read(store, cases[i].path, &out, &err);
        if (rc != (cases[i].len > 0 ? 0 : DSTACK_E_NOT_FOUND) || out.len != cases[i].len) {
            fail_msg("%s: %d, %zu bytes", cases[i].path, rc, out.len);
        }
    }
    DSTACK_AUTO(buf) dstack_buf entries = {0};
    assert_ok(tlog_store_read(store, "tile/entries/000.p/2", &entries, &err), err);
    assert_int_equal(entries.len, 2 + 7 + 2 + 8);
    tlog_store_free(store);
}

static void a_torn_entry_is_cut_off(void **state) {
    const place *p = *state;
    char path[100];
    tlog_store *store = open_log(p);
    append(store, 0, 5);
    tlog_store_free(store);
    snprintf(path, sizeof path, "%s/tile/entries/000", p->dir);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "\x00\x20half", 6), 6);
    close(fd);
    store = open_log(p);
    expect_log(store, 5);
    append(store, 5, 6);
    expect_log(store, 6);
    tlog_store_free(store);
}

static void damage(const place *p, const char *name, off_t at) {
    char path[100];
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    int fd = open(path, O_RDWR);
    uint8_t byte = 0;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void expect_closed(const place *p, const char *says) {
    tlog_store *store = NULL;
    dstack_error err = {0};
    assert_int_not_equal(tlog_store_open(&store, p->dir, "log.example/kms", &err), 0);
    if (strstr(err.message, says) == NULL) {
        fail_msg("%s", err.message);
    }
}

static void a_changed_or_shortened_log_does_not_open(void **state) {
    const place *p = *state;
    char path[100], away[100];
    tlog_store *store = open_log(p);
    append(store, 0, 300);
    tlog_store_free(store);
    damage(p, "tile/entries/001", 5);
    expect_closed(p, "is not the one that was signed");
    damage(p, "tile/entries/001", 5);
    damage(p, "tile/1/000", 3); /* made again from what is below it */
    tlog_store_free(open_log(p));
    snprintf(path, sizeof path, "%s/tile/entries/001", p->dir);
    assert_int_equal(truncate(path, 40), 0);
    expect_closed(p, "has lost entries");
    snprintf(path, sizeof path, "%s/log.key", p->dir);
    snprintf(away, sizeof away, "%s/away", p->dir);
    assert_int_equal(rename(path, away), 0);
    expect_closed(p, "holds a log, but not its key");
    assert_int_equal(rename(away, path), 0);
    damage(p, "log.key", 1);
    expect_closed(p, "is not the key of");
}

#define THREADS 8
#define EACH 60

static void *append_many(void *user) {
    tlog_store *store = user;
    for (size_t i = 0; i < EACH; i++) {
        char text[40];
        uint64_t index;
        DSTACK_AUTO(buf) dstack_buf found = {0};
        snprintf(text, sizeof text, "%p %zu", (void *)text, i);
        if (tlog_store_append(store, bytes_of_str(text), &index, NULL) != 0 ||
            tlog_store_entry(store, index, &found, NULL) != 0 ||
            !bytes_equal_str(bytes_of_buf(&found), text)) {
            return "not kept";
        }
    }
    return NULL;
}

static void threads_append_side_by_side(void **state) {
    const place *p = *state;
    tlog_store *store = open_log(p);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, store), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *trouble = NULL;
        pthread_join(threads[i], &trouble);
        assert_null(trouble);
    }
    assert_int_equal(tlog_store_size(store), THREADS * EACH);
    tlog_store_free(store);
    tlog_store_free(open_log(p));
}

static void a_log_that_cannot_be_written_says_so_from_then_on(void **state) {
    const place *p = *state;
    char path[100];
    tlog_store *store = open_log(p);
    dstack_error err = {0};
    append(store, 0, 3);
    snprintf(path, sizeof path, "%s/tile/entries/000", p->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* the tile cannot be opened for writing */
    assert_int_equal(tlog_store_append(store, bytes_of_str("x"), NULL, &err), DSTACK_E_IO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(tlog_store_append(store, bytes_of_str("x"), NULL, &err), DSTACK_E_IO);
    tlog_store_free(store);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)
    const struct CMUnitTest tests[] = {
        CASE(entries_stay_over_restarts_and_tile_borders),
        CASE(tiles_are_served_as_far_as_they_are_signed),
        CASE(a_torn_entry_is_cut_off),
        CASE(a_changed_or_shortened_log_does_not_open),
        CASE(threads_append_side_by_side),
        CASE(a_log_that_cannot_be_written_says_so_from_then_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
