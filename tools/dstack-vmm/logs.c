/* The logs route: the last lines of a log, then new ones as they come. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ansi.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "rpc_vmm.h"

#define DEFAULT_LINES 10000
#define MAX_LINES 1000000
#define CHUNK 65536
#define POLL_MS 200
#define HEARTBEAT_MS 60000

struct logs_job {
    char *path;
    bool follow, ansi;
    size_t lines;
    struct ansi_filter filter;
};

/* Offset at which the last `lines` lines begin. */
static off_t tail_offset(int fd, off_t size, size_t lines) {
    char chunk[CHUNK];
    off_t end = size;
    size_t seen = 0;
    while (end > 0) {
        off_t start = end > CHUNK ? end - CHUNK : 0;
        ssize_t n = pread(fd, chunk, (size_t)(end - start), start);
        if (n <= 0) {
            return 0;
        }
        for (ssize_t i = n; i-- > 0;) {
            /* The newline that ends the file ends the last line; it does not begin one. */
            if (chunk[i] == '\n' && start + i != size - 1 && ++seen == lines) {
                return start + i + 1;
            }
        }
        end = start;
    }
    return 0;
}

static bool send_lines(http_stream *stream, struct logs_job *job, const char *data, size_t len) {
    if (job->ansi) {
        return http_stream_write(stream, bytes_of(data, len));
    }
    DSTACK_AUTO(buf) dstack_buf clean = {0};
    ansi_filter_put(&job->filter, bytes_of(data, len), &clean);
    return clean.len == 0 || http_stream_write(stream, bytes_of_buf(&clean));
}

/* Sends what the file has from *offset on. */
static bool send_new(http_stream *stream, struct logs_job *job, int fd, off_t *offset, bool *sent) {
    char chunk[CHUNK];
    ssize_t n;
    while ((n = pread(fd, chunk, sizeof chunk, *offset)) > 0) {
        *offset += n;
        *sent = true;
        if (!send_lines(stream, job, chunk, (size_t)n)) {
            return false;
        }
    }
    return true;
}

/* The file was rotated: the name stands for another file now, or for a shorter one. */
static bool replaced(const char *path, int fd, off_t offset) {
    struct stat named, open_file;
    return stat(path, &named) == 0 && fstat(fd, &open_file) == 0 &&
           (named.st_ino != open_file.st_ino || named.st_size < offset);
}

static void follow(http_stream *stream, struct logs_job *job, int *fd, off_t offset) {
    int64_t last = clock_monotonic_ms();
    while (!http_stream_closed(stream)) {
        bool sent = false;
        if (*fd >= 0 && !send_new(stream, job, *fd, &offset, &sent)) {
            return;
        }
        if (*fd < 0 || replaced(job->path, *fd, offset)) {
            int fresh = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
            if (fresh >= 0) {
                if (*fd >= 0) {
                    close(*fd);
                }
                *fd = fresh;
                offset = 0;
                continue;
            }
        }
        int64_t now = clock_monotonic_ms();
        if (sent) {
            last = now;
        } else if (now - last >= HEARTBEAT_MS) {
            static const char beat[] = "[vmm heartbeat]\n";
            if (!http_stream_write(stream, bytes_of(beat, sizeof beat - 1))) {
                return;
            }
            last = now;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

static void produce(http_stream *stream, void *user) {
    struct logs_job *job = user;
    DSTACK_AUTO(fd) int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat info;
    off_t offset = 0;
    bool sent = false;
    if (fd >= 0 && fstat(fd, &info) == 0) {
        offset = job->lines == 0 ? info.st_size : tail_offset(fd, info.st_size, job->lines);
        if (!send_new(stream, job, fd, &offset, &sent)) {
            return;
        }
    }
    if (job->follow) {
        follow(stream, job, &fd, offset);
    }
}

static void done(void *user) {
    struct logs_job *job = user;
    free(job->path);
    free(job);
}

static bool flag(http_request *request, const char *name) {
    const char *value = http_request_arg(request, name);
    return value != NULL && (value[0] == 0 || strcmp(value, "true") == 0 ||
                             strcmp(value, "on") == 0 || strcmp(value, "yes") == 0);
}

static const char *channel_file(const char *channel) {
    static const char *const files[][2] = {{"serial", "serial.log"},
                                           {"stdout", "stdout.log"},
                                           {"stderr", "stderr.log"},
                                           {"supervisor", "supervise.log"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (strcmp(files[i][0], channel) == 0) {
            return files[i][1];
        }
    }
    return NULL;
}

void vmm_logs_handle(http_request *request, http_response *response, void *user) {
    struct vmm_app *app = user;
    const char *id = http_request_arg(request, "id");
    const char *channel = http_request_arg(request, "ch");
    const char *lines = http_request_arg(request, "lines");
    const char *file = channel_file(channel != NULL ? channel : "serial");
    if (!vmm_auth_accepts(app, request)) {
        http_response_header(response, "WWW-Authenticate", "Basic realm=\"dstack-vmm API\"");
        http_response_text(response, 401, "");
        return;
    }
    DSTACK_AUTO(str) char *dir = id != NULL ? registry_dir(&app->registry, id) : NULL;
    if (dir == NULL) {
        http_response_text(response, 404, "VM not found");
        return;
    }
    if (file == NULL) {
        http_response_text(response, 400, "Unknown channel");
        return;
    }
    struct logs_job *job = calloc(1, sizeof *job);
    char *path = vm_path(dir, file);
    if (job == NULL || path == NULL) {
        free(job);
        free(path);
        http_response_text(response, 503, "no memory");
        return;
    }
    job->path = path;
    job->follow = flag(request, "follow");
    job->ansi = flag(request, "ansi");
    unsigned long wanted = lines != NULL ? strtoul(lines, NULL, 10) : DEFAULT_LINES;
    job->lines = wanted < MAX_LINES ? wanted : MAX_LINES;
    http_response_header(response, "X-Accel-Buffering", "no");
    http_response_stream(response, 200, "text/plain; charset=utf-8", produce, job, done);
}
