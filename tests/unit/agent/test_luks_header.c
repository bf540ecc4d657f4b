/* The LUKS2 header checker, and the header that this guest itself makes. */
#include "../check.h"

#include <fcntl.h>

#include "disk/luks.h"
#include "disk/luks_header.h"

static const char *const BAD[] = {
    "bad_argon2", "bad_cipher_null",  "bad_cipher_null_segment", "bad_integrity",
    "bad_label",  "bad_keyslot_area", "bad_requirements",        "bad_sector4096",
    "bad_token",  "bad_two_keyslots",
};

static void a_header_of_the_reference_layout_is_accepted(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf area = {0};
    load_file(SHARED_DATA "measurement/guest/luks/good.hdr", &area);
    dstack_error err = {0};
    assert_ok(luks_header_check(bytes_of_buf(&area), &err), err);
    assert_int_equal(luks_header_presence(bytes_of_buf(&area)), LUKS_PRESENT);
}

static void sec_05_headers_with_one_defect_are_refused(void **state) {
    need_shared_data();
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        char path[200];
        snprintf(path, sizeof path, SHARED_DATA "measurement/guest/luks/%s.hdr", BAD[i]);
        DSTACK_AUTO(buf) dstack_buf area = {0};
        load_file(path, &area);
        dstack_error err = {0};
        if (luks_header_check(bytes_of_buf(&area), &err) != DSTACK_E_REFUSED) {
            fail_msg("%s was not refused: %s", BAD[i], err.message);
        }
    }
}

/* A header made here for a plain file as data device; the memory file holds it. */
static void make_header(dstack_buf *area) {
    char device[] = "/tmp/dstack-luks-XXXXXX";
    DSTACK_AUTO(fd) int disk = mkstemp(device);
    assert_true(disk >= 0);
    assert_int_equal(ftruncate(disk, 64 << 20), 0);
    dstack_error err = {0};
    DSTACK_AUTO(fd) int fd = -1;
    assert_ok(luks_header_new(&fd, &err), err);
    uint8_t key[32];
    memset(key, 7, sizeof key);
    DSTACK_AUTO(secret) dstack_secret *disk_key = dstack_secret_copy(key, sizeof key);
    DSTACK_AUTO(secret) dstack_secret *passphrase = luks_passphrase(disk_key);
    assert_int_equal(dstack_secret_len(passphrase), 64);
    assert_memory_equal(dstack_secret_peek(passphrase), "0707", 4);
    int rc = luks_header_format(fd, device, passphrase, &err);
    unlink(device);
    assert_ok(rc, err);
    buf_reserve(area, LUKS_HEADER_AREA);
    area->len = (size_t)pread(fd, area->data, LUKS_HEADER_AREA, 0);
    assert_int_equal(area->len, LUKS_HEADER_AREA);
}

static void need_cryptsetup(void) {
    if (!luks_supported()) {
        print_message("SKIP: this build has no libcryptsetup\n");
        skip();
    }
}

static void a_header_made_here_passes_the_check(void **state) {
    need_cryptsetup();
    DSTACK_AUTO(buf) dstack_buf area = {0};
    make_header(&area);
    dstack_error err = {0};
    assert_ok(luks_header_check(bytes_of_buf(&area), &err), err);
}

/* Replaces text of equal length in both copies' JSON. */
static void replace_all(dstack_buf *area, const char *from, const char *to) {
    assert_int_equal(strlen(from), strlen(to));
    size_t hits = 0;
    uint8_t *at = area->data;
    while ((at = memmem(at, area->len - (size_t)(at - area->data), from, strlen(from))) != NULL) {
        memcpy(at, to, strlen(to));
        at += strlen(to);
        hits++;
    }
    assert_true(hits >= 2);
}

static void sec_05_a_changed_cipher_offset_or_kdf_is_refused(void **state) {
    need_cryptsetup();
    static const char *const edits[][2] = {
        {"\"encryption\":\"aes-xts-plain64\"", "\"encryption\":\"cipher_null-ecb\""},
        {"\"offset\":\"16777216\"", "\"offset\":\"16777220\""},
        {"\"sector_size\":512", "\"sector_size\":513"},
        {"\"pbkdf2\"", "\"argon2\""},
        {"\"stripes\":4000", "\"stripes\":4001"},
        {"\"iv_tweak\":\"0\"", "\"iv_tweak\":\"1\""},
        {"\"tokens\":{}", "\"tokenz\":{}"},
        {"\"key_size\":64", "\"key_size\":32"},
        {"\"size\":\"dynamic\"", "\"size\":\"0000000\""},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        DSTACK_AUTO(buf) dstack_buf area = {0};
        make_header(&area);
        replace_all(&area, edits[i][0], edits[i][1]);
        dstack_error err = {0};
        if (luks_header_check(bytes_of_buf(&area), &err) != DSTACK_E_REFUSED) {
            fail_msg("%s was not refused: %s", edits[i][1], err.message);
        }
    }
}

static void sec_05_a_second_copy_that_differs_is_refused(void **state) {
    need_cryptsetup();
    DSTACK_AUTO(buf) dstack_buf area = {0};
    make_header(&area);
    uint8_t *second = memmem(area.data + 16384, area.len - 16384, "\"sector_size\":512", 17);
    assert_non_null(second);
    second[14] = '9';
    dstack_error err = {0};
    assert_int_equal(luks_header_check(bytes_of_buf(&area), &err), DSTACK_E_REFUSED);
}

static void every_truncation_is_refused(void **state) {
    need_cryptsetup();
    DSTACK_AUTO(buf) dstack_buf area = {0};
    make_header(&area);
    dstack_error err = {0};
    for (size_t len = 0; len < 32768; len += 97) {
        assert_int_not_equal(luks_header_check(bytes_of(area.data, len), &err), 0);
    }
}

static void presence_tells_fresh_disks_from_foreign_ones(void **state) {
    uint8_t start[LUKS_MARKER_SIZE] = {0};
    assert_int_equal(luks_header_presence(bytes_of(start, sizeof start)), LUKS_ABSENT);
    start[4000] = 1;
    assert_int_equal(luks_header_presence(bytes_of(start, sizeof start)), LUKS_FOREIGN);
    memcpy(start, "LUKS\xba\xbe", 6);
    assert_int_equal(luks_header_presence(bytes_of(start, sizeof start)), LUKS_PRESENT);
}

/* Row 28: the marker is the last thing that reaches the disk. */
static void sec_28_a_disk_without_marker_counts_as_never_formatted(void **state) {
    need_cryptsetup();
    char device[] = "/tmp/dstack-luks-XXXXXX";
    DSTACK_AUTO(fd) int disk = mkstemp(device);
    assert_int_equal(ftruncate(disk, 64 << 20), 0);
    dstack_error err = {0};
    DSTACK_AUTO(fd) int fd = -1;
    assert_ok(luks_header_new(&fd, &err), err);
    uint8_t key[32] = {1};
    DSTACK_AUTO(secret) dstack_secret *passphrase = dstack_secret_copy(key, sizeof key);
    assert_ok(luks_header_format(fd, device, passphrase, &err), err);
    uint8_t start[LUKS_MARKER_SIZE];
    assert_int_equal(pread(disk, start, sizeof start, 0), (int)sizeof start);
    assert_int_equal(luks_header_presence(bytes_of(start, sizeof start)), LUKS_ABSENT);
    assert_ok(luks_header_commit(fd, device, &err), err);
    assert_int_equal(pread(disk, start, sizeof start, 0), (int)sizeof start);
    assert_int_equal(luks_header_presence(bytes_of(start, sizeof start)), LUKS_PRESENT);
    DSTACK_AUTO(fd) int loaded = -1;
    assert_ok(luks_header_load(device, &loaded, &err), err);
    unlink(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_of_the_reference_layout_is_accepted),
        cmocka_unit_test(sec_05_headers_with_one_defect_are_refused),
        cmocka_unit_test(a_header_made_here_passes_the_check),
        cmocka_unit_test(sec_05_a_changed_cipher_offset_or_kdf_is_refused),
        cmocka_unit_test(sec_05_a_second_copy_that_differs_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(presence_tells_fresh_disks_from_foreign_ones),
        cmocka_unit_test(sec_28_a_disk_without_marker_counts_as_never_formatted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
