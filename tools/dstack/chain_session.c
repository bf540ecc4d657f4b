#include "chain_session.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "chain/event.h"

#define GWEI 1000000000
#define KEY_TEXT_MAX 128

void chain_session_clear(struct chain_session *s) {
    chain_node_free(s->node);
    dstack_secret_free(s->key);
    *s = (struct chain_session){0};
}

void chain_steps_clear(struct chain_steps *steps) {
    for (size_t i = 0; i < steps->count; i++) {
        dstack_buf_clear(&steps->steps[i].data);
    }
    steps->count = 0;
}

/* ---- options ---------------------------------------------------------------------------------- */

int chain_option_address(struct cli *cli, const char *name, chain_address *out, bool *given,
                         dstack_error *err) {
    const char *text = cli_value(cli, name, NULL);
    *given = text != NULL;
    int rc = text != NULL ? chain_address_parse(text, out, err) : 0;
    return rc != 0 ? cli_usage(err, "--%s: %s", name, err != NULL ? err->message : "") : 0;
}

int chain_need_address(struct cli *cli, const char *name, chain_address *out, dstack_error *err) {
    bool given;
    int rc = chain_option_address(cli, name, out, &given, err);
    return rc == 0 && !given ? cli_usage(err, "--%s ADDRESS is needed", name) : rc;
}

int chain_session_open_read(struct cli *cli, struct chain_session *s, dstack_error *err) {
    int64_t id = 0, seconds = 180;
    const char *url = cli_value(cli, "rpc", NULL);
    s->cli = cli;
    if (url == NULL || !cli_has(cli, "chain-id")) {
        return cli_usage(err, "--rpc URL and --chain-id N are needed");
    }
    int rc = cli_int(cli, "chain-id", 0, 1, INT64_MAX, &id, err);
    rc = rc != 0 ? rc : cli_int(cli, "timeout", 180, 1, 86400, &seconds, err);
    if (rc != 0) {
        return rc;
    }
    s->chain_id = (uint64_t)id;
    s->timeout_ms = seconds * 1000;
    chain_node_config config = {.url = url,
                                .timeout_ms = (int)(seconds < 30 ? seconds : 30) * 1000,
                                .answer_limit = (size_t)32 << 20};
    s->node = chain_node_new(&config, err);
    return s->node != NULL ? chain_submit_check_id(s->node, s->chain_id, err) : DSTACK_E_ARGUMENT;
}

/* The text never leaves guarded or wiped memory. */
static dstack_secret *key_from_text(dstack_bytes text, dstack_error *err) {
    dstack_secret *key = dstack_secret_new(K256_SECRET_SIZE);
    if (key == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r' ||
                            text.data[text.len - 1] == ' ')) {
        text.len--;
    }
    if (text.len > 2 && text.data[0] == '0' && text.data[1] == 'x') {
        text = bytes_of(text.data + 2, text.len - 2);
    }
    if (hex_decode_bytes(text, dstack_secret_data(key), K256_SECRET_SIZE, NULL) != 0 ||
        !k256_secret_valid(dstack_secret_peek(key))) {
        error_set(err, DSTACK_E_FORMAT, "not a private key of 64 hex digits");
        dstack_secret_free(key);
        return NULL;
    }
    return key;
}

dstack_secret *chain_key_read(const char *path, dstack_error *err) {
    DSTACK_AUTO(wiped_buf) dstack_buf text = {0};
    struct stat info;
    if (stat(path, &info) != 0) {
        error_set_errno(err, DSTACK_E_IO, "%s", path);
        return NULL;
    }
    if ((info.st_mode & 077) != 0) {
        error_set(err, DSTACK_E_INSECURE, "%s: others can read this key: chmod 600 it first", path);
        return NULL;
    }
    buf_reserve(&text, KEY_TEXT_MAX + 1);
    int rc = file_read(path, KEY_TEXT_MAX, &text, err);
    dstack_secret *key = rc == 0 ? key_from_text(bytes_of_buf(&text), err) : NULL;
    if (key == NULL && rc == 0) {
        error_prefix(err, DSTACK_E_FORMAT, "%s", path);
    }
    return key;
}

int chain_session_open_write(struct cli *cli, struct chain_session *s, dstack_error *err) {
    const char *path = cli_value(cli, "key", NULL);
    int64_t gwei = 500;
    s->cli = cli;
    if (cli_has(cli, "calldata")) {
        return 0;
    }
    if (path == NULL) {
        return cli_usage(err, "--key FILE is needed, or --calldata to print what to send");
    }
    int rc = cli_int(cli, "max-fee", 500, 1, 1000000, &gwei, err);
    rc = rc != 0 ? rc : cli_int(cli, "confirmations", 1, 1, 1000, &s->confirmations, err);
    rc = rc != 0 ? rc : chain_session_open_read(cli, s, err);
    if (rc != 0) {
        return rc;
    }
    s->fee_limit = (uint64_t)gwei * GWEI;
    s->key = chain_key_read(path, err);
    if (s->key == NULL) {
        return err != NULL && err->status != 0 ? (int)err->status : DSTACK_E_IO;
    }
    return chain_key_address(dstack_secret_peek(s->key), &s->from, err);
}

/* ---- sending ---------------------------------------------------------------------------------- */

int chain_steps_add(struct chain_steps *steps, const chain_address *to, const char *signature,
                    const chain_abi_value *values, size_t count, dstack_error *err) {
    if (steps->count == CHAIN_STEPS_MAX) {
        return error_set(err, DSTACK_E_INTERNAL, "too many calls at once");
    }
    struct chain_step *step = &steps->steps[steps->count++];
    *step = (struct chain_step){.what = signature, .to = *to};
    return chain_abi_encode_call(signature, values, count, &step->data, err);
}

static void pause_ms(int64_t ms) {
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* Waits for the receipt, then until enough blocks lie on top. A reorganisation may take the receipt
 * away again: it is asked for until both hold. */
static int wait_receipt(struct chain_session *s, const chain_word *hash, chain_receipt *receipt,
                        dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + s->timeout_ms, pause = 50;
    char text[CHAIN_WORD_TEXT];
    chain_word_text(hash, text);
    while (true) {
        chain_block head = {0};
        chain_receipt_clear(receipt);
        int rc = chain_receipt_get(s->node, hash, receipt, err);
        if (rc == 0) {
            rc = chain_node_block(s->node, "latest", &head, err);
        }
        if (rc != 0 && rc != DSTACK_E_NOT_FOUND) {
            return error_prefix(err, rc, "%s was sent, and what became of it is not known", text);
        }
        if (rc == 0 && head.number + 1 >= receipt->block_number + (uint64_t)s->confirmations) {
            return 0;
        }
        if (clock_monotonic_ms() > deadline) {
            return error_set(err, DSTACK_E_TIMEOUT, "%s was sent and is not confirmed yet", text);
        }
        pause_ms(pause);
        pause = pause < 2000 ? pause * 2 : pause;
    }
}

int chain_session_send(struct chain_session *s, const struct chain_step *step,
                       chain_receipt *receipt, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    chain_word hash;
    char text[CHAIN_WORD_TEXT];
    int what_len = (int)strcspn(step->what, "(");
    chain_transaction t = {.chain_id = s->chain_id,
                           .creates = step->creates,
                           .to = step->to,
                           .data = bytes_of_buf(&step->data)};
    int rc = chain_submit_prepare(s->node, &s->from, s->fee_limit, &t, err);
    rc = rc != 0 ? rc : chain_transaction_sign(&t, dstack_secret_peek(s->key), &raw, &hash, err);
    rc = rc != 0 ? rc : chain_submit_raw(s->node, bytes_of_buf(&raw), &hash, err);
    if (rc != 0) {
        return error_prefix(err, rc, "%.*s", what_len, step->what);
    }
    chain_word_text(&hash, text);
    if (s->cli->tty) {
        cli_note(s->cli, "%.*s: sent as %s, waiting for its block", what_len, step->what, text);
    }
    rc = wait_receipt(s, &hash, receipt, err);
    if (rc == 0 && !receipt->succeeded) {
        rc = error_set(err, DSTACK_E_PEER, "%.*s: %s was reverted in block %" PRIu64, what_len,
                       step->what, text, receipt->block_number);
    }
    return rc;
}

static int add_events(const chain_receipt *receipt, json_t *events, dstack_error *err) {
    const json_t *log;
    size_t i;
    int rc = 0;
    json_array_foreach(receipt->logs, i, log) {
        json_t *event = NULL;
        rc = rc != 0 ? rc : chain_event_parse(log, &event, err);
        if (rc == 0) {
            json_array_append_new(events, event);
        }
    }
    return rc;
}

json_t *chain_receipt_json(const chain_receipt *receipt, dstack_error *err) {
    char hash[CHAIN_WORD_TEXT], contract[CHAIN_ADDRESS_TEXT];
    DSTACK_AUTO(json) json_t *events = json_array();
    if (add_events(receipt, events, err) != 0) {
        return NULL;
    }
    chain_word_text(&receipt->transaction, hash);
    json_t *out = json_pack("{s:s, s:I, s:I, s:O}", "transaction", hash, "block",
                            (json_int_t)receipt->block_number, "gas_used",
                            (json_int_t)receipt->gas_used, "events", events);
    if (receipt->creates) {
        chain_address_text(&receipt->contract, contract);
        json_object_set_new(out, "contract", json_string(contract));
    }
    return out;
}

static void print_receipt(struct cli *cli, const struct chain_step *step, const json_t *sent) {
    const json_t *event;
    size_t i;
    cli_heading(cli, "%.*s", (int)strcspn(step->what, "("), step->what);
    cli_field(cli, "transaction", "%s", json_string_value(json_object_get(sent, "transaction")));
    cli_field(cli, "block", "%" PRId64,
              (int64_t)json_integer_value(json_object_get(sent, "block")));
    cli_field(cli, "gas used", "%" PRId64,
              (int64_t)json_integer_value(json_object_get(sent, "gas_used")));
    json_array_foreach(json_object_get(sent, "events"), i, event) {
        cli_field(cli, "event", "%s", json_string_value(json_object_get(event, "event")));
    }
}

/* ---- calls by the owner's own means ----------------------------------------------------------- */

static json_t *step_json(const struct chain_step *step) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    char to[CHAIN_ADDRESS_TEXT];
    chain_address_text(&step->to, to);
    chain_data_put(&data, bytes_of_buf(&step->data));
    return json_pack("{s:s, s:s, s:s, s:s}", "to", to, "value", "0", "data", buf_text(&data),
                     "function", step->what);
}

static int print_calls(struct cli *cli, const struct chain_steps *steps, dstack_error *err) {
    DSTACK_AUTO(json) json_t *list = json_array();
    for (size_t i = 0; i < steps->count; i++) {
        json_array_append_new(list, step_json(&steps->steps[i]));
    }
    if (cli->json) {
        DSTACK_AUTO(json) json_t *out = json_pack("{s:O}", "calls", list);
        return cli_print_json(cli, out, err);
    }
    const json_t *call;
    size_t i;
    json_array_foreach(list, i, call) {
        cli_heading(cli, "%s", json_string_value(json_object_get(call, "function")));
        cli_field(cli, "to", "%s", json_string_value(json_object_get(call, "to")));
        cli_field(cli, "value", "0");
        cli_field(cli, "data", "%s", json_string_value(json_object_get(call, "data")));
    }
    return 0;
}

/* OpenZeppelin's TimelockController: an operation is told by target, value, data, predecessor and
 * salt, the same for scheduling and executing. */
static int through_timelock(struct cli *cli, const struct chain_steps *in, struct chain_steps *out,
                            dstack_error *err) {
    chain_address lock;
    chain_word none = {0}, salt = {0};
    bool execute = cli_has(cli, "execute");
    int64_t delay = 0;
    int rc = chain_need_address(cli, "timelock", &lock, err);
    rc = rc != 0 ? rc : cli_hex_fixed(cli, "salt", salt.bytes, sizeof salt.bytes, NULL, err);
    rc = rc != 0 ? rc : cli_int(cli, "delay", 0, 0, INT64_MAX, &delay, err);
    if (rc == 0 && !execute && !cli_has(cli, "delay")) {
        rc = cli_usage(err, "--timelock needs --delay SECONDS to schedule, or --execute");
    }
    for (size_t i = 0; rc == 0 && i < in->count; i++) {
        const struct chain_step *step = &in->steps[i];
        const chain_abi_value values[] = {
            CHAIN_ABI_OF_ADDRESS(&step->to),
            CHAIN_ABI_OF_UINT(0),
            CHAIN_ABI_OF_BYTES(bytes_of_buf(&step->data)),
            CHAIN_ABI_OF_WORD(&none),
            CHAIN_ABI_OF_WORD(&salt),
            CHAIN_ABI_OF_UINT((uint64_t)delay),
        };
        rc = chain_steps_add(out, &lock,
                             execute ? "execute(address,uint256,bytes,bytes32,bytes32)"
                                     : "schedule(address,uint256,bytes,bytes32,bytes32,uint256)",
                             values, execute ? 5 : 6, err);
    }
    return rc;
}

static int send_all(struct chain_session *s, const struct chain_steps *steps, dstack_error *err) {
    DSTACK_AUTO(json) json_t *done = json_array();
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < steps->count; i++) {
        DSTACK_AUTO(chain_receipt) chain_receipt receipt = {0};
        rc = chain_session_send(s, &steps->steps[i], &receipt, err);
        if (rc != 0) {
            break;
        }
        json_t *sent = chain_receipt_json(&receipt, err);
        if (sent == NULL) {
            return DSTACK_E_FORMAT;
        }
        if (!s->cli->json) {
            print_receipt(s->cli, &steps->steps[i], sent);
        }
        json_array_append_new(done, sent);
    }
    if (rc != 0) {
        /* What was done before the failure stays done. */
        cli_detail(s->cli, "transactions", json_incref(done));
        return rc;
    }
    DSTACK_AUTO(json) json_t *out = json_pack("{s:O}", "transactions", done);
    return s->cli->json ? cli_print_json(s->cli, out, err) : 0;
}

int chain_session_perform(struct chain_session *s, const struct chain_steps *steps,
                          dstack_error *err) {
    DSTACK_AUTO(chain_steps) struct chain_steps wrapped = {0};
    const struct chain_steps *final = steps;
    int rc = 0;
    if (cli_has(s->cli, "timelock")) {
        rc = through_timelock(s->cli, steps, &wrapped, err);
        final = &wrapped;
    }
    if (rc == 0) {
        rc =
            cli_has(s->cli, "calldata") ? print_calls(s->cli, final, err) : send_all(s, final, err);
    }
    return rc;
}
