/* An agent on a simulated TEE whose public port is a real one, for a browser and other clients.
 *
 * usage: page_agent ENGINE_SOCKET MANIFEST_MEMBERS
 * Prints the port and whether a sanitizer watches, serves until its standard input ends. */
#include "agent/agent_world.h"

#include "config.h"

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    world w;
    dstack_error err = {0};
    world_engine = argv[1];
    world_begin(&w, argv[2]);
    assert_ok(agent_app_cert_make(w.f.a, &err), err);
    const http_listener_config config = {.name = "public",
                                         .address = "127.0.0.1:0",
                                         .routes = agent_external_routes,
                                         .route_count = agent_external_route_count,
                                         .user = w.f.a,
                                         .limits = {.body = 65536, .streams = 8}};
    http_server *server = http_server_new(
        &(http_server_config){.name = "page_agent", .workers = 4, .metrics = w.f.a->metrics});
    assert_ok(http_server_listen(server, &config, &err), err);
    printf("%u %d\n", http_server_port(server, "public"), DSTACK_INSTRUMENTED);
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
    }
    http_server_free(server);
    world_end(&w);
    return 0;
}
