/* Automatic release at scope exit: `DSTACK_AUTO(buf) dstack_buf out = {0};` calls
 * auto_buf(&out), which every owner of a type defines with DSTACK_AUTO_DEFINE. */
#ifndef BASE_AUTO_H
#define BASE_AUTO_H

#include <dstack/bytes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"

#define DSTACK_AUTO(name) __attribute__((cleanup(auto_##name)))

/* For a pointer type released by free_fn(pointer): the variable is of type `type *`. */
#define DSTACK_AUTO_DEFINE(name, type, free_fn)                                                    \
    static inline void auto_##name(type **p) {                                                     \
        if (*p != NULL) {                                                                          \
            free_fn(*p);                                                                           \
        }                                                                                          \
    }

/* For a struct cleared in place by clear_fn(&struct). */
#define DSTACK_AUTO_DEFINE_CLEAR(name, type, clear_fn)                                             \
    static inline void auto_##name(type *p) {                                                      \
        clear_fn(p);                                                                               \
    }

DSTACK_AUTO_DEFINE_CLEAR(buf, dstack_buf, dstack_buf_clear)
/* A buffer that held a secret. */
DSTACK_AUTO_DEFINE_CLEAR(wiped_buf, dstack_buf, buf_wipe)
DSTACK_AUTO_DEFINE(secret, dstack_secret, dstack_secret_free)
DSTACK_AUTO_DEFINE(json, json_t, json_decref)
DSTACK_AUTO_DEFINE(file, FILE, fclose)

/* char *text */
static inline void auto_str(char **p) {
    free(*p);
}

/* int fd, -1 when not open */
static inline void auto_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

#endif
