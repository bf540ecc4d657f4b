/* Building byte strings and text. Failure to get memory sticks in buf->failed; a maker checks it
 * once at the end with buf_check(). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <dstack/bytes.h>

void buf_put(dstack_buf *buf, const void *data, size_t len);
void buf_put_bytes(dstack_buf *buf, dstack_bytes bytes);
void buf_put_u8(dstack_buf *buf, uint8_t value);
void buf_put_u16le(dstack_buf *buf, uint16_t value);
void buf_put_u32le(dstack_buf *buf, uint32_t value);
void buf_put_u64le(dstack_buf *buf, uint64_t value);
void buf_put_u16be(dstack_buf *buf, uint16_t value);
void buf_put_u32be(dstack_buf *buf, uint32_t value);
void buf_put_u64be(dstack_buf *buf, uint64_t value);
void buf_put_str(dstack_buf *buf, const char *text);
void buf_put_fmt(dstack_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Lower-case hex of data. */
void buf_put_hex(dstack_buf *buf, dstack_bytes bytes);
void buf_put_zeros(dstack_buf *buf, size_t count);
/* Makes room for `more` bytes beyond len. */
void buf_reserve(dstack_buf *buf, size_t more);
/* Ends the content with a zero byte that does not count in len, and returns it as text; NULL when
 * memory ran out. Owned by buf. */
const char *buf_text(dstack_buf *buf);
/* Hands the memory to the caller as a zero-terminated string (free()), leaving buf empty. */
char *buf_detach_text(dstack_buf *buf);
/* 0, or DSTACK_E_MEMORY when an addition failed. */
int buf_check(const dstack_buf *buf, dstack_error *err);
/* Keeps the memory, drops the content. */
void buf_reset(dstack_buf *buf);
/* As dstack_buf_clear, wiping the content first: for buffers that held secrets. A buffer that will
 * hold a secret is given its full size with buf_reserve() first, so that growth leaves no copies. */
void buf_wipe(dstack_buf *buf);

#endif
