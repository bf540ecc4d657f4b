#include "serve/caller.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "serve/engine.h"

#define CGROUP_MAX 65536
#define KNOWN_MAX 64

typedef struct known_container {
    char id[CALLER_CONTAINER_ID_LEN + 1];
    caller who;
} known_container;

struct caller_book {
    char proc[128], engine[128];
    pthread_mutex_t lock;
    known_container known[KNOWN_MAX];
    size_t next; /* slot that the next one takes */
};

caller_book *caller_book_new(const char *proc, const char *engine) {
    caller_book *book = calloc(1, sizeof *book);
    if (book != NULL) {
        snprintf(book->proc, sizeof book->proc, "%s", proc);
        snprintf(book->engine, sizeof book->engine, "%s", engine);
        pthread_mutex_init(&book->lock, NULL);
    }
    return book;
}

void caller_book_free(caller_book *book) {
    if (book != NULL) {
        pthread_mutex_destroy(&book->lock);
        free(book);
    }
}

/* ---- the control group ----------------------------------------------------------------------- */

/* "docker-ID.scope" (systemd's groups), or "ID" below "docker" (the engine's own). */
static bool is_container(dstack_bytes part, dstack_bytes parent, char *id) {
    static const char prefix[] = "docker-", suffix[] = ".scope";
    const size_t before = sizeof prefix - 1, after = sizeof suffix - 1;
    const char *text = (const char *)part.data;
    if (part.len == before + CALLER_CONTAINER_ID_LEN + after && memcmp(text, prefix, before) == 0 &&
        memcmp(text + part.len - after, suffix, after) == 0) {
        text += before;
    } else if (part.len != CALLER_CONTAINER_ID_LEN ||
               !bytes_equal(parent, bytes_of_str("docker"))) {
        return false;
    }
    memcpy(id, text, CALLER_CONTAINER_ID_LEN);
    id[CALLER_CONTAINER_ID_LEN] = '\0';
    return strspn(id, "0123456789abcdef") == CALLER_CONTAINER_ID_LEN;
}

static bool container_of_path(dstack_bytes path, char *id) {
    dstack_bytes parent = {0};
    for (size_t start = 0; start < path.len;) {
        const uint8_t *slash = memchr(path.data + start, '/', path.len - start);
        size_t end = slash == NULL ? path.len : (size_t)(slash - path.data);
        dstack_bytes part = bytes_of(path.data + start, end - start);
        if (is_container(part, parent, id)) {
            return true;
        }
        parent = part;
        start = end + 1;
    }
    return false;
}

bool caller_container_of(dstack_bytes cgroup, char id[CALLER_CONTAINER_ID_LEN + 1]) {
    /* Lines are "hierarchy:controllers:path"; the unified hierarchy is number 0. */
    static const char unified[] = "0::";
    for (size_t start = 0; start < cgroup.len;) {
        const uint8_t *newline = memchr(cgroup.data + start, '\n', cgroup.len - start);
        size_t end = newline == NULL ? cgroup.len : (size_t)(newline - cgroup.data);
        const uint8_t *line = cgroup.data + start;
        size_t len = end - start;
        if (len > 3 && memcmp(line, unified, 3) == 0) {
            return container_of_path(bytes_of(line + 3, len - 3), id);
        }
        start = end + 1;
    }
    return false;
}

/* ---- the process ----------------------------------------------------------------------------- */

/* Also false for a process that has ended and waits for its parent. */
static bool process_lives(int pidfd) {
    struct pollfd ask = {.fd = pidfd, .events = POLLIN};
    int n;
    do {
        n = poll(&ask, 1, 0);
    } while (n < 0 && errno == EINTR);
    return n == 0;
}

static bool namespace_read(const char *proc, const char *process, const char *name, char out[64]) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s/ns/%s", proc, process, name);
    ssize_t len = readlink(path, out, 63);
    if (len <= 0) {
        return false;
    }
    out[len] = '\0';
    return true;
}

/* Every container has file systems of its own. */
static bool shares_our_files(const caller_book *book, const char *process) {
    char ours[64], theirs[64];
    return namespace_read(book->proc, "self", "mnt", ours) &&
           namespace_read(book->proc, process, "mnt", theirs) && strcmp(ours, theirs) == 0;
}

/* ---- the container --------------------------------------------------------------------------- */

static bool book_find(caller_book *book, const char *id, caller *out) {
    bool found = false;
    pthread_mutex_lock(&book->lock);
    for (size_t i = 0; !found && i < KNOWN_MAX; i++) {
        if (strcmp(book->known[i].id, id) == 0) {
            *out = book->known[i].who;
            found = true;
        }
    }
    pthread_mutex_unlock(&book->lock);
    return found;
}

static void book_note(caller_book *book, const char *id, const caller *who) {
    pthread_mutex_lock(&book->lock);
    known_container *slot = &book->known[book->next];
    book->next = (book->next + 1) % KNOWN_MAX;
    memcpy(slot->id, id, sizeof slot->id);
    slot->who = *who;
    pthread_mutex_unlock(&book->lock);
}

static const char *label(const json_t *labels, const char *name) {
    const char *text = json_string_value(json_object_get(labels, name));
    return text == NULL ? "" : text;
}

/* A container keeps its id and labels as long as it exists, and no id comes twice. */
static int container_identify(caller_book *book, const char *id, caller *out, dstack_error *err) {
    if (book_find(book, id, out)) {
        return 0;
    }
    DSTACK_AUTO(json) json_t *container = NULL;
    int rc = engine_container(book->engine, id, &container, err);
    if (rc != 0) {
        return rc;
    }
    const json_t *labels = json_object_get(json_object_get(container, "Config"), "Labels");
    const char *service = label(labels, "com.docker.compose.service");
    if (strcmp(label(container, "Id"), id) != 0) {
        return error_set(err, DSTACK_E_FORMAT, "the engine answered for another container");
    }
    *out = (caller){.kind = CALLER_STRANGER};
    if (strcmp(label(labels, "com.docker.compose.project"), CALLER_PROJECT) == 0 &&
        *service != '\0' && strlen(service) < sizeof out->service) {
        out->kind = CALLER_SERVICE;
        strcpy(out->service, service);
    }
    book_note(book, id, out);
    return 0;
}

int caller_identify(caller_book *book, const caller_process *process, caller *out,
                    dstack_error *err) {
    char name[16], path[256], id[CALLER_CONTAINER_ID_LEN + 1];
    DSTACK_AUTO(buf) dstack_buf cgroup = {0};
    *out = (caller){.kind = CALLER_STRANGER};
    if (process->pid <= 0 || process->pidfd < 0) {
        return error_set(err, DSTACK_E_REFUSED, "the calling process cannot be told");
    }
    snprintf(name, sizeof name, "%d", (int)process->pid);
    snprintf(path, sizeof path, "%s/%s/cgroup", book->proc, name);
    int rc = file_read(path, CGROUP_MAX, &cgroup, NULL);
    bool guest = process->uid == 0 && shares_our_files(book, name);
    bool contained = rc == 0 && caller_container_of(bytes_of_buf(&cgroup), id);
    /* Only now is it known that what was read was this process's. */
    if (rc != 0 || !process_lives(process->pidfd)) {
        return error_set(err, DSTACK_E_REFUSED, "the calling process is gone");
    }
    if (contained) {
        return container_identify(book, id, out, err);
    }
    out->kind = guest ? CALLER_GUEST : CALLER_STRANGER;
    return 0;
}
