/* What every unit test shares: cmocka with its includes, and access to the vector data. */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"

/* Asserts that a call succeeded, printing its message when it did not. */
#define assert_ok(rc, err)                                                                         \
    do {                                                                                           \
        if ((rc) != 0) {                                                                           \
            fail_msg("%s: %s", dstack_status_name((err).status), (err).message);                   \
        }                                                                                          \
    } while (0)

/* Compares bytes with lower-case hex. */
#define assert_hex(view, text)                                                                     \
    do {                                                                                           \
        DSTACK_AUTO(buf) dstack_buf hex_ = {0};                                                    \
        buf_put_hex(&hex_, (view));                                                                \
        assert_string_equal(buf_text(&hex_), (text));                                              \
    } while (0)

/* Path below the shared test data, seen from the project's root where tests run. */
#define SHARED_DATA "../shared/data/"

/* Skips the running test with one line when the shared data folder is absent; CI has it always. */
static inline void need_shared_data(void) {
    if (access(SHARED_DATA, R_OK) != 0) {
        if (getenv("CI") != NULL) {
            fail_msg("%s is absent in CI", SHARED_DATA);
        }
        print_message("SKIP: %s is absent\n", SHARED_DATA);
        skip();
    }
}

/* Reads a whole file of the shared data, or of the tree, into out; fails the test otherwise. */
static inline void load_file(const char *path, dstack_buf *out) {
    dstack_error err = {0};
    assert_ok(file_read(path, (size_t)64 << 20, out, &err), err);
}

static inline json_t *load_json(const char *path) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(path, &text);
    dstack_error err = {0};
    json_t *value = json_parse(bytes_of_buf(&text), (size_t)64 << 20, path, &err);
    if (value == NULL) {
        fail_msg("%s", err.message);
    }
    return value;
}

/* Appends the bytes of hex text; fails the test when it is not hex. */
static inline void put_hex(dstack_buf *out, const char *text) {
    dstack_error err = {0};
    assert_ok(hex_decode(bytes_of_str(text), out, &err), err);
}

#endif
