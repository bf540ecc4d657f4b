#include "service/image_fetch.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/auto.h"
#include "base/error.h"

#define CONNECT_TIMEOUT_MS 10000L
#define REDIRECTS_MAX 5L
/* A server that gives less than this for half a minute is taken for dead. */
#define SLOWEST_BYTES_PER_S 1024L
#define SLOWEST_FOR_S 30L

DSTACK_AUTO_DEFINE(curl, CURL, curl_easy_cleanup)

typedef struct sink {
    int fd;
    size_t left;
    bool too_large;
    bool io_failed;
} sink;

static size_t take(char *data, size_t size, size_t count, void *user) {
    sink *s = user;
    size_t len = size * count;
    if (len > s->left) {
        s->too_large = true;
        return 0;
    }
    s->left -= len;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(s->fd, data + done, len - done);
        if (n < 0 && errno != EINTR) {
            s->io_failed = true;
            return 0;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return len;
}

static int failure(CURLcode code, const sink *s, dstack_error *err) {
    if (s->too_large) {
        return error_set(err, DSTACK_E_LIMIT, "Failed to download image: it is too large");
    }
    if (s->io_failed) {
        return error_set_errno(err, DSTACK_E_IO, "Failed to download image: cannot write");
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return error_set(err, DSTACK_E_TIMEOUT, "Download image timeout");
    }
    return error_set(err, DSTACK_E_NETWORK, "Failed to download image: %s",
                     curl_easy_strerror(code));
}

int image_fetch(const char *url, int fd, size_t limit, int64_t timeout_ms, dstack_error *err) {
    DSTACK_AUTO(curl) CURL *curl = curl_easy_init();
    if (curl == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    sink s = {.fd = fd, .left = limit};
    const char *protocols = strncmp(url, "https:", 6) == 0 ? "https" : "http,https";
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, SLOWEST_BYTES_PER_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SLOWEST_FOR_S);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)limit);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "dstack");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &s);
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_FILESIZE_EXCEEDED) {
        s.too_large = true;
    }
    if (code != CURLE_OK) {
        return failure(code, &s, err);
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300
               ? 0
               : error_set(err, DSTACK_E_NETWORK,
                           "Failed to download image: HTTP status %ld, url: %.200s", status, url);
}
