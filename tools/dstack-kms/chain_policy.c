#include "chain_policy.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "chain/abi.h"
#include "chain/boot_info.h"
#include "chain/reader.h"
#include "client/http_url.h"
#include "service/log.h"

#define CA_LIMIT ((size_t)1 << 20)
#define STATE_LIMIT ((size_t)4096)
#define BOOT_INFO_LIMIT ((size_t)1 << 20)
#define TEXT_MAX 512

struct kms_chain {
    chain_reader *reader;
    chain_address contract;
    uint64_t chain_id;
    char *state_file; /* NULL: none */
    pthread_mutex_t write_lock;
};

/* ---- settings ---------------------------------------------------------------------------------
 */

typedef struct setting {
    char key[80];
} setting;

static const char *key_of(setting *s, const char *prefix, const char *name) {
    snprintf(s->key, sizeof s->key, "%s.chain.%s", prefix, name);
    return s->key;
}

static const char *text_of(const service_config *config, const char *prefix, const char *name) {
    setting s;
    return config_str(config, key_of(&s, prefix, name));
}

static int64_t number_of(const service_config *config, const char *prefix, const char *name) {
    setting s;
    return config_int(config, key_of(&s, prefix, name));
}

static int64_t duration_of(const service_config *config, const char *prefix, const char *name) {
    setting s;
    return config_duration_ms(config, key_of(&s, prefix, name));
}

static size_t urls_of(const service_config *config, const char *prefix, const char *const **out) {
    setting s;
    return config_list(config, key_of(&s, prefix, "urls"), out);
}

/* On this machine: whoever controls that controls us too. */
static bool is_own(const http_url *url) {
    return url->scheme == HTTP_SCHEME_UNIX || strcmp(url->host, "localhost") == 0 ||
           strncmp(url->host, "127.", 4) == 0 || strcmp(url->host, "::1") == 0;
}

/* The nodes are what a forger of the chain would be: over plain HTTP whoever is on the way speaks
 * for all of them, and one alone has nobody to contradict it. */
static int check_nodes(const service_config *config, const char *prefix, bool insecure_dev,
                       dstack_error *err) {
    const char *const *urls;
    size_t count = urls_of(config, prefix, &urls);
    unsigned foreign = 0;
    for (size_t i = 0; i < count; i++) {
        http_url url;
        int rc = http_url_parse(urls[i], &url, err);
        if (rc != 0) {
            return error_prefix(err, rc, "%s.chain.urls", prefix);
        }
        if (!insecure_dev && url.scheme == HTTP_SCHEME_HTTP && !is_own(&url)) {
            return error_set(err, DSTACK_E_INSECURE,
                             "%s.chain.urls: plain http to another machine needs --insecure-dev",
                             prefix);
        }
        foreign += !is_own(&url);
    }
    int64_t quorum = number_of(config, prefix, "quorum");
    quorum = quorum == 0 ? (int64_t)count : quorum;
    if (!insecure_dev && foreign > 0 && quorum < 2) {
        return error_set(err, DSTACK_E_INSECURE,
                         "%s.chain: the word of one node of another machine needs --insecure-dev",
                         prefix);
    }
    return 0;
}

static int check_ranges(const service_config *config, const char *prefix, dstack_error *err) {
    static const struct {
        const char *name;
        int64_t least, most;
        bool duration; /* milliseconds */
    } ranges[] = {
        {"quorum", 0, CHAIN_NODES_MAX, false}, {"chain_id", 1, INT64_MAX, false},
        {"confirmations", 0, 100000, false},   {"max_age", 1000, 86400000LL * 7, true},
        {"cache", 0, 3600000, true},           {"timeout", 1, 600000, true},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        int64_t value = ranges[i].duration ? duration_of(config, prefix, ranges[i].name)
                                           : number_of(config, prefix, ranges[i].name);
        if (value < ranges[i].least || value > ranges[i].most) {
            return error_set(err, DSTACK_E_FORMAT, "%s.chain.%s must be %lld to %lld%s", prefix,
                             ranges[i].name, (long long)ranges[i].least, (long long)ranges[i].most,
                             ranges[i].duration ? " ms" : "");
        }
    }
    return 0;
}

static chain_reader_config reader_config(const service_config *config, const char *prefix) {
    chain_reader_config out = {
        .quorum = (unsigned)number_of(config, prefix, "quorum"),
        .chain_id = (uint64_t)number_of(config, prefix, "chain_id"),
        .tag = text_of(config, prefix, "block"),
        .confirmations = (unsigned)number_of(config, prefix, "confirmations"),
        .max_age = duration_of(config, prefix, "max_age") / 1000,
        .cache_ms = (int)duration_of(config, prefix, "cache"),
        .timeout_ms = (int)duration_of(config, prefix, "timeout"),
    };
    out.url_count = urls_of(config, prefix, &out.urls);
    return out;
}

int kms_chain_check(const service_config *config, const char *prefix, bool insecure_dev,
                    dstack_error *err) {
    chain_address contract;
    int rc = check_ranges(config, prefix, err);
    rc = rc != 0 ? rc : chain_address_parse(text_of(config, prefix, "contract"), &contract, err);
    if (rc != 0) {
        return error_prefix(err, rc, "%s.chain.contract", prefix);
    }
    rc = check_nodes(config, prefix, insecure_dev, err);
    if (rc == 0) {
        chain_reader_config nodes = reader_config(config, prefix);
        DSTACK_AUTO(chain_reader) chain_reader *reader = chain_reader_new(&nodes, err);
        rc = reader != NULL ? 0 : DSTACK_E_FORMAT;
    }
    return rc;
}

/* ---- the newest block seen --------------------------------------------------------------------
 */

/* A restart must not make the KMS believe an older chain than before. */
static void load_seen(const kms_chain *chain, chain_block *out) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    int64_t chain_id = 0;
    if (chain->state_file == NULL || file_read(chain->state_file, STATE_LIMIT, &text, NULL) != 0) {
        return;
    }
    DSTACK_AUTO(json)
    json_t *value = json_parse(bytes_of_buf(&text), STATE_LIMIT, chain->state_file, &err);
    int rc = value != NULL ? json_need_int(value, "chain_id", &chain_id, &err) : DSTACK_E_FORMAT;
    rc = rc != 0 ? rc : chain_block_parse(value, out, &err);
    if (rc != 0 || (uint64_t)chain_id != chain->chain_id) {
        LOG_WARN("the newest block seen is not known", "file", chain->state_file, "reason",
                 rc != 0 ? err.message : "it is of another chain");
        *out = (chain_block){0};
    }
}

static void on_seen(void *user, const chain_block *block) {
    kms_chain *chain = user;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    char hash[CHAIN_WORD_TEXT];
    if (chain->state_file == NULL) {
        return;
    }
    chain_word_text(&block->hash, hash);
    buf_put_fmt(&text,
                "{\"chain_id\":%llu,\"number\":\"0x%llx\",\"timestamp\":\"0x%llx\",\"hash\":\"%s\"}"
                "\n",
                (unsigned long long)chain->chain_id, (unsigned long long)block->number,
                (unsigned long long)block->timestamp, hash);
    pthread_mutex_lock(&chain->write_lock);
    int rc = file_write_atomic(chain->state_file, bytes_of_buf(&text), 0600, &err);
    pthread_mutex_unlock(&chain->write_lock);
    if (rc != 0) {
        LOG_WARN("the newest block seen is not kept", "reason", err.message);
    }
}

static void on_event(void *user, chain_event event, const char *node, const char *text) {
    (void)user;
    switch (event) {
    case CHAIN_EVENT_NODE:
        LOG_WARN("a chain node cannot be used", "node", node, "reason", text);
        break;
    case CHAIN_EVENT_DISSENT:
        LOG_ERROR("a chain node contradicts the others", "node", node, "reason", text);
        break;
    case CHAIN_EVENT_REORG:
        LOG_ERROR("the chain was reorganised", "node", node, "reason", text);
        break;
    }
}

/* ---- opening ----------------------------------------------------------------------------------
 */

int kms_chain_open(kms_chain **out, const service_config *config, const char *prefix,
                   const char *state, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf ca = {0};
    chain_reader_config nodes = reader_config(config, prefix);
    const char *ca_file = text_of(config, prefix, "ca_file");
    const char *state_file = text_of(config, prefix, "state");
    kms_chain *chain = calloc(1, sizeof *chain);
    if (chain == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    pthread_mutex_init(&chain->write_lock, NULL);
    chain->chain_id = nodes.chain_id;
    state_file = state_file[0] != 0 ? state_file : state;
    chain->state_file = state_file != NULL ? strdup(state_file) : NULL;
    int rc = chain_address_parse(text_of(config, prefix, "contract"), &chain->contract, err);
    if (rc == 0 && ca_file[0] != 0) {
        rc = file_read(ca_file, CA_LIMIT, &ca, err);
        nodes.ca_pem = bytes_of_buf(&ca);
    }
    if (rc == 0) {
        load_seen(chain, &nodes.seen);
        nodes.on_event = on_event;
        nodes.on_seen = on_seen;
        nodes.user = chain;
        chain->reader = chain_reader_new(&nodes, err);
        rc = chain->reader != NULL ? 0 : DSTACK_E_ARGUMENT;
    }
    if (rc != 0) {
        kms_chain_free(chain);
        return error_prefix(err, rc, "%s.chain", prefix);
    }
    *out = chain;
    return 0;
}

void kms_chain_free(kms_chain *chain) {
    if (chain != NULL) {
        chain_reader_free(chain->reader);
        pthread_mutex_destroy(&chain->write_lock);
        free(chain->state_file);
        free(chain);
    }
}

/* ---- questions --------------------------------------------------------------------------------
 */

static int selector_call(const char *signature, dstack_buf *out, dstack_error *err) {
    return chain_abi_encode_call(signature, NULL, 0, out, err);
}

static int read_contract(kms_chain *chain, const dstack_buf *calldata, size_t count,
                         chain_answers *answers, dstack_error *err) {
    chain_call calls[CHAIN_CALLS_MAX];
    for (size_t i = 0; i < count; i++) {
        calls[i] = (chain_call){&chain->contract, bytes_of_buf(&calldata[i])};
    }
    return chain_reader_call(chain->reader, calls, count, clock_unix(), answers, err);
}

int kms_chain_decide(kms_chain *chain, kms_boot_kind kind, dstack_bytes boot_info,
                     kms_decision *decision, dstack_error *err) {
    DSTACK_AUTO(json) json_t *info = json_parse(boot_info, BOOT_INFO_LIMIT, "boot info", err);
    DSTACK_AUTO(buf) dstack_buf question = {0};
    DSTACK_AUTO(buf) dstack_buf gateway = {0};
    DSTACK_AUTO(chain_answers) chain_answers answers = {0};
    kms_decision out = {0};
    int rc = info != NULL ? 0 : DSTACK_E_FORMAT;
    rc = rc != 0 ? rc : chain_boot_info_encode(kind == KMS_BOOT_KMS, info, &question, err);
    rc = rc != 0 ? rc : selector_call("gatewayAppId()", &gateway, err);
    if (rc != 0) {
        return rc;
    }
    dstack_buf calls[] = {question, gateway};
    rc = read_contract(chain, calls, 2, &answers, err);
    rc = rc != 0 ? rc
                 : chain_boot_info_answer(bytes_of_buf(&answers.results[0]), &out.allowed,
                                          out.reason, sizeof out.reason, err);
    rc = rc != 0 ? rc
                 : chain_text_answer(bytes_of_buf(&answers.results[1]), out.gateway_app_id,
                                     sizeof out.gateway_app_id, err);
    if (rc == 0) {
        out.policy_time = (int64_t)answers.block.timestamp;
        out.block_number = answers.block.number;
        chain_word_text(&answers.block.hash, out.block_hash);
        *decision = out;
    }
    return rc != 0 ? error_prefix(err, rc, "policy on the chain") : 0;
}

int kms_chain_info(kms_chain *chain, kms_auth_info *info, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf gateway = {0};
    DSTACK_AUTO(buf) dstack_buf implementation = {0};
    DSTACK_AUTO(chain_answers) chain_answers answers = {0};
    chain_reader_state state;
    int rc = selector_call("gatewayAppId()", &gateway, err);
    rc = rc != 0 ? rc : selector_call("appImplementation()", &implementation, err);
    if (rc != 0) {
        return rc;
    }
    dstack_buf calls[] = {gateway, implementation};
    rc = read_contract(chain, calls, 2, &answers, err);
    rc = rc != 0 ? rc
                 : chain_text_answer(bytes_of_buf(&answers.results[0]), info->gateway_app_id,
                                     sizeof info->gateway_app_id, err);
    if (rc == 0) {
        chain_abi_reader r = chain_abi_read(bytes_of_buf(&answers.results[1]));
        chain_address app = chain_abi_get_address(&r);
        rc = chain_abi_ok(&r) ? 0 : error_set(err, DSTACK_E_FORMAT, "appImplementation");
        chain_address_text(&app, info->app_implementation);
    }
    if (rc != 0) {
        return error_prefix(err, rc, "policy on the chain");
    }
    chain_reader_get_state(chain->reader, &state);
    chain_address_text(&chain->contract, info->contract_address);
    snprintf(info->eth_rpc_url, sizeof info->eth_rpc_url, "%.255s", state.nodes[0].name);
    info->chain_id = chain->chain_id;
    info->policy_time = (int64_t)answers.block.timestamp;
    info->has_contract = true;
    return 0;
}

/* ---- what is shown ----------------------------------------------------------------------------
 */

json_t *kms_chain_describe(kms_chain *chain) {
    chain_reader_state state;
    char hash[CHAIN_WORD_TEXT], contract[CHAIN_ADDRESS_TEXT];
    json_t *nodes = json_array();
    chain_reader_get_state(chain->reader, &state);
    chain_word_text(&state.block.hash, hash);
    chain_address_text(&chain->contract, contract);
    for (size_t i = 0; i < state.node_count; i++) {
        json_array_append_new(nodes, json_pack("{s:s,s:I,s:I,s:s}", "name", state.nodes[i].name,
                                               "head", (json_int_t)state.nodes[i].head, "failures",
                                               (json_int_t)state.nodes[i].failures, "trouble",
                                               state.nodes[i].trouble));
    }
    return json_pack("{s:s,s:I,s:I,s:s,s:I,s:I,s:I,s:I,s:o}", "contract", contract, "chain_id",
                     (json_int_t)chain->chain_id, "block", (json_int_t)state.block.number,
                     "block_hash", hash, "block_time", (json_int_t)state.block.timestamp, "quorum",
                     (json_int_t)state.quorum, "dissents", (json_int_t)state.dissents, "reorgs",
                     (json_int_t)state.reorgs, "nodes", nodes);
}

static void set_metric(metrics *registry, metrics_kind kind, const char *program, const char *name,
                       const char *labels, const char *help, uint64_t value) {
    char full[100];
    snprintf(full, sizeof full, "%s_policy_%s", program, name);
    metrics_set(metrics_get(registry, kind, full, labels, help),
                value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

void kms_chain_measure(kms_chain *chain, metrics *registry, const char *program) {
    chain_reader_state s;
    chain_reader_get_state(chain->reader, &s);
    const struct {
        metrics_kind kind;
        const char *name, *help;
        uint64_t value;
    } all[] = {
        {METRICS_GAUGE, "block_number", "Block at which the policy was last read.", s.block.number},
        {METRICS_GAUGE, "block_timestamp_seconds", "Its time.", s.block.timestamp},
        {METRICS_COUNTER, "reads_total", "Answers of the contract.", s.reads},
        {METRICS_COUNTER, "errors_total", "Questions to it that had no answer.", s.refusals},
        {METRICS_COUNTER, "dissents_total", "Answers of nodes that a quorum contradicted.",
         s.dissents},
        {METRICS_COUNTER, "reorgs_total", "Replaced blocks that had been read from.", s.reorgs},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        set_metric(registry, all[i].kind, program, all[i].name, "", all[i].help, all[i].value);
    }
    for (size_t i = 0; i < s.node_count; i++) {
        char labels[40];
        snprintf(labels, sizeof labels, "node=\"%zu\"", i);
        set_metric(registry, METRICS_GAUGE, program, "node_usable", labels,
                   "Whether a chain node answers as it should.", s.nodes[i].trouble[0] == 0);
        set_metric(registry, METRICS_COUNTER, program, "node_failures_total", labels,
                   "Failures of a chain node.", s.nodes[i].failures);
    }
}
