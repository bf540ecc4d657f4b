#include "service/image_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "service/image_fetch.h"
#include "service/image_unpack.h"
#include "service/log.h"

#define LOCK_POLL_NS 20000000
/* An image that could not be had is not asked for again for this long: whoever shows evidence can
 * name any hash. */
#define PAUSE_AFTER_FAILURE_MS 30000
#define FAILURES_MAX 64
#define METADATA_MAX ((size_t)1 << 20)

DSTACK_AUTO_DEFINE(dir, DIR, closedir)

typedef struct failure {
    char hash[65];
    int64_t until_ms;
    char message[200];
} failure;

struct image_store {
    image_store_options options;
    char *cache_dir, *url;
    pthread_mutex_t lock; /* of what follows */
    unsigned running;
    failure failures[FAILURES_MAX];
    size_t next_failure;
};

image_store *image_store_new(const image_store_options *options, dstack_error *err) {
    image_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&store->lock, NULL);
    store->options = *options;
    store->cache_dir = strdup(options->cache_dir);
    store->url = strdup(options->url);
    if (store->cache_dir == NULL || store->url == NULL) {
        image_store_free(store);
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    return store;
}

void image_store_free(image_store *store) {
    if (store != NULL) {
        pthread_mutex_destroy(&store->lock);
        free(store->cache_dir);
        free(store->url);
        free(store);
    }
}

/* ---- folders ------------------------------------------------------------------------------------ */

/* A folder that others may write to could be changed under us. */
static int check_owner(int fd, const char *path, dstack_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_uid != geteuid() || (info.st_mode & 022) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "%s must belong to this user alone", path);
    }
    return 0;
}

static int open_images(const image_store *store, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/images/tmp", store->cache_dir);
    if (buf_text(&path) == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = file_make_dirs(buf_text(&path), 0700, err);
    if (rc != 0) {
        return rc;
    }
    buf_reset(&path);
    buf_put_fmt(&path, "%s/images", store->cache_dir);
    DSTACK_AUTO(fd) int fd = open(buf_text(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", buf_text(&path));
    }
    rc = check_owner(fd, buf_text(&path), err);
    if (rc != 0) {
        return rc;
    }
    int result = fd;
    fd = -1;
    return result;
}

/* Removes a folder of plain files. */
static void remove_folder(int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DSTACK_AUTO(dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            unlinkat(fd, entry->d_name, 0);
        }
    }
    unlinkat(parent, name, AT_REMOVEDIR);
}

static bool is_there(int images, const char *hash) {
    char path[100];
    snprintf(path, sizeof path, "%s/metadata.json", hash);
    return faccessat(images, path, R_OK, 0) == 0;
}

/* ---- locks --------------------------------------------------------------------------------------- */

static int wait_lock(int fd, int kind, int64_t deadline, dstack_error *err) {
    while (flock(fd, kind | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_IO, "cannot lock the image");
        }
        if (clock_monotonic_ms() >= deadline) {
            return error_set(err, DSTACK_E_TIMEOUT, "Download image timeout");
        }
        nanosleep(&(struct timespec){0, LOCK_POLL_NS}, NULL);
    }
    return 0;
}

/* The file "<hash>.lock": shared by readers of the image, exclusive for who makes or removes it. A
 * file that was removed before we had the lock does not count. */
static int take_lock(int images, const char *hash, int kind, int64_t deadline, int *out,
                     dstack_error *err) {
    char name[80];
    snprintf(name, sizeof name, "%s.lock", hash);
    for (;;) {
        DSTACK_AUTO(fd) int fd = file_open_beneath(images, name, O_RDWR | O_CREAT, 0600, err);
        if (fd < 0) {
            return fd;
        }
        struct stat info;
        int rc = wait_lock(fd, kind, deadline, err);
        if (rc != 0 || (fstat(fd, &info) == 0 && info.st_nlink > 0)) {
            *out = rc == 0 ? fd : -1;
            fd = rc == 0 ? -1 : fd;
            return rc;
        }
    }
}

static void remove_lock(int images, const char *hash) {
    char name[80];
    snprintf(name, sizeof name, "%s.lock", hash);
    unlinkat(images, name, 0);
}

/* ---- failures and counts -------------------------------------------------------------------------- */

static int recall_failure(image_store *store, const char *hash, dstack_error *err) {
    int rc = 0;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; rc == 0 && i < FAILURES_MAX; i++) {
        const failure *f = &store->failures[i];
        if (strcmp(f->hash, hash) == 0 && f->until_ms > clock_monotonic_ms()) {
            rc = error_set(err, DSTACK_E_STATE, "%s (a moment ago)", f->message);
        }
    }
    pthread_mutex_unlock(&store->lock);
    return rc;
}

static void note_failure(image_store *store, const char *hash, const char *message) {
    pthread_mutex_lock(&store->lock);
    failure *f = &store->failures[store->next_failure++ % FAILURES_MAX];
    snprintf(f->hash, sizeof f->hash, "%s", hash);
    snprintf(f->message, sizeof f->message, "%.199s", message);
    f->until_ms = clock_monotonic_ms() + PAUSE_AFTER_FAILURE_MS;
    pthread_mutex_unlock(&store->lock);
}

static bool begin(image_store *store) {
    pthread_mutex_lock(&store->lock);
    bool ok = store->running < store->options.parallel;
    store->running += ok;
    pthread_mutex_unlock(&store->lock);
    return ok;
}

static void end(image_store *store) {
    pthread_mutex_lock(&store->lock);
    store->running--;
    pthread_mutex_unlock(&store->lock);
}

/* ---- making ---------------------------------------------------------------------------------------- */

static char *url_for(const image_store *store, const char *hash) {
    DSTACK_AUTO(buf) dstack_buf url = {0};
    const char *at = strstr(store->url, IMAGE_STORE_PLACE);
    if (at == NULL) {
        return NULL;
    }
    buf_put(&url, store->url, (size_t)(at - store->url));
    buf_put_fmt(&url, "%s%s", hash, at + strlen(IMAGE_STORE_PLACE));
    return buf_detach_text(&url);
}

/* Into a folder below tmp that has its final content when this returns 0. */
static int make_folder(const image_store *store, int tmp, const char *name, const char *hash,
                       int64_t deadline, dstack_error *err) {
    DSTACK_AUTO(str) char *url = url_for(store, hash);
    DSTACK_AUTO(fd) int dir = openat(tmp, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    /* nameless: gone whatever happens */
    DSTACK_AUTO(fd) int archive = openat(tmp, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (url == NULL || dir < 0 || archive < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot write the image cache");
    }
    int64_t left = deadline - clock_monotonic_ms();
    int rc = left > 0 ? image_fetch(url, archive, store->options.download_max, left, err)
                      : error_set(err, DSTACK_E_TIMEOUT, "Download image timeout");
    if (rc == 0 && lseek(archive, 0, SEEK_SET) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot read the archive again");
    }
    rc = rc != 0 ? rc : image_unpack(archive, dir, store->options.unpacked_max, err);
    rc = rc != 0 ? rc : image_settle(dir, hash, err);
    return rc != 0 || fsync(dir) == 0 ? rc : error_set_errno(err, DSTACK_E_IO, "cannot write");
}

static int make_image(image_store *store, int images, const char *hash, int64_t deadline,
                      dstack_error *err) {
    DSTACK_AUTO(fd)
    int tmp = openat(images, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    /* the hash's lock is ours: nobody else uses this name */
    if (tmp < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot write the image cache");
    }
    remove_folder(tmp, hash); /* what a crash left */
    if (mkdirat(tmp, hash, 0700) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot write the image cache");
    }
    int rc = make_folder(store, tmp, hash, hash, deadline, err);
    if (rc == 0 && renameat(tmp, hash, images, hash) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot write the image cache");
    }
    if (rc != 0) {
        remove_folder(tmp, hash);
    }
    return rc;
}

static bool is_before(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* Makes room: the image that was used longest ago goes, unless somebody is reading it. */
static void remove_oldest(const image_store *store, int images, const char *except) {
    int fd = openat(images, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DSTACK_AUTO(dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    char oldest[65] = "";
    struct timespec oldest_time = {0};
    size_t count = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        if (strlen(entry->d_name) != 64 ||
            fstatat(images, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        count++;
        if (strcmp(entry->d_name, except) != 0 &&
            (oldest[0] == '\0' || is_before(&info.st_mtim, &oldest_time))) {
            memcpy(oldest, entry->d_name, sizeof oldest);
            oldest_time = info.st_mtim;
        }
    }
    DSTACK_AUTO(fd) int lock = -1;
    if (count > store->options.keep && oldest[0] != '\0' &&
        take_lock(images, oldest, LOCK_EX, 0, &lock, NULL) == 0) {
        remove_folder(images, oldest);
        remove_lock(images, oldest);
    }
}

static int download(image_store *store, int images, const char *hash, int64_t deadline,
                    dstack_error *err) {
    int rc = recall_failure(store, hash, err);
    if (rc != 0) {
        return rc;
    }
    if (!begin(store)) {
        return error_set(err, DSTACK_E_LIMIT, "too many downloads are under way");
    }
    rc = make_image(store, images, hash, deadline, err);
    end(store);
    if (rc != 0) {
        note_failure(store, hash, err->message);
    }
    return rc;
}

/* With the exclusive lock held. */
static int make_once(image_store *store, int images, const char *hash, int64_t deadline,
                     dstack_error *err) {
    if (is_there(images, hash)) {
        return 0; /* whoever had the lock before us made it */
    }
    int rc = download(store, images, hash, deadline, err);
    if (rc != 0) {
        remove_lock(images, hash); /* names that lead to nothing leave nothing */
        return rc;
    }
    LOG_INFO("image downloaded", "hash", hash);
    remove_oldest(store, images, hash);
    return 0;
}

static int read_metadata(image_lease *lease, dstack_error *err) {
    char path[PATH_MAX + 16];
    DSTACK_AUTO(buf) dstack_buf text = {0};
    snprintf(path, sizeof path, "%s/metadata.json", lease->path);
    int rc = file_read(path, METADATA_MAX, &text, err);
    DSTACK_AUTO(json)
    json_t *metadata =
        rc == 0 ? json_parse(bytes_of_buf(&text), METADATA_MAX, "metadata.json", err) : NULL;
    if (metadata == NULL) {
        return rc != 0 ? rc : DSTACK_E_FORMAT;
    }
    const char *version = "";
    rc = json_str_or(metadata, "version", "", &version, err);
    rc = rc != 0 ? rc : json_bool_or(metadata, "is_dev", false, &lease->is_dev, err);
    snprintf(lease->version, sizeof lease->version, "%.31s", version);
    return rc;
}

static int take(image_store *store, const char *hash, image_lease *out, dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + store->options.timeout_ms;
    DSTACK_AUTO(fd) int images = open_images(store, err);
    if (images < 0) {
        return images;
    }
    int rc = 0;
    if (!is_there(images, hash)) {
        DSTACK_AUTO(fd) int maker = -1;
        rc = take_lock(images, hash, LOCK_EX, deadline, &maker, err);
        rc = rc != 0 ? rc : make_once(store, images, hash, deadline, err);
    }
    rc = rc != 0 ? rc : take_lock(images, hash, LOCK_SH, deadline, &out->lock, err);
    if (rc == 0 && !is_there(images, hash)) {
        rc = error_set(err, DSTACK_E_STATE, "it was removed to make room for others");
    }
    if (rc == 0) {
        futimens(out->lock, NULL);
        (void)utimensat(images, hash, NULL, AT_SYMLINK_NOFOLLOW); /* used now */
        snprintf(out->path, sizeof out->path, "%s/images/%s", store->cache_dir, hash);
        rc = read_metadata(out, err);
    }
    return rc;
}

int image_store_take(image_store *store, const char *hash, image_lease *out, dstack_error *err) {
    dstack_error local = {0};
    dstack_error *e = err != NULL ? err : &local;
    *out = (image_lease){.lock = -1};
    int rc = strlen(hash) == 64 && strspn(hash, "0123456789abcdef") == 64
                 ? take(store, hash, out, e)
                 : error_set(e, DSTACK_E_ARGUMENT, "os_image_hash must be 32 bytes");
    if (rc != 0) {
        image_lease_release(out);
    }
    return error_prefix(e, rc, "Failed to download image %.80s", hash);
}

void image_lease_release(image_lease *lease) {
    if (lease->lock >= 0) {
        close(lease->lock); /* and with it the lock */
    }
    lease->lock = -1;
}
