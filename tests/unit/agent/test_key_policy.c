/* The key policy at the agent's sockets: real connections of real processes. What is made up is the
 * folder that stands for /proc (so that a test process can be in a container) and the engine, which
 * is an HTTP server of ours on a socket. */
#define MANIFEST                                                                                   \
    "{\"manifest_version\":\"3\",\"name\":\"t\",\"runner\":\"docker-compose\","                    \
    "\"docker_compose_file\":\"services: {web: {image: a}, signer: {image: b}}\","                 \
    "\"secure_time\":false,\"requirements\":{\"key_policy\":{\"services\":{"                       \
    "\"signer\":{\"paths\":[\"wallet\",\"eth/*\"],\"domains\":[\"wallet*\"],\"sign\":true},"       \
    "\"web\":{\"paths\":[\"tls/*\"],\"certificates\":true,\"attest\":true}}}}%s}"
#include "agent_world.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "raw_http.h"
#include "serve/caller.h"

#define ID(digit)                                                                                  \
    digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit
#define SIGNER ID("00a1")
#define WEB ID("00b2")
#define PLAIN ID("00c3")   /* a container without compose's labels */
#define ALIEN ID("00d4")   /* a service "signer" of another project */
#define UNKNOWN ID("00e5") /* the engine does not know it */
#define SCOPE(id) "0::/system.slice/docker-" id ".scope\n"
#define OUR_FILES "mnt:[1]"

typedef struct policy_world {
    world w;
    http_server *engine;
    atomic_int asked;
    char proc[96];
} policy_world;

/* ---- the engine ------------------------------------------------------------------------------- */

static void inspect(http_request *request, http_response *response, void *user) {
    static const struct {
        const char *id, *project, *service;
    } rows[] = {{SIGNER, "dstack", "signer"}, {WEB, "dstack", "web"}, {ALIEN, "other", "signer"}};
    policy_world *p = user;
    const char *id = http_request_capture(request, 0);
    atomic_fetch_add(&p->asked, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].id, id) == 0) {
            DSTACK_AUTO(json)
            json_t *answer = json_pack("{s:s,s:{s:{s:s,s:s}}}", "Id", id, "Config", "Labels",
                                       "com.docker.compose.project", rows[i].project,
                                       "com.docker.compose.service", rows[i].service);
            http_response_json(response, 200, answer);
            return;
        }
    }
    if (strcmp(id, PLAIN) == 0) {
        DSTACK_AUTO(json) json_t *answer = json_pack("{s:s,s:{s:n}}", "Id", id, "Config", "Labels");
        http_response_json(response, 200, answer);
        return;
    }
    http_response_error(response, 404, "no such container");
}

static const http_route engine_routes[] = {
    {"GET", "/v1.41/containers/*/json", inspect, NULL, 0, 0},
};

static void engine_start(policy_world *p) {
    char address[160];
    dstack_error err = {0};
    snprintf(address, sizeof address, "unix:%s/docker.sock", p->w.dir);
    p->engine = http_server_new(&(http_server_config){.name = "engine", .workers = 1});
    const http_listener_config config = {
        .name = "engine", .address = address, .routes = engine_routes, .route_count = 1, .user = p};
    assert_ok(http_server_listen(p->engine, &config, &err), err);
}

/* ---- the folder that stands for /proc --------------------------------------------------------- */

static void proc_put(const policy_world *p, const char *process, const char *cgroup,
                     const char *files) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", p->proc, process);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/ns", p->proc, process);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/ns/mnt", p->proc, process);
    unlink(path);
    assert_int_equal(symlink(files, path), 0);
    snprintf(path, sizeof path, "%s/%s/cgroup", p->proc, process);
    put_text(path, cgroup);
}

static int policy_begin(void **state) {
    policy_world *p = calloc(1, sizeof *p);
    assert_non_null(p);
    *state = p;
    world_begin(&p->w, "");
    raw_listen(&p->w.f, p->w.dir);
    engine_start(p);
    snprintf(p->proc, sizeof p->proc, "%s/proc", p->w.dir);
    assert_int_equal(mkdir(p->proc, 0700), 0);
    proc_put(p, "self", "0::/\n", OUR_FILES);
    char engine[160];
    snprintf(engine, sizeof engine, "%s/docker.sock", p->w.dir);
    caller_book_free(p->w.f.a->callers);
    p->w.f.a->callers = caller_book_new(p->proc, engine);
    assert_non_null(p->w.f.a->callers);
    return 0;
}

static int policy_end(void **state) {
    policy_world *p = *state;
    http_server_free(p->engine);
    world_end(&p->w);
    free(p);
    return 0;
}

/* ---- callers ---------------------------------------------------------------------------------- */

typedef struct call_case {
    const char *socket, *target, *body;
} call_case;

static int call_once(const char *dir, const call_case *c, char *text, size_t size) {
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    int status =
        raw_call(dir, c->socket, "POST", c->target, RAW_JSON, bytes_of_str(c->body), &answer);
    snprintf(text, size, "%.*s", (int)answer.body.len, (const char *)answer.body.data);
    return status;
}

/* A process of its own makes the call, once its place in the folder has been made. */
static int call_from(policy_world *p, const char *cgroup, const char *files, const call_case *c,
                     char text[4096]) {
    int go[2], back[2], status = 0;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(back), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte, answer[4096] = "";
        int code = read(go[0], &byte, 1) == 1 ? call_once(p->w.dir, c, answer, sizeof answer) : 0;
        bool sent = write(back[1], &code, sizeof code) == sizeof code &&
                    write(back[1], answer, sizeof answer) == sizeof answer;
        _exit(sent ? 0 : 1);
    }
    char name[16];
    snprintf(name, sizeof name, "%d", (int)child);
    proc_put(p, name, cgroup, files);
    assert_int_equal(write(go[1], "g", 1), 1);
    assert_int_equal(read(back[0], &status, sizeof status), sizeof status);
    assert_int_equal(read(back[0], text, 4096), 4096);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(go[0]), close(go[1]), close(back[0]), close(back[1]);
    return status;
}

static void expect(policy_world *p, const char *cgroup, const call_case *c, int want,
                   const char *word) {
    char text[4096];
    int status = call_from(p, cgroup, "mnt:[2]", c, text);
    if (status != want || (word != NULL && strstr(text, word) == NULL)) {
        fail_msg("%s %s: status %d, %s", c->target, c->body, status, text);
    }
}

#define KEY(path) "{\"path\":\"" path "\"}"
#define DOMAIN(domain) "{\"domain\":\"" domain "\",\"algorithm\":\"ed25519\"}"

static const call_case get_wallet = {"dstack.sock", "/GetKey", KEY("wallet")};

/* ---- tests ------------------------------------------------------------------------------------ */

static void sec_24_a_service_gets_what_the_policy_grants_it(void **state) {
    static const struct {
        const char *cgroup;
        call_case call;
        int status;
    } cases[] = {
        {SCOPE(SIGNER), {"dstack.sock", "/GetKey", KEY("wallet")}, 200},
        {SCOPE(SIGNER), {"dstack.sock", "/v0/GetKey", KEY("eth/1")}, 200},
        {SCOPE(SIGNER), {"dstack.sock", "/GetKey", KEY("vms")}, 403},
        {SCOPE(SIGNER), {"dstack.sock", "/GetKey", KEY("wallet/")}, 403},
        {SCOPE(SIGNER), {"dstack.sock", "/v1/GetKey", DOMAIN("wallet-2")}, 200},
        {SCOPE(SIGNER), {"dstack.sock", "/v1/GetKey", DOMAIN("eth/1")}, 403},
        {SCOPE(SIGNER),
         {"dstack.sock", "/Sign", "{\"algorithm\":\"ed25519\",\"data\":\"00\"}"},
         200},
        {SCOPE(SIGNER), {"dstack.sock", "/GetTlsKey", "{}"}, 403},
        {SCOPE(SIGNER), {"dstack.sock", "/Attest", "{}"}, 403},
        {SCOPE(SIGNER), {"tappd.sock", "/prpc/Tappd.DeriveK256Key", KEY("eth/1")}, 200},
        {SCOPE(SIGNER), {"tappd.sock", "/prpc/Tappd.DeriveKey", KEY("wallet")}, 403},
        {SCOPE(WEB), {"dstack.sock", "/GetKey", KEY("tls/a")}, 200},
        {SCOPE(WEB), {"dstack.sock", "/GetKey", KEY("wallet")}, 403},
        {SCOPE(WEB), {"dstack.sock", "/v1/GetKey", DOMAIN("tls/a")}, 403},
        {SCOPE(WEB), {"dstack.sock", "/Sign", "{\"algorithm\":\"ed25519\",\"data\":\"00\"}"}, 403},
        {SCOPE(WEB), {"dstack.sock", "/GetTlsKey", "{}"}, 200},
        {SCOPE(WEB), {"dstack.sock", "/v1/IssueCert", "{}"}, 200},
        {SCOPE(WEB), {"dstack.sock", "/GetQuote", "{}"}, 200},
        {SCOPE(WEB), {"tappd.sock", "/prpc/Tappd.DeriveKey", KEY("tls/a")}, 200},
        {SCOPE(WEB), {"tappd.sock", "/prpc/Tappd.DeriveKey", KEY("wallet")}, 403},
        {SCOPE(WEB),
         {"tappd.sock", "/prpc/Tappd.DeriveKey", "{\"path\":\"wallet\",\"random_seed\":true}"},
         200},
        /* the engine's own groups, and groups below the container's */
        {"0::/docker/" SIGNER "\n", {"dstack.sock", "/GetKey", KEY("wallet")}, 200},
        {"0::/system.slice/docker-" SIGNER ".scope/init\n",
         {"dstack.sock", "/GetKey", KEY("wallet")},
         200},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect(*state, cases[i].cgroup, &cases[i].call, cases[i].status, NULL);
    }
}

/* Every call that gives keys, certificates or evidence asks the policy; the rest stays open. */
static void sec_24_no_call_forgets_the_policy(void **state) {
    static const call_case closed[] = {
        {"dstack.sock", "/GetTlsKey", "{}"},
        {"dstack.sock", "/GetKey", "{}"},
        {"dstack.sock", "/GetQuote", "{}"},
        {"dstack.sock", "/Attest", "{}"},
        {"dstack.sock", "/Sign", "{\"algorithm\":\"ed25519\"}"},
        {"dstack.sock", "/v0/GetKey", "{}"},
        {"dstack.sock", "/v1/IssueCert", "{}"},
        {"dstack.sock", "/v1/GetKey", DOMAIN("")},
        {"dstack.sock", "/v1/Attest", "{}"},
        {"dstack.sock", "/v1/AttestGpu", "{}"},
        {"tappd.sock", "/prpc/DeriveKey", "{}"},
        {"tappd.sock", "/prpc/Tappd.DeriveKey", "{\"random_seed\":true}"},
        {"tappd.sock", "/prpc/DeriveK256Key", "{}"},
        {"tappd.sock", "/prpc/TdxQuote", "{}"},
        {"tappd.sock", "/prpc/RawQuote", "{}"},
    };
    static const call_case open[] = {
        {"dstack.sock", "/Version", "{}"},        {"dstack.sock", "/Info", "{}"},
        {"dstack.sock", "/v1/Version", "{}"},     {"dstack.sock", "/v1/Info", "{}"},
        {"tappd.sock", "/prpc/Tappd.Info", "{}"}, {"tappd.sock", "/prpc/Version", "{}"},
    };
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        expect(*state, SCOPE(PLAIN), &closed[i], 403, "no service of this app");
    }
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        expect(*state, SCOPE(PLAIN), &open[i], 200, NULL);
    }
}

static void sec_24_who_cannot_be_told_gets_nothing(void **state) {
    static const struct {
        const char *cgroup;
        int status;
        const char *word;
    } cases[] = {
        {SCOPE(ALIEN), 403, "no service of this app"},
        {SCOPE(UNKNOWN), 503, "key policy"},
        {"0::/\n", 403, "no service of this app"}, /* no container, but other files than ours */
        {"", 403, "no service of this app"},
        {"4:memory:/docker/" SIGNER "\n", 403, "no service of this app"},
        /* a container may name the groups below its own as it likes */
        {"0::/system.slice/docker-" PLAIN ".scope/docker-" SIGNER ".scope\n", 403, "no service"},
        {"0::/system.slice/docker-" PLAIN ".scope/docker/" SIGNER "\n", 403, "no service"},
        {"0::/docker/" PLAIN "/docker/" SIGNER "\n", 403, "no service"},
        {"0::/x" SIGNER "\n", 403, "no service"},
        {"0::/" SIGNER "\n", 403, "no service"},
        {"0::/docker-" SIGNER ".scopes\n", 403, "no service"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect(*state, cases[i].cgroup, &get_wallet, cases[i].status, cases[i].word);
    }
}

static void root_in_the_guest_itself_is_not_held_to_the_policy(void **state) {
    policy_world *p = *state;
    char text[4096];
    int status = call_from(p, "0::/system.slice/x.service\n", OUR_FILES, &get_wallet, text);
    assert_int_equal(status, getuid() == 0 ? 200 : 403);
    /* sharing the guest's files makes no one root of it out of a container */
    const call_case vms = {"dstack.sock", "/GetKey", KEY("vms")};
    assert_int_equal(call_from(p, SCOPE(SIGNER), OUR_FILES, &vms, text), 403);
}

static void a_container_is_asked_for_once(void **state) {
    policy_world *p = *state;
    for (int i = 0; i < 3; i++) {
        expect(p, SCOPE(SIGNER), &get_wallet, 200, NULL);
        expect(p, SCOPE(PLAIN), &get_wallet, 403, NULL);
    }
    assert_int_equal(atomic_load(&p->asked), 2);
    expect(p, SCOPE(UNKNOWN), &get_wallet, 503, NULL);
    expect(p, SCOPE(UNKNOWN), &get_wallet, 503, NULL);
    assert_int_equal(atomic_load(&p->asked), 4);
}

/* A child connects and ends; its pid then seems to be that of a granted service. The connection,
 * which this process inherited a copy of, is still the ended process's. */
static void sec_24_the_pid_of_an_ended_process_vouches_for_nobody(void **state) {
    policy_world *p = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    char space[CMSG_SPACE(sizeof(int))] = {0};
    char byte = 'x';
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (child == 0) {
        int fd = raw_connect(p->w.dir, "dstack.sock");
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
        _exit(sendmsg(pair[1], &message, 0) == 1 ? 0 : 1);
    }
    int fd = -1, ended = 1;
    assert_int_equal(recvmsg(pair[0], &message, MSG_CMSG_CLOEXEC), 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    char name[16];
    snprintf(name, sizeof name, "%d", (int)child);
    proc_put(p, name, SCOPE(SIGNER), "mnt:[2]");
    raw_send(fd, bytes_of_str("GET /GetKey?path=wallet HTTP/1.1\r\nConnection: close\r\n\r\n"));
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    raw_receive_all(fd, &answer);
    assert_int_equal(raw_status(&answer), 403);
    assert_true(raw_holds(&answer, "gone") || raw_holds(&answer, "cannot be told"));
    close(fd), close(pair[0]), close(pair[1]);
}

/* An ended process that its parent has not waited for holds its pid, but is no caller any more. */
static void sec_24_a_process_is_looked_at_again_after_reading(void **state) {
    policy_world *p = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pause();
        _exit(0);
    }
    char name[16];
    snprintf(name, sizeof name, "%d", (int)child);
    proc_put(p, name, SCOPE(SIGNER), "mnt:[2]");
    DSTACK_AUTO(fd) int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    assert_true(pidfd >= 0);
    const caller_process process = {.pid = child, .uid = 1000, .pidfd = pidfd};
    const caller_process blind = {.pid = child, .uid = 1000, .pidfd = -1};
    caller who;
    dstack_error err = {0};
    assert_ok(caller_identify(p->w.f.a->callers, &process, &who, &err), err);
    assert_int_equal(who.kind, CALLER_SERVICE);
    assert_string_equal(who.service, "signer");
    assert_int_equal(caller_identify(p->w.f.a->callers, &blind, &who, &err), DSTACK_E_REFUSED);
    assert_int_equal(kill(child, SIGKILL), 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(caller_identify(p->w.f.a->callers, &process, &who, &err), DSTACK_E_REFUSED);
    assert_int_equal(who.kind, CALLER_STRANGER);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* The real /proc: this process is in no container of the app, and root where it is root. */
static void the_real_proc_can_be_read(void **state) {
    policy_world *p = *state;
    caller_book_free(p->w.f.a->callers);
    p->w.f.a->callers = caller_book_new("/proc", "/nonexistent.sock");
    char text[4096];
    assert_int_equal(call_once(p->w.dir, &get_wallet, text, sizeof text),
                     getuid() == 0 ? 200 : 403);
}

/* What comes over no socket has no process behind it. */
static void sec_24_a_caller_without_a_process_gets_nothing(void **state) {
    policy_world *p = *state;
    assert_int_equal(fixture_call(&p->w.f, "internal", "/GetKey", "{}", NULL), 403);
    assert_int_equal(fixture_call(&p->w.f, "internal", "/Version", "{}", NULL), 200);
}

#define POLICY_TEST(name) cmocka_unit_test_setup_teardown(name, policy_begin, policy_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        POLICY_TEST(sec_24_a_service_gets_what_the_policy_grants_it),
        POLICY_TEST(sec_24_no_call_forgets_the_policy),
        POLICY_TEST(sec_24_who_cannot_be_told_gets_nothing),
        POLICY_TEST(root_in_the_guest_itself_is_not_held_to_the_policy),
        POLICY_TEST(a_container_is_asked_for_once),
        POLICY_TEST(sec_24_the_pid_of_an_ended_process_vouches_for_nobody),
        POLICY_TEST(sec_24_a_process_is_looked_at_again_after_reading),
        POLICY_TEST(the_real_proc_can_be_read),
        POLICY_TEST(sec_24_a_caller_without_a_process_gets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
