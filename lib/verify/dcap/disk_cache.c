#include "verify/dcap/disk_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "verify/dcap/collateral.h"

#define FORMAT_VERSION 1
#define SUFFIX ".json"
/* The record holds the bundle and a few short members. */
#define RECORD_MAX ((size_t)DSTACK_COLLATERAL_MAX_SIZE + 4096)

DSTACK_AUTO_DEFINE(dir, DIR, closedir)

void disk_cache_bundle_name(char out[DISK_CACHE_NAME_SIZE], const char *family,
                            const uint8_t fmspc[6], const char *ca, const char *update) {
    char hex[13];
    hex_encode(bytes_of(fmspc, 6), hex);
    snprintf(out, DISK_CACHE_NAME_SIZE, "%s-%s-%s-%s" SUFFIX, family, hex, ca, update);
}

void disk_cache_chain_name(char out[DISK_CACHE_NAME_SIZE], dstack_bytes certification_data) {
    uint8_t digest[HASH_SHA256_SIZE];
    char hex[2 * HASH_SHA256_SIZE + 1];
    hash_sha256(certification_data, digest);
    hex_encode(bytes_of(digest, sizeof digest), hex);
    snprintf(out, DISK_CACHE_NAME_SIZE, "pck-%s" SUFFIX, hex);
}

/* ---- reading ---- */

static int not_there(const char *name, const char *why, dstack_error *err) {
    return error_set(err, DSTACK_E_NOT_FOUND, "kept collateral %s: %s", name, why);
}

static json_t *read_record(const char *dir, const char *name, int64_t *fetched, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0}, text = {0};
    int64_t version = 0;
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *file = buf_text(&path);
    json_t *record = NULL;
    if (file != NULL && file_read(file, RECORD_MAX, &text, err) == 0) {
        record = json_parse(bytes_of_buf(&text), RECORD_MAX, name, err);
    }
    if (record != NULL &&
        (json_need_int(record, "version", &version, err) != 0 || version != FORMAT_VERSION ||
         json_need_int(record, "fetched", fetched, err) != 0)) {
        json_decref(record);
        record = NULL;
    }
    return record;
}

/* The record says which bundle it holds: a file that was torn or mixed up does not. */
static bool id_fits(const json_t *record, dstack_bytes content_id) {
    uint8_t id[HASH_SHA256_SIZE];
    return json_need_hex(record, "id", id, sizeof id, NULL) == 0 &&
           bytes_equal(bytes_of(id, sizeof id), content_id);
}

int disk_cache_load(const char *dir, const char *name, int64_t now, dstack_collateral **out,
                    int64_t *fetched, dstack_error *err) {
    DSTACK_AUTO(json) json_t *record = read_record(dir, name, fetched, NULL);
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    json_t *bundle = NULL;
    int64_t expires = 0;
    if (record == NULL || json_need_object(record, "collateral", &bundle, NULL) != 0 ||
        json_write(bundle, false, &text, NULL) != 0 ||
        dstack_collateral_parse(&collateral, bytes_of_buf(&text), NULL) != 0 ||
        !id_fits(record, dstack_collateral_id(collateral))) {
        return not_there(name, "absent or damaged", err);
    }
    if (dstack_collateral_expires(collateral, &expires, NULL) != 0 || now >= expires) {
        return not_there(name, "past its dates", err);
    }
    *out = collateral;
    collateral = NULL;
    return 0;
}

int disk_cache_load_pem(const char *dir, const char *name, dstack_buf *out, int64_t *fetched,
                        dstack_error *err) {
    DSTACK_AUTO(json) json_t *record = read_record(dir, name, fetched, NULL);
    const char *pem = NULL;
    uint8_t digest[HASH_SHA256_SIZE];
    if (record == NULL || json_need_str(record, "chain", &pem, NULL) != 0) {
        return not_there(name, "absent or damaged", err);
    }
    hash_sha256(bytes_of_str(pem), digest);
    if (!id_fits(record, bytes_of(digest, sizeof digest))) {
        return not_there(name, "damaged", err);
    }
    buf_put_str(out, pem);
    return buf_check(out, err);
}

/* ---- writing ---- */

static bool is_record(const char *name) {
    size_t len = strlen(name);
    return name[0] != '.' && len > strlen(SUFFIX) &&
           strcmp(name + len - strlen(SUFFIX), SUFFIX) == 0;
}

/* Removes the oldest record when there are too many; called for each one stored, so one is enough.
 */
static void make_room(const char *path) {
    DSTACK_AUTO(dir) DIR *dir = opendir(path);
    char oldest[256] = "";
    struct timespec age = {0};
    size_t count = 0;
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        if (!is_record(entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        bool older = info.st_mtim.tv_sec < age.tv_sec ||
                     (info.st_mtim.tv_sec == age.tv_sec && info.st_mtim.tv_nsec < age.tv_nsec);
        if (count++ == 0 || older) {
            age = info.st_mtim;
            snprintf(oldest, sizeof oldest, "%s", entry->d_name);
        }
    }
    if (count > DISK_CACHE_MAX_RECORDS) {
        (void)unlinkat(dirfd(dir), oldest, 0);
    }
}

static int write_record(const char *dir, const char *name, json_t *record, dstack_bytes id,
                        int64_t now, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0}, text = {0};
    json_object_set_new(record, "version", json_integer(FORMAT_VERSION));
    json_object_set_new(record, "fetched", json_integer(now));
    json_object_set_new(record, "id", json_hex(id));
    buf_put_fmt(&path, "%s/%s", dir, name);
    int rc = json_write(record, false, &text, err);
    rc = rc != 0 ? rc : file_make_dirs(dir, 0700, err);
    const char *file = buf_text(&path);
    rc = rc != 0 || file != NULL ? rc : buf_check(&path, err);
    rc = rc != 0 ? rc : file_write_atomic(file, bytes_of_buf(&text), 0600, err);
    if (rc == 0) {
        make_room(dir);
    }
    return rc;
}

int disk_cache_store(const char *dir, const char *name, const dstack_collateral *collateral,
                     int64_t now, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(json) json_t *record = json_object();
    int rc = dstack_collateral_to_json(collateral, false, &text, err);
    json_t *bundle = rc != 0 ? NULL : json_parse(bytes_of_buf(&text), RECORD_MAX, "bundle", err);
    if (bundle == NULL || json_object_set_new(record, "collateral", bundle) != 0) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_MEMORY, "no memory for a record");
    }
    return write_record(dir, name, record, dstack_collateral_id(collateral), now, err);
}

int disk_cache_store_pem(const char *dir, const char *name, dstack_bytes pem, int64_t now,
                         dstack_error *err) {
    DSTACK_AUTO(json) json_t *record = json_object();
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(pem, digest);
    if (json_object_set_new(record, "chain", json_stringn((const char *)pem.data, pem.len)) !=
        0) { /* NULL: not UTF-8 */
        return error_set(err, DSTACK_E_FORMAT, "what is to be kept is no text");
    }
    return write_record(dir, name, record, bytes_of(digest, sizeof digest), now, err);
}
