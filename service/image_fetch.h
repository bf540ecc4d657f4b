/* Downloads a guest image's archive. */
#ifndef SERVICE_IMAGE_FETCH_H
#define SERVICE_IMAGE_FETCH_H

#include <dstack/bytes.h>

/* GET into `fd`. Anything but 2xx, more than `limit` bytes, or more time than `timeout_ms` fails. A
 * few redirects are followed, never from https to http. */
int image_fetch(const char *url, int fd, size_t limit, int64_t timeout_ms, dstack_error *err);

#endif
