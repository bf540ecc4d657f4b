#include "chain/event.h"

#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "chain/abi.h"
#include "crypto/hash.h"

#define ARGS_MAX 7
#define TOPICS_MAX 4
#define DATA_MAX ((size_t)1 << 20)

typedef enum value_kind { ADDRESS, WORD, POLICY, BOOL, UINT, TEXT, BYTES } value_kind;

typedef struct argument {
    const char *name; /* NULL: no more */
    value_kind kind;
    bool indexed;
} argument;

/* Every event of DstackKms, DstackApp and what they inherit, in the order of their values. */
static const struct event {
    const char *signature;
    argument args[ARGS_MAX];
} events[] = {
    {"PolicyChanged(address,bytes32,bytes32,bool)",
     {{"actor", ADDRESS, true},
      {"policy", POLICY, true},
      {"value", WORD, true},
      {"enabled", BOOL, false}}},
    {"ValiditySet(bytes32,bytes32,uint64,uint64)",
     {{"policy", POLICY, true},
      {"value", WORD, true},
      {"notBefore", UINT, false},
      {"notAfter", UINT, false}}},
    {"ComposeHashAdded(bytes32)", {{"composeHash", WORD, false}}},
    {"ComposeHashRemoved(bytes32)", {{"composeHash", WORD, false}}},
    {"DeviceAdded(bytes32)", {{"deviceId", WORD, false}}},
    {"DeviceRemoved(bytes32)", {{"deviceId", WORD, false}}},
    {"OsImageHashAdded(bytes32)", {{"osImageHash", WORD, false}}},
    {"OsImageHashRemoved(bytes32)", {{"osImageHash", WORD, false}}},
    {"KmsAggregatedMrAdded(bytes32)", {{"mrAggregated", WORD, false}}},
    {"KmsAggregatedMrRemoved(bytes32)", {{"mrAggregated", WORD, false}}},
    {"KmsDeviceAdded(bytes32)", {{"deviceId", WORD, false}}},
    {"KmsDeviceRemoved(bytes32)", {{"deviceId", WORD, false}}},
    {"AppRegistered(address)", {{"appId", ADDRESS, false}}},
    {"AppDeployedViaFactory(address,address)",
     {{"appId", ADDRESS, true}, {"deployer", ADDRESS, true}}},
    {"AppImplementationSet(address)", {{"implementation", ADDRESS, false}}},
    {"AppApproved(address)", {{"appId", ADDRESS, false}}},
    {"AppApprovalRevoked(address)", {{"appId", ADDRESS, false}}},
    {"AppApprovalRequiredSet(bool)", {{"required", BOOL, false}}},
    {"KmsInfoSet(bytes)", {{"k256Pubkey", BYTES, false}}},
    {"GatewayAppIdSet(string)", {{"gatewayAppId", TEXT, false}}},
    {"GuardianSet(address)", {{"guardian", ADDRESS, false}}},
    {"AllowAnyDeviceSet(bool)", {{"allowAny", BOOL, false}}},
    {"RequireTcbUpToDateSet(bool)", {{"requireUpToDate", BOOL, false}}},
    {"RestrictOsImagesSet(bool)", {{"restricted", BOOL, false}}},
    {"AdvisoryRefusedSet(string,bool)", {{"advisoryId", TEXT, false}, {"refused", BOOL, false}}},
    {"UpgradesDisabled()", {{NULL, WORD, false}}},
    {"Initialized(uint64)", {{"version", UINT, false}}},
    {"Upgraded(address)", {{"implementation", ADDRESS, true}}},
    {"OwnershipTransferStarted(address,address)",
     {{"previousOwner", ADDRESS, true}, {"newOwner", ADDRESS, true}}},
    {"OwnershipTransferred(address,address)",
     {{"previousOwner", ADDRESS, true}, {"newOwner", ADDRESS, true}}},
    /* A timelock's, when it owns one of them. */
    {"CallScheduled(bytes32,uint256,address,uint256,bytes,bytes32,uint256)",
     {{"id", WORD, true},
      {"index", UINT, true},
      {"target", ADDRESS, false},
      {"value", WORD, false},
      {"data", BYTES, false},
      {"predecessor", WORD, false},
      {"delay", UINT, false}}},
    {"CallExecuted(bytes32,uint256,address,uint256,bytes)",
     {{"id", WORD, true},
      {"index", UINT, true},
      {"target", ADDRESS, false},
      {"value", WORD, false},
      {"data", BYTES, false}}},
    {"CallSalt(bytes32,bytes32)", {{"id", WORD, true}, {"salt", WORD, false}}},
    {"Cancelled(bytes32)", {{"id", WORD, true}}},
};

static const char *const policies[] = {
    "os-image",
    "kms-aggregated-mr",
    "kms-device",
    "registered-app",
    "app-implementation",
    "gateway-app-id",
    "kms-info",
    "kms-quote",
    "kms-eventlog",
    "approved-app",
    "app-approval-required",
    "implementation-upgrade",
    "compose-hash",
    "device",
    "allow-any-device",
    "upgrades-disabled",
    "require-tcb-up-to-date",
    "restrict-os-images",
    "refused-advisory",
    "guardian",
};

void chain_policy_hash(const char *name, chain_word *out) {
    hash_keccak256(bytes_of_str(name), out->bytes);
}

static json_t *word_json(const chain_word *word) {
    char text[CHAIN_WORD_TEXT];
    chain_word_text(word, text);
    return json_string(text);
}

static json_t *policy_json(const chain_word *word) {
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        chain_word hash;
        chain_policy_hash(policies[i], &hash);
        if (memcmp(hash.bytes, word->bytes, sizeof hash.bytes) == 0) {
            return json_string(policies[i]);
        }
    }
    return word_json(word);
}

static json_t *data_json(dstack_bytes data) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    chain_data_put(&text, data);
    return json_string(buf_text(&text));
}

/* NULL when the text is not UTF-8: a value of another form. */
static json_t *value_json(value_kind kind, chain_abi_reader *r) {
    char text[CHAIN_ADDRESS_TEXT];
    chain_address address;
    chain_word word;
    dstack_bytes bytes;
    switch (kind) {
    case ADDRESS:
        address = chain_abi_get_address(r);
        chain_address_text(&address, text);
        return json_string(text);
    case WORD:
        word = chain_abi_get_word(r);
        return word_json(&word);
    case POLICY:
        word = chain_abi_get_word(r);
        return policy_json(&word);
    case BOOL:
        return json_boolean(chain_abi_get_bool(r));
    case UINT:
        return json_integer((json_int_t)chain_abi_get_uint(r));
    case TEXT:
        bytes = chain_abi_get_bytes(r);
        return json_stringn((const char *)bytes.data, bytes.len);
    case BYTES:
        return data_json(chain_abi_get_bytes(r));
    }
    return NULL;
}

/* ---- one log ---------------------------------------------------------------------------------- */

typedef struct log {
    uint64_t block, index;
    chain_word transaction;
    chain_address contract;
    chain_word topics[TOPICS_MAX];
    size_t topic_count;
    dstack_buf data;
} log;

static void log_clear(log *l) {
    dstack_buf_clear(&l->data);
}
DSTACK_AUTO_DEFINE_CLEAR(log, log, log_clear)

static int need_quantity(const json_t *value, const char *key, uint64_t *out, dstack_error *err) {
    const char *text;
    int rc = json_need_str(value, key, &text, err);
    return rc != 0 ? rc : chain_quantity_parse(text, out, err);
}

static int read_topics(const json_t *value, log *l, dstack_error *err) {
    json_t *topics;
    int rc = json_need_array(value, "topics", &topics, err);
    if (rc == 0 && json_array_size(topics) > TOPICS_MAX) {
        rc = error_set(err, DSTACK_E_FORMAT, "more than four topics");
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(topics); i++) {
        const char *text = json_string_value(json_array_get(topics, i));
        rc = chain_word_parse(text != NULL ? text : "", &l->topics[l->topic_count++], err);
    }
    return rc;
}

static int read_log(const json_t *value, log *l, dstack_error *err) {
    const char *address, *transaction, *data;
    int rc = need_quantity(value, "blockNumber", &l->block, err);
    rc = rc != 0 ? rc : need_quantity(value, "logIndex", &l->index, err);
    rc = rc != 0 ? rc : json_need_str(value, "address", &address, err);
    rc = rc != 0 ? rc : json_need_str(value, "transactionHash", &transaction, err);
    rc = rc != 0 ? rc : json_need_str(value, "data", &data, err);
    rc = rc != 0 ? rc : chain_address_parse(address, &l->contract, err);
    rc = rc != 0 ? rc : chain_word_parse(transaction, &l->transaction, err);
    rc = rc != 0 ? rc : read_topics(value, l, err);
    if (rc == 0 && strlen(data) > 2 * DATA_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, "data of more than %zu bytes", DATA_MAX);
    }
    if (rc == 0 && (l->block > INT64_MAX || l->index > INT64_MAX)) {
        rc = error_set(err, DSTACK_E_FORMAT, "a block number beyond all bounds");
    }
    return rc != 0 ? rc : chain_data_parse(data, &l->data, err);
}

static const struct event *find_event(const log *l) {
    for (size_t i = 0; l->topic_count > 0 && i < sizeof events / sizeof *events; i++) {
        chain_word topic;
        chain_abi_topic(events[i].signature, &topic);
        if (memcmp(topic.bytes, l->topics[0].bytes, sizeof topic.bytes) == 0) {
            return &events[i];
        }
    }
    return NULL;
}

static json_t *unknown_values(const log *l) {
    json_t *topics = json_array();
    for (size_t i = 0; i < l->topic_count; i++) {
        json_array_append_new(topics, word_json(&l->topics[i]));
    }
    return json_pack("{s:o, s:o}", "topics", topics, "data", data_json(bytes_of_buf(&l->data)));
}

/* NULL when topics and data do not have the event's form. */
static json_t *known_values(const struct event *event, const log *l) {
    DSTACK_AUTO(json) json_t *values = json_object();
    chain_abi_reader data = chain_abi_read(bytes_of_buf(&l->data));
    size_t topic = 1;
    bool good = true;
    for (const argument *a = event->args; good && a < event->args + ARGS_MAX && a->name; a++) {
        if (a->indexed && topic >= l->topic_count) {
            return NULL;
        }
        chain_abi_reader indexed = {0};
        if (a->indexed) {
            indexed = chain_abi_read(bytes_of(l->topics[topic++].bytes, CHAIN_WORD_SIZE));
        }
        chain_abi_reader *r = a->indexed ? &indexed : &data;
        json_t *value = value_json(a->kind, r);
        good = value != NULL && chain_abi_ok(r);
        json_object_set_new(values, a->name, value);
    }
    good = good && topic == l->topic_count;
    return good ? json_incref(values) : NULL;
}

int chain_event_parse(const json_t *value, json_t **out, dstack_error *err) {
    DSTACK_AUTO(log) log l = {0};
    char contract[CHAIN_ADDRESS_TEXT], transaction[CHAIN_WORD_TEXT];
    *out = NULL;
    int rc = read_log(value, &l, err);
    if (rc != 0) {
        return error_prefix(err, rc, "log");
    }
    const struct event *event = find_event(&l);
    size_t name_len = event != NULL ? strcspn(event->signature, "(") : 0;
    json_t *values = event != NULL ? known_values(event, &l) : unknown_values(&l);
    if (values == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "log: the values of %.*s have another form",
                         (int)name_len, event != NULL ? event->signature : "");
    }
    chain_address_text(&l.contract, contract);
    chain_word_text(&l.transaction, transaction);
    *out =
        json_pack("{s:I, s:I, s:s, s:s, s:o, s:o}", "block", (json_int_t)l.block, "index",
                  (json_int_t)l.index, "transaction", transaction, "contract", contract, "event",
                  event != NULL ? json_stringn(event->signature, name_len) : json_string("unknown"),
                  "values", values);
    return *out != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
}
