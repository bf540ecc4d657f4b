/* A real EVM chain with the contracts on it (tests/evm/devchain), and nodes that look at it: each a
 * small HTTP proxy that hands questions to the one real node and, told so, changes what it says.
 * Nothing but those changes is made up. */
#ifndef TESTS_INTEGRATION_CHAIN_WORLD_H
#define TESTS_INTEGRATION_CHAIN_WORLD_H

#include "check.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "chain/chain.h"
#include "client/http_client.h"

/* ---- the chain --------------------------------------------------------------------------------
 */

typedef struct evm {
    pid_t pid;
    int input;
    char url[64];
    chain_address kms, app_implementation, owner, stranger;
    chain_node *node;
} evm;

static inline void evm_address(const json_t *facts, const char *name, chain_address *out) {
    dstack_error err = {0};
    const char *text = json_string_value(json_object_get(facts, name));
    assert_non_null(text);
    assert_ok(chain_address_parse(text, out, &err), err);
}

static inline void evm_account(const json_t *facts, size_t index, chain_address *out) {
    evm_address(json_array_get(json_object_get(facts, "accounts"), index), "address", out);
}

static inline void evm_read_line(int fd, dstack_buf *line) {
    char c;
    while (read(fd, &c, 1) == 1 && c != '\n') {
        buf_put_u8(line, (uint8_t)c);
    }
}

/* Skips the test program where anvil is not installed; CI has it always. */
static inline void evm_start(evm *e) {
    int in[2], out[2], status;
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    e->pid = fork();
    assert_true(e->pid >= 0);
    if (e->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        execl("tests/evm/devchain", "devchain", NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    e->input = in[1];
    DSTACK_AUTO(buf) dstack_buf line = {0};
    evm_read_line(out[0], &line);
    close(out[0]);
    if (line.len == 0) {
        waitpid(e->pid, &status, 0);
        if (WEXITSTATUS(status) == 77 && getenv("CI") == NULL) {
            print_message("SKIP: anvil is not installed (npm ci in contracts/)\n");
            exit(77);
        }
        fail_msg("tests/evm/devchain failed");
    }
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *facts = json_parse(bytes_of_buf(&line), 65536, "devchain", &err);
    assert_non_null(facts);
    snprintf(e->url, sizeof e->url, "%s", json_string_value(json_object_get(facts, "rpc")));
    evm_address(facts, "kms", &e->kms);
    evm_address(facts, "app_implementation", &e->app_implementation);
    evm_account(facts, 0, &e->owner);
    evm_account(facts, 1, &e->stranger);
    e->node = chain_node_new(&(chain_node_config){.url = e->url, .timeout_ms = 60000}, &err);
    assert_non_null(e->node);
}

static inline void evm_stop(evm *e) {
    chain_node_free(e->node);
    close(e->input);
    waitpid(e->pid, NULL, 0);
}

static inline json_t *evm_ask(evm *e, const char *method, json_t *params) {
    dstack_error err = {0};
    json_t *result = NULL;
    assert_ok(chain_node_ask(e->node, method, params, &result, &err), err);
    return result;
}

static inline void evm_do(evm *e, const char *method, json_t *params) {
    json_decref(evm_ask(e, method, params));
}

static inline void evm_mine(evm *e, unsigned count) {
    char text[16];
    snprintf(text, sizeof text, "0x%x", count);
    evm_do(e, "anvil_mine", json_pack("[s]", text));
}

static inline uint64_t evm_height(evm *e) {
    chain_block block;
    dstack_error err = {0};
    assert_ok(chain_node_block(e->node, "latest", &block, &err), err);
    return block.number;
}

/* Sends a transaction from an account of the chain and waits for its success. */
static inline void evm_send(evm *e, const chain_address *from, const chain_address *to,
                            const char *signature, const chain_abi_value *values, size_t count) {
    DSTACK_AUTO(buf) dstack_buf data = {0}, text = {0};
    dstack_error err = {0};
    char from_text[CHAIN_ADDRESS_TEXT], to_text[CHAIN_ADDRESS_TEXT];
    chain_address_text(from, from_text);
    chain_address_text(to, to_text);
    assert_ok(chain_abi_encode_call(signature, values, count, &data, &err), err);
    chain_data_put(&text, bytes_of_buf(&data));
    DSTACK_AUTO(json)
    json_t *hash = evm_ask(
        e, "eth_sendTransaction",
        json_pack("[{s:s,s:s,s:s}]", "from", from_text, "to", to_text, "data", buf_text(&text)));
    json_t *receipt = NULL;
    for (int i = 0; i < 1000 && !json_is_object(receipt); i++) {
        json_decref(receipt);
        receipt = evm_ask(e, "eth_getTransactionReceipt", json_pack("[O]", hash));
    }
    assert_string_equal(json_string_value(json_object_get(receipt, "status")), "0x1");
    json_decref(receipt);
}

static inline void evm_set_word(evm *e, const chain_address *to, const char *signature,
                                const char *word) {
    chain_word value;
    dstack_error err = {0};
    assert_ok(chain_word_parse(word, &value, &err), err);
    chain_abi_value argument = CHAIN_ABI_OF_WORD(&value);
    evm_send(e, &e->owner, to, signature, &argument, 1);
}

static inline void evm_set_bool(evm *e, const chain_address *to, const char *signature, bool flag) {
    chain_abi_value argument = CHAIN_ABI_OF_BOOL(flag);
    evm_send(e, &e->owner, to, signature, &argument, 1);
}

static inline void evm_store(evm *e, const char *address, const char *slot,
                             const char *address_in) {
    char value[CHAIN_WORD_TEXT];
    snprintf(value, sizeof value, "0x%024d%s", 0, address_in + 2);
    evm_do(e, "anvil_setStorageAt", json_pack("[s,s,s]", address, slot, value));
}

/* A DstackApp, as the factory makes it, at an address of our choice: a chain's own addresses cannot
 * be chosen, and in these tests an app's id follows from its compose text. */
static inline void evm_app_at(evm *e, const chain_address *app) {
    char contract[CHAIN_ADDRESS_TEXT], text[CHAIN_ADDRESS_TEXT], owner[CHAIN_ADDRESS_TEXT],
        implementation[CHAIN_ADDRESS_TEXT];
    chain_address_text(&e->kms, contract);
    chain_address_text(app, text);
    chain_address_text(&e->owner, owner);
    chain_address_text(&e->app_implementation, implementation);
    /* The KMS's proxy has the very code of an app's. */
    DSTACK_AUTO(json)
    json_t *code = evm_ask(e, "eth_getCode", json_pack("[s,s]", contract, "latest"));
    evm_do(e, "anvil_setCode", json_pack("[s,O]", text, code));
    evm_store(e, text, "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc",
              implementation);
    evm_store(e, text, "0x9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300", owner);
    chain_abi_value argument = CHAIN_ABI_OF_ADDRESS(app);
    evm_send(e, &e->stranger, &e->kms, "registerApp(address)", &argument, 1);
}

/* ---- nodes that can lie -----------------------------------------------------------------------
 */

typedef enum lie {
    TRUTH,
    SAYS_YES,        /* decisions are allowances */
    OTHER_CHAIN,     /* chain id 1 */
    BEHIND,          /* its newest block is `limit` */
    HOUR_OLD,        /* block times are an hour before what they are */
    TOMORROW,        /* block times are a day ahead */
    OTHER_HASHES,    /* block hashes are others */
    CLOSES,          /* no answer */
    SILENT,          /* an open connection, and no answer */
    SHORT_OF_LENGTH, /* Content-Length is more than comes */
    HUGE_LENGTH,     /* Content-Length is 8 GiB */
    NO_JSON,
    OTHER_QUESTIONS, /* ids that were not asked for */
    SERVER_ERROR,    /* status 503 */
} lie;

typedef struct lying_node {
    int listener;
    int stop[2];
    pthread_t thread;
    char url[64];
    const evm *chain;
    atomic_int lie;
    atomic_uint limit;
    atomic_uint asked;
} lying_node;

static inline void lying_set_hex(json_t *object, const char *key, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "0x%llx", (unsigned long long)value);
    json_object_set_new(object, key, json_string(text));
}

static inline uint64_t lying_get_hex(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? strtoull(text, NULL, 16) : 0;
}

/* Changes one question before it is handed on. */
static inline void lying_question(const lying_node *n, json_t *question) {
    const char *method = json_string_value(json_object_get(question, "method"));
    json_t *params = json_object_get(question, "params");
    if (n->lie == BEHIND && method != NULL && strcmp(method, "eth_getBlockByNumber") == 0) {
        const char *tag = json_string_value(json_array_get(params, 0));
        if (tag[0] != '0' || strtoull(tag, NULL, 16) > n->limit) {
            char text[24];
            snprintf(text, sizeof text, "0x%x", (unsigned)n->limit);
            json_array_set_new(params, 0, json_string(text));
        }
    }
}

static inline void lying_answer(const lying_node *n, const json_t *question, json_t *answer) {
    const char *method = json_string_value(json_object_get(question, "method"));
    json_t *result = json_object_get(answer, "result");
    const char *text = json_string_value(result);
    bool is_block = json_is_object(result) && strcmp(method, "eth_getBlockByNumber") == 0;
    if (n->lie == OTHER_CHAIN && strcmp(method, "eth_chainId") == 0) {
        json_object_set_new(answer, "result", json_string("0x1"));
    } else if (n->lie == SAYS_YES && strcmp(method, "eth_call") == 0 && text != NULL &&
               strlen(text) >= 66 && text[65] == '0') {
        char *changed = strdup(text);
        changed[65] = '1';
        json_object_set_new(answer, "result", json_string(changed));
        free(changed);
    } else if (is_block && (n->lie == HOUR_OLD || n->lie == TOMORROW)) {
        uint64_t time = lying_get_hex(result, "timestamp");
        lying_set_hex(result, "timestamp", n->lie == HOUR_OLD ? time - 3600 : time + 86400);
    } else if (is_block && n->lie == OTHER_HASHES) {
        json_object_set_new(result, "hash",
                            json_string("0xbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadba"
                                        "dbadbad0"));
    } else if (n->lie == OTHER_QUESTIONS) {
        json_object_set_new(answer, "id", json_integer(99));
    }
}

/* Asks the real node; the answer's text is appended. */
static inline void lying_forward(lying_node *n, dstack_bytes body, dstack_buf *out) {
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(
        &(http_client_config){.url = n->chain->url, .total_timeout_ms = 60000}, &err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    DSTACK_AUTO(json) json_t *questions = json_parse(body, (size_t)1 << 20, "question", &err);
    DSTACK_AUTO(buf) dstack_buf changed = {0};
    bool batch = json_is_array(questions);
    size_t count = batch ? json_array_size(questions) : 1;
    for (size_t i = 0; i < count; i++) {
        lying_question(n, batch ? json_array_get(questions, i) : questions);
    }
    if (questions == NULL || json_write(questions, false, &changed, &err) != 0) {
        return;
    }
    http_client_request request = {.method = "POST",
                                   .path = "",
                                   .content_type = "application/json",
                                   .body = bytes_of_buf(&changed)};
    if (http_client_send(client, &request, &response, &err) != 0) {
        return;
    }
    DSTACK_AUTO(json)
    json_t *answers = json_parse(bytes_of_buf(&response.body), (size_t)8 << 20, "answer", &err);
    for (size_t i = 0; i < count; i++) {
        lying_answer(n, batch ? json_array_get(questions, i) : questions,
                     batch ? json_array_get(answers, i) : answers);
    }
    (void)json_write(answers, false, out, &err);
}

static inline void lying_write(int fd, dstack_bytes data) {
    size_t done = 0;
    while (done < data.len) {
        ssize_t n = send(fd, data.data + done, data.len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        done += (size_t)n;
    }
}

/* One request per connection is all that a node needs to offer. */
static inline bool lying_read(int fd, dstack_buf *body) {
    DSTACK_AUTO(buf) dstack_buf all = {0};
    char part[4096];
    const char *end = NULL, *length = NULL;
    size_t wanted = 0;
    for (;;) {
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n <= 0) {
            return false;
        }
        buf_put(&all, part, (size_t)n);
        const char *text = buf_text(&all);
        end = strstr(text, "\r\n\r\n");
        length = strcasestr(text, "content-length:");
        wanted = length != NULL ? strtoul(length + 15, NULL, 10) : 0;
        if (end != NULL && all.len >= (size_t)(end + 4 - text) + wanted) {
            buf_put(body, end + 4, wanted);
            return true;
        }
    }
}

static inline void lying_serve(lying_node *n, int fd) {
    DSTACK_AUTO(buf) dstack_buf body = {0}, answer = {0}, message = {0};
    if (!lying_read(fd, &body)) {
        return;
    }
    n->asked++;
    int now = n->lie;
    if (now == SILENT) {
        struct pollfd p[] = {{.fd = fd, .events = POLLRDHUP}, {.fd = n->stop[0], .events = POLLIN}};
        poll(p, 2, 60000);
    }
    if (now == CLOSES || now == SILENT) {
        return;
    }
    if (now == NO_JSON) {
        buf_put_str(&answer, "<html>all is well</html>");
    } else {
        lying_forward(n, bytes_of_buf(&body), &answer);
    }
    if (now == SERVER_ERROR) {
        buf_reset(&answer);
    }
    unsigned long long length = answer.len;
    length = now == HUGE_LENGTH ? 8ull << 30 : now == SHORT_OF_LENGTH ? length + 100 : length;
    buf_put_fmt(&message,
                "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %llu\r\n"
                "Connection: close\r\n\r\n",
                now == SERVER_ERROR ? "503 Service Unavailable" : "200 OK", length);
    buf_put_bytes(&message, bytes_of_buf(&answer));
    lying_write(fd, bytes_of_buf(&message));
}

typedef struct lying_connection {
    lying_node *node;
    int fd;
} lying_connection;

static inline void *lying_connection_run(void *user) {
    lying_connection *c = user;
    lying_serve(c->node, c->fd);
    close(c->fd);
    free(c);
    return NULL;
}

#define LYING_CONNECTIONS 512

static inline void *lying_run(void *user) {
    lying_node *n = user;
    static _Thread_local pthread_t threads[LYING_CONNECTIONS];
    size_t count = 0;
    for (;;) {
        struct pollfd p[] = {{.fd = n->listener, .events = POLLIN},
                             {.fd = n->stop[0], .events = POLLIN}};
        poll(p, 2, -1);
        if (p[1].revents != 0 || count == LYING_CONNECTIONS) {
            break;
        }
        lying_connection *c = calloc(1, sizeof *c);
        *c = (lying_connection){n, accept(n->listener, NULL, NULL)};
        pthread_create(&threads[count++], NULL, lying_connection_run, c);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    return NULL;
}

static inline void lying_start(lying_node *n, const evm *chain) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *n = (lying_node){.chain = chain};
    n->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(n->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(n->listener, 64), 0);
    assert_int_equal(getsockname(n->listener, (struct sockaddr *)&address, &len), 0);
    snprintf(n->url, sizeof n->url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(pipe(n->stop), 0);
    assert_int_equal(pthread_create(&n->thread, NULL, lying_run, n), 0);
}

static inline void lying_stop(lying_node *n) {
    assert_int_equal(write(n->stop[1], "x", 1), 1);
    pthread_join(n->thread, NULL);
    close(n->stop[0]);
    close(n->stop[1]);
    close(n->listener);
}

#endif
