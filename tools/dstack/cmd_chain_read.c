/* dstack chain status|history: what the contracts say, and how they came to say it. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "chain_logs.h"
#include "chain_session.h"
#include "cmd_chain.h"

/* Where a proxy keeps the address of its code (EIP-1967). */
#define IMPLEMENTATION_SLOT "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"

enum result { RESULT_ADDRESS, RESULT_BOOL, RESULT_UINT, RESULT_TEXT, RESULT_KMS_INFO };
enum whom { KMS_ONLY, APP_ONLY, BOTH };

/* One line of the status. What a contract does not have (the reference's have fewer) is left out. */
static const struct getter {
    const char *name, *signature;
    enum result result;
    enum whom whom;
} getters[] = {
    {"owner", "owner()", RESULT_ADDRESS, BOTH},
    {"pending_owner", "pendingOwner()", RESULT_ADDRESS, BOTH},
    {"guardian", "guardian()", RESULT_ADDRESS, BOTH},
    {"policy_version", "policyVersion()", RESULT_UINT, BOTH},
    {"app_implementation", "appImplementation()", RESULT_ADDRESS, KMS_ONLY},
    {"gateway_app_id", "gatewayAppId()", RESULT_TEXT, KMS_ONLY},
    {"app_approval_required", "appApprovalRequired()", RESULT_BOOL, KMS_ONLY},
    {"k256_pubkey", "kmsInfo()", RESULT_KMS_INFO, KMS_ONLY},
    {"allow_any_device", "allowAnyDevice()", RESULT_BOOL, APP_ONLY},
    {"require_tcb_up_to_date", "requireTcbUpToDate()", RESULT_BOOL, APP_ONLY},
    {"restrict_os_images", "restrictOsImages()", RESULT_BOOL, APP_ONLY},
};

static json_t *bytes_json(dstack_bytes bytes) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    chain_data_put(&text, bytes);
    return json_string(buf_text(&text));
}

static json_t *result_json(enum result result, dstack_bytes returned) {
    chain_abi_reader r = chain_abi_read(returned);
    char text[CHAIN_ADDRESS_TEXT];
    chain_address address;
    dstack_bytes bytes;
    json_t *value = NULL;
    switch (result) {
    case RESULT_ADDRESS:
        address = chain_abi_get_address(&r);
        chain_address_text(&address, text);
        value = bytes_are_zero(bytes_of(address.bytes, sizeof address.bytes))
                    ? json_string("nobody")
                    : json_string(text);
        break;
    case RESULT_BOOL:
        value = json_boolean(chain_abi_get_bool(&r));
        break;
    case RESULT_UINT:
        value = json_integer((json_int_t)chain_abi_get_uint(&r));
        break;
    case RESULT_TEXT:
        bytes = chain_abi_get_bytes(&r);
        value = json_stringn((const char *)bytes.data, bytes.len);
        break;
    case RESULT_KMS_INFO:
        value = bytes_json(chain_abi_get_bytes(&r)); /* the first of four */
        break;
    }
    if (!chain_abi_ok(&r)) {
        json_decref(value);
        value = NULL;
    }
    return value;
}

static int call(struct chain_session *s, const chain_address *contract, const char *signature,
                const char *tag, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    int rc = chain_abi_encode_call(signature, NULL, 0, &data, err);
    return rc != 0 ? rc : chain_node_call(s->node, contract, bytes_of_buf(&data), tag, out, err);
}

static int add_getters(struct chain_session *s, const chain_address *contract, bool kms,
                       const char *tag, json_t *out, dstack_error *err) {
    for (size_t i = 0; i < sizeof getters / sizeof *getters; i++) {
        DSTACK_AUTO(buf) dstack_buf returned = {0};
        const struct getter *g = &getters[i];
        if (g->whom == (kms ? APP_ONLY : KMS_ONLY)) {
            continue;
        }
        int rc = call(s, contract, g->signature, tag, &returned, err);
        json_t *value = rc == 0 ? result_json(g->result, bytes_of_buf(&returned)) : NULL;
        if (rc != 0 && rc != DSTACK_E_PEER) {
            return rc;
        }
        if (value == NULL && i == 0) { /* every contract of ours has an owner */
            return error_set(err, DSTACK_E_FORMAT, "there is no %s contract at this address",
                             kms ? "KMS" : "app");
        }
        if (value != NULL) {
            json_object_set_new(out, g->name, value);
        }
    }
    return 0;
}

static int add_implementation(struct chain_session *s, const char *address, const char *tag,
                              json_t *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *result = NULL;
    char text[CHAIN_ADDRESS_TEXT];
    chain_word word;
    chain_address code;
    int rc = chain_node_ask(s->node, "eth_getStorageAt",
                            json_pack("[s,s,s]", address, IMPLEMENTATION_SLOT, tag), &result, err);
    const char *value = json_string_value(result);
    rc = rc != 0 ? rc : chain_word_parse(value != NULL ? value : "", &word, err);
    if (rc == 0) {
        memcpy(code.bytes, word.bytes + CHAIN_WORD_SIZE - CHAIN_ADDRESS_SIZE, sizeof code.bytes);
        chain_address_text(&code, text);
        json_object_set_new(out, "implementation", json_string(text));
    }
    return rc;
}

/* The contract that --kms or --app names. */
static int find_contract(struct cli *cli, chain_address *out, bool *kms, dstack_error *err) {
    bool app;
    chain_address other;
    int rc = chain_option_address(cli, "kms", out, kms, err);
    rc = rc != 0 ? rc : chain_option_address(cli, "app", *kms ? &other : out, &app, err);
    if (rc == 0 && *kms == app) {
        rc = cli_usage(err, "either --kms ADDRESS or --app ADDRESS is needed");
    }
    return rc;
}

static int read_events(struct chain_session *s, const chain_address *contract,
                       const chain_block *head, json_t *events, dstack_error *err) {
    int64_t first = 0, last = 0;
    int rc = cli_int(s->cli, "from-block", 0, 0, INT64_MAX, &first, err);
    rc =
        rc != 0 ? rc : cli_int(s->cli, "to-block", (int64_t)head->number, 0, INT64_MAX, &last, err);
    return rc != 0
               ? rc
               : chain_logs_read(s->node, contract, (uint64_t)first, (uint64_t)last, events, err);
}

/* ---- status ----------------------------------------------------------------------------------- */

static void print_entries(struct cli *cli, const json_t *entries) {
    const char *policy;
    const json_t *list, *value;
    size_t i;
    json_object_foreach((json_t *)entries, policy, list) {
        cli_heading(cli, "%s", policy);
        json_array_foreach(list, i, value) {
            cli_field(cli, "", "%s", json_string_value(value));
        }
    }
}

static int run_status(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(json) json_t *out = json_object(), *events = json_array();
    chain_address contract;
    chain_block head = {0};
    char address[CHAIN_ADDRESS_TEXT], tag[20];
    bool kms;
    int rc = find_contract(cli, &contract, &kms, err);
    rc = rc != 0 ? rc : chain_session_open_read(cli, &s, err);
    rc = rc != 0 ? rc : chain_node_block(s.node, "latest", &head, err);
    if (rc != 0) {
        return rc;
    }
    /* All at one block, so that it fits together. */
    snprintf(tag, sizeof tag, "0x%" PRIx64, head.number);
    chain_address_text(&contract, address);
    json_object_set_new(out, kms ? "kms" : "app", json_string(address));
    json_object_set_new(out, "block", json_integer((json_int_t)head.number));
    rc = add_getters(&s, &contract, kms, tag, out, err);
    rc = rc != 0 ? rc : add_implementation(&s, address, tag, out, err);
    rc = rc != 0 ? rc : read_events(&s, &contract, &head, events, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *entries = chain_logs_entries(events);
    if (cli->json) {
        json_object_set(out, "entries", entries);
        return cli_print_json(cli, out, err);
    }
    cli_print_object(cli, out);
    print_entries(cli, entries);
    return 0;
}

#define CONTRACT_OPTIONS                                                                           \
    {"kms", 0, "ADDRESS", "the KMS contract"}, {"app", 0, "ADDRESS", "the app's contract"},        \
        {"from-block", 0, "N", "leave out what happened before (default 0)"}, {                    \
        "to-block", 0, "N", "leave out what happened after (default: the newest)"                  \
    }

static const struct cli_option read_options[] = {CONTRACT_OPTIONS, CHAIN_READ_OPTIONS, {NULL}};

const struct cli_command chain_command_status = {
    .name = "status",
    .summary = "Show a contract's owner, settings and entries",
    .usage = "(--kms | --app) ADDRESS --rpc URL --chain-id N",
    .help =
        "Entries are gathered from the contract's events; of a list with validity periods, also "
        "those whose period is over. One node is believed: ask one that you trust.",
    .options = read_options,
    .run = run_status,
};

/* ---- history ---------------------------------------------------------------------------------- */

/* Adds the block's time to every event; blocks come in order, so each is asked for once. */
static int add_times(struct chain_session *s, json_t *events, dstack_error *err) {
    chain_block block = {.number = UINT64_MAX};
    json_t *event;
    size_t i;
    int rc = 0;
    json_array_foreach(events, i, event) {
        uint64_t number = (uint64_t)json_integer_value(json_object_get(event, "block"));
        if (number != block.number) {
            char tag[20];
            snprintf(tag, sizeof tag, "0x%" PRIx64, number);
            rc = chain_node_block(s->node, tag, &block, err);
        }
        if (rc != 0) {
            break;
        }
        json_object_set_new(event, "time", json_integer((json_int_t)block.timestamp));
    }
    return rc;
}

static void time_text(const json_t *event, char out[24]) {
    time_t time = (time_t)json_integer_value(json_object_get(event, "time"));
    struct tm parts = {0};
    gmtime_r(&time, &parts);
    strftime(out, 24, "%Y-%m-%d %H:%M:%SZ", &parts);
}

static void print_events(struct cli *cli, const json_t *events) {
    const json_t *event, *value;
    size_t i;
    const char *name;
    json_array_foreach(events, i, event) {
        char when[24];
        time_text(event, when);
        cli_heading(cli, "%s  block %" PRId64 "  %s", when,
                    (int64_t)json_integer_value(json_object_get(event, "block")),
                    json_string_value(json_object_get(event, "event")));
        json_object_foreach(json_object_get(event, "values"), name, value) {
            DSTACK_AUTO(str)
            char *text = json_is_string(value) ? strdup(json_string_value(value))
                                               : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            cli_field(cli, name, "%s", text);
        }
        cli_field(cli, "transaction", "%s",
                  json_string_value(json_object_get(event, "transaction")));
    }
}

static int run_history(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(json) json_t *events = json_array();
    chain_address contract;
    chain_block head = {0};
    bool kms;
    int rc = find_contract(cli, &contract, &kms, err);
    rc = rc != 0 ? rc : chain_session_open_read(cli, &s, err);
    rc = rc != 0 ? rc : chain_node_block(s.node, "latest", &head, err);
    rc = rc != 0 ? rc : read_events(&s, &contract, &head, events, err);
    rc = rc != 0 ? rc : add_times(&s, events, err);
    if (rc != 0) {
        return rc;
    }
    if (cli->json) {
        DSTACK_AUTO(json)
        json_t *out =
            json_pack("{s:I, s:O}", "to_block", (json_int_t)head.number, "events", events);
        return cli_print_json(cli, out, err);
    }
    print_events(cli, events);
    return 0;
}

const struct cli_command chain_command_history = {
    .name = "history",
    .summary = "Show every change of a contract, as an audit trail",
    .usage = "(--kms | --app) ADDRESS --rpc URL --chain-id N",
    .help = "Each event with its block, time and transaction, oldest first.",
    .options = read_options,
    .run = run_history,
};
