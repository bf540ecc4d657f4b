/* dstack log: what a KMS has recorded, held to its signed checkpoint. */
#include <string.h>

#include <dstack/tlog.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"
#include "client/http_client.h"
#include "tlog/tlog.h"

#define TILE 256
#define TILE_LIMIT ((size_t)TILE * (2 + DSTACK_TLOG_ENTRY_MAX))
#define ENTRIES_MAX ((uint64_t)1 << 24)
#define NOTE_LIMIT ((size_t)64 << 10)

/* ---- where the log is -------------------------------------------------------------------------
 */

/* A folder as the KMS keeps it, or the address that serves it. Who serves it does not matter: the
 * checkpoint is signed. */
typedef struct source {
    const char *place;
    http_client *client; /* NULL: a folder */
} source;

static void source_close(source *s) {
    http_client_free(s->client);
}
DSTACK_AUTO_DEFINE_CLEAR(source, source, source_close)

static int source_open(source *s, const char *place, dstack_error *err) {
    *s = (source){.place = place};
    if (strncmp(place, "https://", 8) != 0 && strncmp(place, "http://", 7) != 0) {
        return 0;
    }
    http_client_config config = {
        .url = place, .trust = HTTP_CLIENT_TRUST_NONE, .body_limit = TILE_LIMIT};
    s->client = http_client_new(&config, err);
    return s->client != NULL ? 0 : DSTACK_E_ARGUMENT;
}

static int source_read(source *s, const char *path, dstack_buf *out, dstack_error *err) {
    if (s->client == NULL) {
        DSTACK_AUTO(str) char *file = NULL;
        if (asprintf(&file, "%s/%s", s->place, path) < 0) {
            file = NULL;
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
        char *partial = strstr(file, ".p/"); /* in a folder the file simply grows */
        if (partial != NULL) {
            *partial = 0;
        }
        return file_read(file, TILE_LIMIT, out, err);
    }
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    char with_slash[160];
    snprintf(with_slash, sizeof with_slash, "/%s", path);
    http_client_request request = {.method = "GET", .path = with_slash};
    int rc = http_client_send_ok(s->client, &request, &answer, err);
    if (rc == 0) {
        buf_put_bytes(out, bytes_of_buf(&answer.body));
    }
    return rc != 0 ? rc : buf_check(out, err);
}

/* ---- reading it whole ------------------------------------------------------------------------- */

typedef struct whole {
    dstack_tlog_key key;
    dstack_buf note;
    dstack_tlog_checkpoint checkpoint;
    dstack_buf content;    /* all entries, each with its length before it */
    dstack_bytes *entries; /* into content */
    dstack_tlog_hash *leaves;
    size_t count;
} whole;

static void whole_clear(whole *w) {
    dstack_buf_clear(&w->note);
    dstack_buf_clear(&w->content);
    free(w->entries);
    free(w->leaves);
}
DSTACK_AUTO_DEFINE_CLEAR(whole, whole, whole_clear)

/* --key: the text itself, or a file that holds it. */
static int read_key(struct cli *cli, dstack_tlog_key *key, dstack_error *err) {
    const char *value = cli_value(cli, "key", NULL);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (value == NULL) {
        return cli_usage(err, "--key is needed: the log's verifier key, or a file with it");
    }
    if (strchr(value, '+') != NULL && access(value, F_OK) != 0) {
        return dstack_tlog_key_parse(bytes_of_str(value), key, err);
    }
    int rc = cli_read(value, 4096, &text, err);
    return rc != 0 ? rc : dstack_tlog_key_parse(bytes_of_buf(&text), key, err);
}

static int read_tile(source *s, whole *w, uint64_t number, size_t width, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0}, tile = {0};
    buf_put_str(&path, "tile/entries/");
    tlog_put_tile(&path, number);
    if (width < TILE) {
        buf_put_fmt(&path, ".p/%zu", width);
    }
    int rc = source_read(s, buf_text(&path), &tile, err);
    cursor c = cursor_init(bytes_of_buf(&tile));
    for (size_t i = 0; rc == 0 && i < width; i++) {
        dstack_bytes entry = cursor_take(&c, cursor_u16be(&c));
        if (!cursor_ok(&c)) {
            return error_set(err, DSTACK_E_FORMAT, "%s holds fewer entries than were signed",
                             buf_text(&path));
        }
        dstack_tlog_leaf(entry, &w->leaves[w->count++]);
        buf_put_u16be(&w->content, (uint16_t)entry.len);
        buf_put_bytes(&w->content, entry);
    }
    return rc;
}

static int find_entries(whole *w, dstack_error *err) {
    int rc = buf_check(&w->content, err);
    cursor c = cursor_init(bytes_of_buf(&w->content));
    for (size_t i = 0; rc == 0 && i < w->count; i++) {
        w->entries[i] = cursor_take(&c, cursor_u16be(&c));
    }
    return rc;
}

/* Reads every entry that the checkpoint covers, and holds the tree over them to its root. */
static int read_whole(struct cli *cli, source *s, whole *w, dstack_error *err) {
    dstack_tlog_hash root;
    int rc = read_key(cli, &w->key, err);
    rc = rc != 0 ? rc : source_read(s, "checkpoint", &w->note, err);
    rc = rc != 0
             ? rc
             : dstack_tlog_checkpoint_open(bytes_of_buf(&w->note), &w->key, &w->checkpoint, err);
    uint64_t size = w->checkpoint.size;
    if (rc == 0 && size > ENTRIES_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, "the log has more entries than this reads at once");
    }
    if (rc != 0) {
        return rc;
    }
    w->leaves = calloc(size + 1, sizeof *w->leaves);
    w->entries = calloc(size + 1, sizeof *w->entries);
    if (w->leaves == NULL || w->entries == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    for (uint64_t at = 0; rc == 0 && at < size; at += TILE) {
        rc = read_tile(s, w, at / TILE, size - at < TILE ? size - at : TILE, err);
    }
    rc = rc != 0 ? rc : find_entries(w, err);
    if (rc == 0) {
        dstack_tlog_root(w->leaves, w->count, &root);
        if (memcmp(root.bytes, w->checkpoint.root.bytes, sizeof root.bytes) != 0) {
            rc = error_set(err, DSTACK_E_CRYPTO,
                           "the entries are not those that the checkpoint was signed over");
        }
    }
    return rc;
}

/* ---- verify ----------------------------------------------------------------------------------- */

/* An older checkpoint must be of a beginning of this log: else it has told two histories. */
static int check_old(struct cli *cli, const whole *w, const char *file, uint64_t *size,
                     dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf note = {0};
    dstack_tlog_checkpoint old;
    dstack_tlog_proof proof;
    int rc = cli_read(file, NOTE_LIMIT, &note, err);
    rc = rc != 0 ? rc : dstack_tlog_checkpoint_open(bytes_of_buf(&note), &w->key, &old, err);
    if (rc == 0 && old.size > w->count) {
        rc = error_set(err, DSTACK_E_CRYPTO,
                       "the log has shrunk: %llu entries were signed before, %zu are there now",
                       (unsigned long long)old.size, w->count);
    }
    rc = rc != 0 ? rc : dstack_tlog_prove_consistency(w->leaves, w->count, old.size, &proof, err);
    rc = rc != 0 ? rc
                 : dstack_tlog_check_consistency(old.size, &old.root, w->count, &w->checkpoint.root,
                                                 &proof, err);
    *size = old.size;
    return rc != 0 ? error_prefix(err, rc, "%s", file) : 0;
}

static int need_member(json_t *receipt, const char *name, dstack_buf *out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(receipt, name, &text, err);
    return rc != 0 ? rc : hex_decode(bytes_of_str(text), out, err);
}

/* A receipt alone: its entry is under its checkpoint, which the log has signed. */
static int verify_receipt(struct cli *cli, const char *file, dstack_error *err) {
    DSTACK_AUTO(json) json_t *receipt = cli_read_json(file, NOTE_LIMIT * 4, err);
    DSTACK_AUTO(buf) dstack_buf entry = {0}, text = {0};
    dstack_tlog_key key;
    dstack_tlog_checkpoint checkpoint;
    dstack_tlog_proof proof = {0};
    dstack_tlog_hash leaf;
    const char *note = NULL;
    json_t *hashes = NULL;
    int64_t index = 0;
    int rc = receipt == NULL ? DSTACK_E_FORMAT : read_key(cli, &key, err);
    rc = rc != 0 ? rc : json_need_str(receipt, "checkpoint", &note, err);
    rc = rc != 0 ? rc : json_need_int(receipt, "index", &index, err);
    rc = rc != 0 ? rc : json_need_array(receipt, "proof", &hashes, err);
    rc = rc != 0 ? rc : need_member(receipt, "entry", &entry, err);
    rc = rc != 0 ? rc : dstack_tlog_checkpoint_open(bytes_of_str(note), &key, &checkpoint, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(hashes); i++) {
        const char *hex = json_string_value(json_array_get(hashes, i));
        if (hex == NULL || i >= DSTACK_TLOG_PROOF_MAX) {
            rc = error_set(err, DSTACK_E_FORMAT, "the receipt's proof is malformed");
        } else {
            rc = hex_decode_fixed(hex, proof.hashes[proof.count++].bytes, 32, err);
        }
    }
    if (rc == 0) {
        dstack_tlog_leaf(bytes_of_buf(&entry), &leaf);
        rc = dstack_tlog_check_inclusion(&leaf, (uint64_t)index, checkpoint.size, &checkpoint.root,
                                         &proof, err);
    }
    rc = rc != 0 ? rc : dstack_tlog_entry_to_json(bytes_of_buf(&entry), &text, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *shown = json_parse(bytes_of_buf(&text), text.len, "entry", err);
    if (cli->json) {
        return cli_print_json(cli, shown, err);
    }
    cli_heading(cli, "entry %lld of %llu in %s", (long long)index,
                (unsigned long long)checkpoint.size, checkpoint.origin);
    cli_print_object(cli, shown);
    return 0;
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(source) source s = {0};
    DSTACK_AUTO(whole) whole w = {0};
    const char *old = cli_value(cli, "old", NULL);
    const char *receipt = cli_value(cli, "receipt", NULL);
    uint64_t old_size = 0;
    if (receipt != NULL) {
        return argc == 0 ? verify_receipt(cli, receipt, err)
                         : cli_usage(err, "a receipt is verified alone");
    }
    if (argc != 1) {
        return cli_usage(err, "a folder or an address is needed");
    }
    int rc = source_open(&s, argv[0], err);
    rc = rc != 0 ? rc : read_whole(cli, &s, &w, err);
    rc = rc == 0 && old != NULL ? check_old(cli, &w, old, &old_size, err) : rc;
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *result = json_pack("{s:s,s:I,s:o}", "origin", w.checkpoint.origin, "size",
                               (json_int_t)w.checkpoint.size, "root",
                               json_hex(bytes_of(w.checkpoint.root.bytes, 32)));
    if (old != NULL) {
        json_object_set_new(result, "begins_with", json_integer((json_int_t)old_size));
    }
    if (cli->json) {
        return cli_print_json(cli, result, err);
    }
    cli_heading(cli, "the log is what its key signed");
    cli_print_object(cli, result);
    return 0;
}

/* ---- show, prove ------------------------------------------------------------------------------ */

static bool wanted(struct cli *cli, json_t *entry) {
    const char *app = cli_value(cli, "app", NULL);
    if (app == NULL) {
        return true;
    }
    app += strncmp(app, "0x", 2) == 0 ? 2 : 0;
    const char *found = json_string_value(json_object_get(entry, "app_id"));
    return found != NULL && strcasecmp(found, app) == 0;
}

static int run_show(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(source) source s = {0};
    DSTACK_AUTO(whole) whole w = {0};
    DSTACK_AUTO(json) json_t *list = json_array();
    int rc = source_open(&s, argv[0], err);
    rc = rc != 0 ? rc : read_whole(cli, &s, &w, err);
    for (size_t i = 0; rc == 0 && i < w.count; i++) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        rc = dstack_tlog_entry_to_json(w.entries[i], &text, err);
        DSTACK_AUTO(json)
        json_t *entry = rc == 0 ? json_parse(bytes_of_buf(&text), text.len, "entry", err) : NULL;
        if (entry == NULL || !wanted(cli, entry)) {
            continue;
        }
        json_object_set_new(entry, "index", json_integer((json_int_t)i));
        json_array_append(list, entry);
        if (!cli->json) {
            cli_heading(cli, "entry %zu", i);
            cli_print_object(cli, entry);
        }
    }
    return rc == 0 && cli->json ? cli_print_json(cli, list, err) : rc;
}

static int run_prove(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(source) source s = {0};
    DSTACK_AUTO(whole) whole w = {0};
    dstack_tlog_proof proof;
    char *end = NULL;
    size_t index = strtoul(argv[1], &end, 10);
    if (end == argv[1] || *end != 0) {
        return cli_usage(err, "the index is a number");
    }
    int rc = source_open(&s, argv[0], err);
    rc = rc != 0 ? rc : read_whole(cli, &s, &w, err);
    rc = rc != 0 ? rc : dstack_tlog_prove_inclusion(w.leaves, w.count, index, &proof, err);
    if (rc != 0) {
        return rc;
    }
    json_t *hashes = json_array();
    for (size_t i = 0; i < proof.count; i++) {
        json_array_append_new(hashes, json_hex(bytes_of(proof.hashes[i].bytes, 32)));
    }
    DSTACK_AUTO(json)
    json_t *receipt =
        json_pack("{s:o,s:I,s:o,s:s}", "entry", json_hex(w.entries[index]), "index",
                  (json_int_t)index, "proof", hashes, "checkpoint", buf_text(&w.note));
    return cli_print_json(cli, receipt, err);
}

/* ---- tables ----------------------------------------------------------------------------------- */

#define KEY_OPTION                                                                                 \
    { "key", 'k', "KEY", "the log's verifier key, or a file with it" }

static const struct cli_option verify_options[] = {
    KEY_OPTION,
    {"old", 0, "FILE", "an older checkpoint that this log must begin with"},
    {"receipt", 0, "FILE", "verify what `dstack log prove` gave, without the log"},
    {0},
};
static const struct cli_option show_options[] = {
    KEY_OPTION,
    {"app", 0, "ID", "only entries of this app"},
    {0},
};
static const struct cli_option prove_options[] = {KEY_OPTION, {0}};

static const struct cli_command log_verify = {
    .name = "verify",
    .summary = "Hold all entries to the signed checkpoint",
    .usage = "SOURCE --key KEY [--old FILE] | --receipt FILE --key KEY",
    .help = "SOURCE is the folder that a KMS keeps, or the address that serves it\n"
            "(https://kms.example:8000/log). The key comes from a source of its own: the\n"
            "evidence at /log/key binds it to the KMS.",
    .options = verify_options,
    .min_args = 0,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_command log_show = {
    .name = "show",
    .summary = "Print the entries, after verifying them",
    .usage = "SOURCE --key KEY [--app ID]",
    .options = show_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_show,
};

static const struct cli_command log_prove = {
    .name = "prove",
    .summary = "Give a receipt for one entry",
    .usage = "SOURCE INDEX --key KEY",
    .help = "The receipt is JSON: the entry, its index, the proof that it is in the tree, and the\n"
            "signed checkpoint. `dstack log verify --receipt` checks it without the log.",
    .options = prove_options,
    .min_args = 2,
    .max_args = 2,
    .run = run_prove,
};

static const struct cli_command *const log_children[] = {&log_verify, &log_show, &log_prove, NULL};

const struct cli_command cli_command_log = {
    .name = "log",
    .summary = "Transparency logs of a KMS",
    .children = log_children,
};
