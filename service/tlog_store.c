#include "service/tlog_store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/ed25519.h"
#include "tlog/tlog.h"

#define TILE 256
#define LEVELS 7
#define ENTRIES (-1) /* as a level: the tiles that hold the entries */
#define TILE_BYTES_MAX ((size_t)TILE * (2 + DSTACK_TLOG_ENTRY_MAX))

struct tlog_store {
    char *dir;
    dstack_tlog_key key;
    dstack_secret *seed;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t done;
    tlog_frontier tree; /* of what is on disk and signed */
    dstack_buf checkpoint;
    dstack_buf pending; /* entries with their lengths, waiting for the writer */
    uint64_t queued;    /* number of entries ever taken, those waiting included */
    bool writing;
    dstack_error broken; /* status 0: not */
};

/* ---- paths ------------------------------------------------------------------------------------
 */

static char *tile_path(const tlog_store *store, int level, uint64_t number) {
    dstack_buf path = {0};
    if (level == ENTRIES) {
        buf_put_fmt(&path, "%s/tile/entries/", store->dir);
    } else {
        buf_put_fmt(&path, "%s/tile/%d/", store->dir, level);
    }
    tlog_put_tile(&path, number);
    return buf_detach_text(&path);
}

static int no_memory(dstack_error *err) {
    return error_set(err, DSTACK_E_MEMORY, "out of memory");
}

/* Opens a tile for writing; its folders are made where a new one begins. */
static int open_tile(const tlog_store *store, int level, uint64_t number, bool begins, int *fd,
                     dstack_error *err) {
    DSTACK_AUTO(str) char *path = tile_path(store, level, number);
    if (path == NULL) {
        return no_memory(err);
    }
    char *slash = strrchr(path, '/');
    *slash = 0;
    int rc = begins ? file_make_dirs(path, 0755, err) : 0;
    *slash = '/';
    *fd = rc == 0 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
    return rc != 0 || *fd >= 0 ? rc : error_set_errno(err, DSTACK_E_IO, "cannot open %s", path);
}

/* ---- hash tiles -------------------------------------------------------------------------------
 */

static int read_hashes(const tlog_store *store, int level, uint64_t number, size_t count,
                       dstack_tlog_hash *out, dstack_error *err) {
    DSTACK_AUTO(str) char *path = tile_path(store, level, number);
    DSTACK_AUTO(buf) dstack_buf content = {0};
    int rc = path != NULL ? file_read(path, sizeof *out * TILE, &content, err) : no_memory(err);
    if (rc == 0 && content.len < count * sizeof *out) {
        rc = error_set(err, DSTACK_E_STATE, "%s is too short", path);
    }
    if (rc == 0) {
        memcpy(out, content.data, count * sizeof *out);
    }
    return rc;
}

static int write_hash(const tlog_store *store, int level, uint64_t index,
                      const dstack_tlog_hash *hash, bool sync, dstack_error *err) {
    DSTACK_AUTO(fd) int fd = -1;
    int rc = open_tile(store, level, index / TILE, index % TILE == 0, &fd, err);
    off_t at = (off_t)(index % TILE * sizeof *hash);
    if (rc == 0 && (pwrite(fd, hash->bytes, sizeof *hash, at) != sizeof *hash ||
                    (sync && fdatasync(fd) != 0))) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot write the log's hashes");
    }
    return rc;
}

/* The hashes over the tile that has just become full, level by level upwards. */
static int raise_tile(const tlog_store *store, uint64_t size, dstack_error *err) {
    int rc = 0;
    for (int level = 1; rc == 0 && level <= LEVELS; level++) {
        uint64_t count = size >> (8 * level);
        if (count == 0 || size % ((uint64_t)1 << (8 * level)) != 0) {
            break;
        }
        dstack_tlog_hash below[TILE], root;
        rc = read_hashes(store, level - 1, count - 1, TILE, below, err);
        if (rc == 0) {
            dstack_tlog_root(below, TILE, &root);
            rc = write_hash(store, level, count - 1, &root, true, err);
        }
    }
    return rc;
}

/* The tree at any size up to the present one, from the right edge of each level. */
static int tree_at(const tlog_store *store, uint64_t size, tlog_frontier *out, dstack_error *err) {
    *out = (tlog_frontier){.size = size};
    for (int level = 0; level <= LEVELS; level++) {
        size_t count = size >> (8 * level) & (TILE - 1);
        dstack_tlog_hash hashes[TILE];
        tlog_frontier edge = {0};
        int rc =
            count > 0 ? read_hashes(store, level, size >> (8 * level) >> 8, count, hashes, err) : 0;
        if (rc != 0) {
            return rc;
        }
        for (size_t i = 0; i < count; i++) {
            tlog_frontier_add(&edge, &hashes[i]);
        }
        memcpy(&out->peaks[8 * level], edge.peaks, 8 * sizeof edge.peaks[0]);
    }
    return 0;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static char *path_of(const tlog_store *store, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%s/%s", store->dir, name) >= 0 ? path : NULL;
}

static int make_key(tlog_store *store, const char *origin, const char *key_path,
                    const char *public_path, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    store->seed = dstack_secret_new(ED25519_SEED_SIZE);
    if (store->seed == NULL) {
        return no_memory(err);
    }
    randombytes_buf(dstack_secret_data(store->seed), ED25519_SEED_SIZE);
    snprintf(store->key.name, sizeof store->key.name, "%s", origin);
    int rc = ed25519_public(dstack_secret_peek(store->seed), store->key.public_key, err);
    rc = rc != 0 ? rc : dstack_tlog_key_text(&store->key, &text, err);
    buf_put_str(&text, "\n");
    rc = rc != 0 ? rc : file_write_atomic(public_path, bytes_of_buf(&text), 0644, err);
    /* The key last: a folder with a key is a log. */
    return rc != 0 ? rc
                   : file_write_atomic(key_path,
                                       bytes_of(dstack_secret_peek(store->seed), ED25519_SEED_SIZE),
                                       0600, err);
}

static int read_key(tlog_store *store, const char *key_path, const char *public_path,
                    dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_buf seed = {0};
    uint8_t public_key[32];
    buf_reserve(&seed, ED25519_SEED_SIZE + 1);
    int rc = file_read(key_path, ED25519_SEED_SIZE, &seed, err);
    if (rc == 0 && seed.len != ED25519_SEED_SIZE) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s must hold %d bytes", key_path, ED25519_SEED_SIZE);
    }
    store->seed = rc == 0 ? dstack_secret_copy(seed.data, seed.len) : NULL;
    buf_wipe(&seed);
    rc = rc == 0 && store->seed == NULL ? no_memory(err) : rc;
    rc = rc != 0 ? rc : file_read(public_path, 1024, &text, err);
    rc = rc != 0 ? rc : dstack_tlog_key_parse(bytes_of_buf(&text), &store->key, err);
    rc = rc != 0 ? rc : ed25519_public(dstack_secret_peek(store->seed), public_key, err);
    if (rc == 0 && memcmp(public_key, store->key.public_key, 32) != 0) {
        rc = error_set(err, DSTACK_E_STATE, "%s is not the key of %s", key_path, public_path);
    }
    return rc;
}

static int open_key(tlog_store *store, const char *origin, dstack_error *err) {
    DSTACK_AUTO(str) char *key_path = path_of(store, "log.key");
    DSTACK_AUTO(str) char *public_path = path_of(store, "log.pub");
    DSTACK_AUTO(str) char *first = tile_path(store, ENTRIES, 0);
    if (key_path == NULL || public_path == NULL || first == NULL) {
        return no_memory(err);
    }
    if (access(key_path, F_OK) == 0) {
        return read_key(store, key_path, public_path, err);
    }
    if (access(first, F_OK) == 0) {
        return error_set(err, DSTACK_E_STATE, "%s holds a log, but not its key", store->dir);
    }
    return make_key(store, origin, key_path, public_path, err);
}

/* Reads the entries of the last tile, cuts off a torn one, and writes their hashes again. */
static int recover_tile(tlog_store *store, uint64_t number, uint64_t *size, dstack_error *err) {
    DSTACK_AUTO(str) char *path = tile_path(store, ENTRIES, number);
    DSTACK_AUTO(buf) dstack_buf content = {0};
    int rc = path != NULL ? file_read(path, TILE_BYTES_MAX, &content, err) : no_memory(err);
    cursor c = cursor_init(bytes_of_buf(&content));
    size_t whole = 0;
    *size = number * TILE;
    while (rc == 0 && cursor_left(&c) > 0) {
        dstack_tlog_hash leaf;
        dstack_bytes entry = cursor_take(&c, cursor_u16be(&c));
        if (!cursor_ok(&c)) {
            break;
        }
        dstack_tlog_leaf(entry, &leaf);
        rc = write_hash(store, 0, (*size)++, &leaf, false, err);
        whole = c.pos;
    }
    if (rc == 0 && whole < content.len && truncate(path, (off_t)whole) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot cut %s", path);
    }
    return rc;
}

static int recover(tlog_store *store, uint64_t *size, dstack_error *err) {
    uint64_t tiles = 0;
    int rc = 0;
    for (;; tiles++) {
        DSTACK_AUTO(str) char *path = tile_path(store, ENTRIES, tiles);
        if (path == NULL) {
            return no_memory(err);
        }
        if (access(path, F_OK) != 0) {
            break;
        }
    }
    *size = 0;
    rc = tiles > 0 ? recover_tile(store, tiles - 1, size, err) : 0;
    /* The last hash of each level may be missing; those before it were synced. */
    return rc == 0 && *size >= TILE ? raise_tile(store, *size / TILE * TILE, err) : rc;
}

/* What was signed before must be a beginning of what is here. */
static int check_signed(const tlog_store *store, uint64_t size, dstack_error *err) {
    DSTACK_AUTO(str) char *path = path_of(store, "checkpoint");
    DSTACK_AUTO(buf) dstack_buf note = {0};
    dstack_tlog_checkpoint old;
    dstack_tlog_hash root;
    tlog_frontier tree;
    if (path == NULL || access(path, F_OK) != 0) {
        return path == NULL ? no_memory(err) : 0;
    }
    int rc = file_read(path, (size_t)64 << 10, &note, err);
    rc = rc != 0 ? rc : dstack_tlog_checkpoint_open(bytes_of_buf(&note), &store->key, &old, err);
    if (rc == 0 && old.size > size) {
        return error_set(err, DSTACK_E_STATE,
                         "the log in %s has lost entries: %llu were signed, %llu are there",
                         store->dir, (unsigned long long)old.size, (unsigned long long)size);
    }
    rc = rc != 0 ? rc : tree_at(store, old.size, &tree, err);
    if (rc == 0) {
        tlog_frontier_root(&tree, &root);
        if (memcmp(root.bytes, old.root.bytes, sizeof root.bytes) != 0) {
            rc = error_set(err, DSTACK_E_STATE, "the log in %s is not the one that was signed",
                           store->dir);
        }
    }
    return rc;
}

/* Signs the present tree. The file needs no sync: it can be made again from the entries, which are
 * on disk already. */
static int sign_tree(tlog_store *store, const tlog_frontier *tree, dstack_buf *note,
                     dstack_error *err) {
    dstack_tlog_checkpoint checkpoint = {.size = tree->size};
    DSTACK_AUTO(str) char *path = path_of(store, "checkpoint");
    DSTACK_AUTO(str) char *fresh = path_of(store, "checkpoint.new");
    memcpy(checkpoint.origin, store->key.name, sizeof checkpoint.origin);
    tlog_frontier_root(tree, &checkpoint.root);
    int rc = path != NULL && fresh != NULL
                 ? dstack_tlog_checkpoint_sign(&checkpoint, store->seed, note, err)
                 : no_memory(err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(fd) int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, note->data, note->len) != (ssize_t)note->len ||
        rename(fresh, path) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot write %s", path);
    }
    return 0;
}

int tlog_store_open(tlog_store **out, const char *dir, const char *origin, dstack_error *err) {
    DSTACK_AUTO(tlog_store) tlog_store *store = calloc(1, sizeof *store);
    uint64_t size = 0;
    if (store == NULL || (store->dir = strdup(dir)) == NULL) {
        return no_memory(err);
    }
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->done, NULL);
    int rc = sodium_init() >= 0 ? file_make_dirs(dir, 0700, err) : DSTACK_E_INTERNAL;
    rc = rc != 0 ? rc : open_key(store, origin, err);
    rc = rc != 0 ? rc : recover(store, &size, err);
    rc = rc != 0 ? rc : tree_at(store, size, &store->tree, err);
    rc = rc != 0 ? rc : check_signed(store, size, err);
    rc = rc != 0 ? rc : sign_tree(store, &store->tree, &store->checkpoint, err);
    store->queued = size;
    if (rc == 0) {
        *out = store;
        store = NULL;
    }
    return rc != 0 ? error_prefix(err, rc, "audit log") : 0;
}

void tlog_store_free(tlog_store *store) {
    if (store != NULL) {
        if (store->dir != NULL) {
            pthread_mutex_destroy(&store->lock);
            pthread_cond_destroy(&store->done);
        }
        dstack_secret_free(store->seed);
        dstack_buf_clear(&store->checkpoint);
        dstack_buf_clear(&store->pending);
        free(store->dir);
        free(store);
    }
}

/* ---- appending --------------------------------------------------------------------------------
 */

/* Writes the entries at `c` up to the end of a tile, with one sync. */
static int write_tile(tlog_store *store, tlog_frontier *tree, cursor *c, dstack_error *err) {
    uint64_t first = tree->size;
    const uint8_t *begin = c->data + c->pos;
    size_t from = c->pos;
    DSTACK_AUTO(fd) int fd = -1;
    int rc = open_tile(store, ENTRIES, first / TILE, first % TILE == 0, &fd, err);
    dstack_tlog_hash leaves[TILE];
    size_t count = 0;
    while (cursor_left(c) > 0 && (first + count) / TILE == first / TILE) {
        dstack_tlog_leaf(cursor_take(c, cursor_u16be(c)), &leaves[count++]);
    }
    size_t len = c->pos - from;
    if (rc == 0 && (lseek(fd, 0, SEEK_END) < 0 || write(fd, begin, len) != (ssize_t)len ||
                    fdatasync(fd) != 0)) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot write the log");
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = write_hash(store, 0, tree->size, &leaves[i], (tree->size + 1) % TILE == 0, err);
        tlog_frontier_add(tree, &leaves[i]);
    }
    return rc == 0 && tree->size % TILE == 0 ? raise_tile(store, tree->size, err) : rc;
}

static int write_batch(tlog_store *store, tlog_frontier *tree, dstack_bytes entries,
                       dstack_buf *note, dstack_error *err) {
    cursor c = cursor_init(entries);
    int rc = 0;
    while (rc == 0 && cursor_left(&c) > 0) {
        rc = write_tile(store, tree, &c, err);
    }
    return rc != 0 ? rc : sign_tree(store, tree, note, err);
}

/* With the lock held: writes whatever waits, also what comes meanwhile. */
static void write_pending(tlog_store *store) {
    store->writing = true;
    while (store->pending.len > 0 && store->broken.status == 0) {
        DSTACK_AUTO(buf) dstack_buf entries = store->pending;
        dstack_buf note = {0};
        tlog_frontier tree = store->tree;
        dstack_error err = {0};
        store->pending = (dstack_buf){0};
        pthread_mutex_unlock(&store->lock);
        int rc = write_batch(store, &tree, bytes_of_buf(&entries), &note, &err);
        pthread_mutex_lock(&store->lock);
        if (rc == 0) {
            store->tree = tree;
            dstack_buf_clear(&store->checkpoint);
            store->checkpoint = note;
        } else {
            store->broken = err;
            dstack_buf_clear(&note);
        }
        pthread_cond_broadcast(&store->done);
    }
    store->writing = false;
}

int tlog_store_append(tlog_store *store, dstack_bytes entry, uint64_t *index, dstack_error *err) {
    if (entry.len == 0 || entry.len > DSTACK_TLOG_ENTRY_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "a log entry has 1 to %d bytes",
                         DSTACK_TLOG_ENTRY_MAX);
    }
    pthread_mutex_lock(&store->lock);
    buf_put_u16be(&store->pending, (uint16_t)entry.len);
    buf_put_bytes(&store->pending, entry);
    if (store->broken.status == 0 && store->pending.failed) {
        (void)error_set(&store->broken, DSTACK_E_MEMORY, "out of memory");
    }
    uint64_t mine = store->queued++;
    if (!store->writing) {
        write_pending(store);
    }
    while (store->tree.size <= mine && store->broken.status == 0) {
        pthread_cond_wait(&store->done, &store->lock);
    }
    bool kept = store->tree.size > mine;
    dstack_error broken = store->broken;
    pthread_mutex_unlock(&store->lock);
    if (index != NULL) {
        *index = mine;
    }
    return kept ? 0 : error_set(err, broken.status, "%s", broken.message);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

const dstack_tlog_key *tlog_store_key(const tlog_store *store) {
    return &store->key;
}

uint64_t tlog_store_size(tlog_store *store) {
    pthread_mutex_lock(&store->lock);
    uint64_t size = store->tree.size;
    pthread_mutex_unlock(&store->lock);
    return size;
}

int tlog_store_checkpoint(tlog_store *store, dstack_buf *out, dstack_error *err) {
    pthread_mutex_lock(&store->lock);
    buf_put_bytes(out, bytes_of_buf(&store->checkpoint));
    pthread_mutex_unlock(&store->lock);
    return buf_check(out, err);
}

static int not_there(dstack_error *err) {
    return error_set(err, DSTACK_E_NOT_FOUND, "the log has nothing of that name");
}

/* Three digits. */
static bool take_digits(const char **text, uint64_t *number) {
    const char *t = *text;
    if (!isdigit((unsigned char)t[0]) || !isdigit((unsigned char)t[1]) ||
        !isdigit((unsigned char)t[2])) {
        return false;
    }
    *number = *number * 1000 + (uint64_t)((t[0] - '0') * 100 + (t[1] - '0') * 10 + (t[2] - '0'));
    *text = t + 3;
    return true;
}

/* "<level or entries>/<number>[.p/<width>]"; a full tile has width 256. */
static bool parse_tile(const char *text, int *level, uint64_t *number, size_t *width) {
    *number = 0;
    *width = TILE;
    if (strncmp(text, "entries/", 8) == 0) {
        *level = ENTRIES;
        text += 8;
    } else if (text[0] >= '0' && text[0] <= '0' + LEVELS && text[1] == '/') {
        *level = text[0] - '0';
        text += 2;
    } else {
        return false;
    }
    for (unsigned parts = 0; text[0] == 'x'; parts++) {
        text++;
        if (parts >= 4 || !take_digits(&text, number) || *text++ != '/') {
            return false;
        }
    }
    if (!take_digits(&text, number)) {
        return false;
    }
    if (strncmp(text, ".p/", 3) == 0 && text[3] >= '1' && text[3] <= '9') {
        char *end;
        unsigned long value = strtoul(text + 3, &end, 10);
        *width = value;
        text = end;
        return *text == 0 && value < TILE;
    }
    return *text == 0;
}

/* Bytes of the first `width` entries; 0 when there are fewer. */
static size_t entries_len(dstack_bytes content, size_t width) {
    cursor c = cursor_init(content);
    for (size_t i = 0; i < width; i++) {
        cursor_skip(&c, cursor_u16be(&c));
    }
    return cursor_ok(&c) ? c.pos : 0;
}

int tlog_store_read(tlog_store *store, const char *path, dstack_buf *out, dstack_error *err) {
    int level;
    uint64_t number;
    size_t width;
    if (strcmp(path, "checkpoint") == 0) {
        return tlog_store_checkpoint(store, out, err);
    }
    if (strncmp(path, "tile/", 5) != 0 || !parse_tile(path + 5, &level, &number, &width)) {
        return not_there(err);
    }
    /* Only what a checkpoint covers. */
    uint64_t size = tlog_store_size(store) >> (level == ENTRIES ? 0 : 8 * level);
    if (number > size / TILE || number * TILE + width > size) {
        return not_there(err);
    }
    DSTACK_AUTO(str) char *file = tile_path(store, level, number);
    DSTACK_AUTO(buf) dstack_buf content = {0};
    int rc = file != NULL ? file_read(file, TILE_BYTES_MAX, &content, err) : no_memory(err);
    size_t len = level == ENTRIES ? entries_len(bytes_of_buf(&content), width)
                                  : width * DSTACK_TLOG_HASH_SIZE;
    if (rc == 0 && (len == 0 || len > content.len)) {
        rc = error_set(err, DSTACK_E_STATE, "%s is too short", file);
    }
    if (rc == 0) {
        buf_put_bytes(out, bytes_of(content.data, len));
        rc = buf_check(out, err);
    }
    return rc;
}

int tlog_store_entry(tlog_store *store, uint64_t index, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(str) char *file = tile_path(store, ENTRIES, index / TILE);
    DSTACK_AUTO(buf) dstack_buf content = {0};
    if (index >= tlog_store_size(store)) {
        return not_there(err);
    }
    int rc = file != NULL ? file_read(file, TILE_BYTES_MAX, &content, err) : no_memory(err);
    cursor c = cursor_init(bytes_of_buf(&content));
    dstack_bytes entry = {0};
    for (uint64_t i = 0; i <= index % TILE; i++) {
        entry = cursor_take(&c, cursor_u16be(&c));
    }
    if (rc == 0 && !cursor_ok(&c)) {
        rc = error_set(err, DSTACK_E_STATE, "%s is too short", file);
    }
    if (rc == 0) {
        buf_put_bytes(out, entry);
        rc = buf_check(out, err);
    }
    return rc;
}
