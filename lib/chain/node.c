#include "chain/node.h"

#include <pthread.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "chain/abi.h"
#include "client/http_client.h"
#include "client/http_url.h"

#define DEFAULT_TIMEOUT_MS 5000
#define DEFAULT_ATTEMPTS 2
#define DEFAULT_ANSWER_LIMIT ((size_t)1 << 20)
#define KEPT_CONNECTIONS 8
#define MESSAGE_MAX 200

struct chain_node {
    http_client_config config; /* its texts are the node's own */
    char *url;
    dstack_buf ca_pem;
    char name[300];
    pthread_mutex_t lock; /* what follows */
    http_client *idle[KEPT_CONNECTIONS];
    size_t idle_count;
};

static void set_name(chain_node *node, const http_url *url) {
    bool https = url->scheme == HTTP_SCHEME_HTTPS;
    bool usual = strcmp(url->port, https ? "443" : "80") == 0;
    if (url->scheme == HTTP_SCHEME_UNIX) {
        snprintf(node->name, sizeof node->name, "%s", node->url);
    } else {
        snprintf(node->name, sizeof node->name, "http%s://%s%s%s", https ? "s" : "", url->host,
                 usual ? "" : ":", usual ? "" : url->port);
    }
}

chain_node *chain_node_new(const chain_node_config *config, dstack_error *err) {
    chain_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&node->lock, NULL);
    node->url = strdup(config->url);
    buf_put_bytes(&node->ca_pem, config->ca_pem);
    if (node->url == NULL || buf_check(&node->ca_pem, err) != 0) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        chain_node_free(node);
        return NULL;
    }
    int timeout_ms = config->timeout_ms > 0 ? config->timeout_ms : DEFAULT_TIMEOUT_MS;
    node->config = (http_client_config){
        .url = node->url,
        .connect_timeout_ms = timeout_ms,
        .total_timeout_ms = timeout_ms,
        .attempts = config->attempts > 0 ? config->attempts : DEFAULT_ATTEMPTS,
        .body_limit = config->answer_limit > 0 ? config->answer_limit : DEFAULT_ANSWER_LIMIT,
        .trust = config->ca_pem.len > 0 ? HTTP_CLIENT_TRUST_CA : HTTP_CLIENT_TRUST_SYSTEM,
        .ca_pem = bytes_of_buf(&node->ca_pem),
    };
    /* The first client shows whether the configuration can be used at all. */
    http_url url;
    int rc = http_url_parse(node->url, &url, err);
    http_client *first = rc == 0 ? http_client_new(&node->config, err) : NULL;
    if (first == NULL) {
        chain_node_free(node);
        return NULL;
    }
    set_name(node, &url);
    node->idle[node->idle_count++] = first;
    return node;
}

void chain_node_free(chain_node *node) {
    if (node != NULL) {
        while (node->idle_count > 0) {
            http_client_free(node->idle[--node->idle_count]);
        }
        pthread_mutex_destroy(&node->lock);
        dstack_buf_clear(&node->ca_pem);
        free(node->url);
        free(node);
    }
}

const char *chain_node_name(const chain_node *node) {
    return node->name;
}

/* ---- connections ------------------------------------------------------------------------------
 */

static http_client *borrow(chain_node *node, dstack_error *err) {
    http_client *client = NULL;
    pthread_mutex_lock(&node->lock);
    if (node->idle_count > 0) {
        client = node->idle[--node->idle_count];
    }
    pthread_mutex_unlock(&node->lock);
    return client != NULL ? client : http_client_new(&node->config, err);
}

static void give_back(chain_node *node, http_client *client) {
    pthread_mutex_lock(&node->lock);
    if (node->idle_count < KEPT_CONNECTIONS) {
        node->idle[node->idle_count++] = client;
        client = NULL;
    }
    pthread_mutex_unlock(&node->lock);
    http_client_free(client);
}

static int exchange(chain_node *node, dstack_bytes body, json_t **answer, dstack_error *err) {
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {
        .method = "POST", .path = "", .content_type = "application/json", .body = body};
    http_client *client = borrow(node, err);
    if (client == NULL) {
        return DSTACK_E_MEMORY;
    }
    int rc = http_client_send(client, &request, &response, err);
    give_back(node, client);
    if (rc != 0) {
        return rc;
    }
    *answer = json_parse(bytes_of_buf(&response.body), node->config.body_limit, "answer", err);
    if (response.status < 200 || response.status > 299) {
        /* Some nodes give their errors with a status of 4xx; anybody else's page is not shown. */
        bool is_rpc = json_object_get(*answer, "error") != NULL;
        if (!is_rpc) {
            json_decref(*answer);
            *answer = NULL;
            return error_set(err, DSTACK_E_NETWORK, "HTTP status %d", response.status);
        }
    }
    return *answer != NULL ? 0 : DSTACK_E_FORMAT;
}

/* ---- messages ---------------------------------------------------------------------------------
 */

static json_t *question_json(const chain_question *question, size_t id) {
    return json_pack("{s:s,s:I,s:s,s:o}", "jsonrpc", "2.0", "id", (json_int_t)id, "method",
                     question->method, "params",
                     question->params != NULL ? question->params : json_array());
}

static int write_questions(const chain_question *questions, size_t count, dstack_buf *out,
                           dstack_error *err) {
    DSTACK_AUTO(json) json_t *batch = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(batch, question_json(&questions[i], i + 1));
    }
    if (json_array_size(batch) != count) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return json_write(count == 1 ? json_array_get(batch, 0) : batch, false, out, err);
}

/* The node's error, with the reason of a revert where it gives one. */
static int peer_error(const json_t *error, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    const json_t *given = json_object_get(error, "data");
    /* Some put the data one level deeper. */
    given = json_is_object(given) ? json_object_get(given, "data") : given;
    const char *text = json_string_value(given);
    const char *message = json_string_value(json_object_get(error, "message"));
    const json_t *code = json_object_get(error, "code");
    if (text != NULL && chain_data_parse(text, &data, NULL) == 0 && data.len >= 4) {
        char reason[MESSAGE_MAX];
        chain_abi_revert_text(bytes_of_buf(&data), reason, sizeof reason);
        return error_set(err, DSTACK_E_PEER, "execution reverted: %s", reason);
    }
    return error_set(err, DSTACK_E_PEER, "error %lld: %.*s",
                     (long long)(json_is_integer(code) ? json_integer_value(code) : 0), MESSAGE_MAX,
                     message != NULL ? message : "without a message");
}

static int take_answer(const json_t *answer, size_t count, json_t **results, dstack_error *err) {
    const json_t *id = json_object_get(answer, "id");
    const json_t *error = json_object_get(answer, "error");
    json_t *result = json_object_get(answer, "result");
    if (error != NULL && !json_is_null(error)) {
        return peer_error(error, err);
    }
    json_int_t at = json_is_integer(id) ? json_integer_value(id) : 0;
    if (at < 1 || at > (json_int_t)count || results[at - 1] != NULL || result == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "answer to a question that was not asked");
    }
    results[at - 1] = json_incref(result);
    return 0;
}

static int take_answers(const json_t *answer, size_t count, json_t **results, dstack_error *err) {
    if (!json_is_array(answer)) {
        /* A refusal of the batch as such is one object. */
        int rc = take_answer(answer, count, results, err);
        return rc != 0 || count == 1
                   ? rc
                   : error_set(err, DSTACK_E_FORMAT, "one answer to %zu questions", count);
    }
    int rc = json_array_size(answer) == count
                 ? 0
                 : error_set(err, DSTACK_E_FORMAT, "%zu answers to %zu questions",
                             json_array_size(answer), count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = take_answer(json_array_get(answer, i), count, results, err);
    }
    return rc;
}

int chain_node_ask_all(chain_node *node, const chain_question *questions, size_t count,
                       json_t **results, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf body = {0};
    DSTACK_AUTO(json) json_t *answer = NULL;
    memset(results, 0, count * sizeof *results);
    int rc = write_questions(questions, count, &body, err);
    rc = rc != 0 ? rc : exchange(node, bytes_of_buf(&body), &answer, err);
    rc = rc != 0 ? rc : take_answers(answer, count, results, err);
    for (size_t i = 0; rc != 0 && i < count; i++) {
        json_decref(results[i]);
        results[i] = NULL;
    }
    return rc != 0 ? error_prefix(err, rc, "%s", node->name) : 0;
}

int chain_node_ask(chain_node *node, const char *method, json_t *params, json_t **result,
                   dstack_error *err) {
    chain_question question = {method, params};
    return chain_node_ask_all(node, &question, 1, result, err);
}

/* ---- usual questions --------------------------------------------------------------------------
 */

int chain_node_chain_id(chain_node *node, uint64_t *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *result = NULL;
    int rc = chain_node_ask(node, "eth_chainId", NULL, &result, err);
    if (rc == 0 && !json_is_string(result)) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: chain id is not text", node->name);
    }
    return rc != 0 ? rc : chain_quantity_parse(json_string_value(result), out, err);
}

int chain_block_parse(const json_t *value, chain_block *out, dstack_error *err) {
    const char *number, *timestamp, *hash;
    if (json_is_null(value)) {
        return error_set(err, DSTACK_E_NOT_FOUND, "the block is not known");
    }
    int rc = json_need_str(value, "number", &number, err);
    rc = rc != 0 ? rc : json_need_str(value, "timestamp", &timestamp, err);
    rc = rc != 0 ? rc : json_need_str(value, "hash", &hash, err);
    rc = rc != 0 ? rc : chain_quantity_parse(number, &out->number, err);
    rc = rc != 0 ? rc : chain_quantity_parse(timestamp, &out->timestamp, err);
    rc = rc != 0 ? rc : chain_word_parse(hash, &out->hash, err);
    return rc != 0 ? error_prefix(err, rc, "block") : 0;
}

int chain_node_block(chain_node *node, const char *tag, chain_block *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *result = NULL;
    int rc = chain_node_ask(node, "eth_getBlockByNumber", json_pack("[s,b]", tag, 0), &result, err);
    if (rc == 0 && (rc = chain_block_parse(result, out, err)) != 0) {
        error_prefix(err, rc, "%s", node->name);
    }
    return rc;
}

int chain_node_call(chain_node *node, const chain_address *to, dstack_bytes calldata,
                    const char *tag, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *result = NULL;
    DSTACK_AUTO(buf) dstack_buf data = {0};
    char address[CHAIN_ADDRESS_TEXT];
    chain_address_text(to, address);
    chain_data_put(&data, calldata);
    const char *text = buf_text(&data);
    if (text == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc =
        chain_node_ask(node, "eth_call",
                       json_pack("[{s:s,s:s},s]", "to", address, "data", text, tag), &result, err);
    if (rc == 0 && !json_is_string(result)) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: result of a call is not text", node->name);
    }
    return rc != 0 ? rc : chain_data_parse(json_string_value(result), out, err);
}
