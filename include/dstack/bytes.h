/**
 * @file bytes.h
 * @brief Borrowed bytes, owned buffers and guarded secrets.
 */
#ifndef DSTACK_BYTES_H
#define DSTACK_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes that belong to somebody else and must outlive this view. `data` may be NULL if `len` is 0. */
typedef struct dstack_bytes {
    const uint8_t *data;
    size_t len;
} dstack_bytes;

/**
 * A growing buffer that owns its memory. Start with all fields zero; release with
 * `dstack_buf_clear()`. A failed allocation sets `failed` and later additions do nothing, so a
 * chain of additions is checked once at its end.
 */
typedef struct dstack_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed;
} dstack_buf;

/** Releases the memory and zeroes the struct. Accepts NULL. */
DSTACK_API void dstack_buf_clear(dstack_buf *buf);

/**
 * Secret bytes in guarded memory: locked against swapping, fenced by inaccessible pages, wiped when
 * freed (libsodium `sodium_malloc`). Has no printer. One thread at a time.
 */
typedef struct dstack_secret dstack_secret;

/** New secret of `len` bytes (1 to 1 MiB), filled with zeros. NULL when memory cannot be had. */
DSTACK_API dstack_secret *dstack_secret_new(size_t len);
/** New secret holding a copy of `len` bytes. The caller wipes its own copy. */
DSTACK_API dstack_secret *dstack_secret_copy(const uint8_t *data, size_t len);
/** Wipes and frees. Accepts NULL. */
DSTACK_API void dstack_secret_free(dstack_secret *secret);
/** The bytes; valid until the secret is freed. */
DSTACK_API uint8_t *dstack_secret_data(dstack_secret *secret);
/** Read-only view of the bytes; valid until the secret is freed. */
DSTACK_API const uint8_t *dstack_secret_peek(const dstack_secret *secret);
/** Size in bytes. 0 for NULL. */
DSTACK_API size_t dstack_secret_len(const dstack_secret *secret);
/** Constant-time comparison; false when lengths differ or either is NULL. */
DSTACK_API bool dstack_secret_equal(const dstack_secret *a, const dstack_secret *b);

#ifdef __cplusplus
}
#endif
#endif
