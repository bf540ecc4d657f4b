/* The guest's side of the gateway: whom it trusts, what it sets up. */
#include "../check.h"

#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>

#include <libmnl/libmnl.h>

#include "net/gateway.h"

static const char ANSWER[] =
    "{\"wg\":{\"client_ip\":\"10.8.0.2\",\"servers\":[{\"pk\":"
    "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"ip\":\"10.8.0.1/16\","
    "\"endpoint\":\"192.0.2.7:51820\"}]},\"agent\":{},\"gateways\":[]}";

static int parse(const char *text, wg_config *wg) {
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *answer = json_parse(bytes_of_str(text), 65536, "answer", &err);
    return answer == NULL ? DSTACK_E_FORMAT : gateway_answer_parse(answer, wg, &err);
}

static void an_answer_becomes_peers(void **state) {
    static wg_config wg;
    assert_int_equal(parse(ANSWER, &wg), 0);
    assert_int_equal(wg.peer_count, 1);
    assert_int_equal(wg.address.s_addr, inet_addr("10.8.0.2"));
    assert_int_equal(wg.peers[0].allowed_ip.s_addr, inet_addr("10.8.0.1"));
    assert_int_equal(wg.peers[0].public_key[31], 0x1f);
    assert_int_equal(wg.peers[0].keepalive_s, 25);
    const struct sockaddr_in *to = (const void *)&wg.peers[0].endpoint;
    assert_int_equal(to->sin_port, htons(51820));
}

static void answers_of_wrong_form_are_refused(void **state) {
    static const char *const bad[] = {
        "{}",
        "{\"wg\":{\"client_ip\":\"x\",\"servers\":[]}}",
        "{\"wg\":{\"client_ip\":\"10.8.0.2\",\"servers\":[]}}",
        "{\"wg\":{\"client_ip\":\"10.8.0.2\",\"servers\":[{\"pk\":\"AA==\",\"ip\":\"10.8.0.1\","
        "\"endpoint\":\"192.0.2.7:1\"}]}}",
        "{\"wg\":{\"client_ip\":\"10.8.0.2\",\"servers\":[{\"pk\":"
        "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"ip\":\"10.8.0.1\","
        "\"endpoint\":\"192.0.2.7\"}]}}",
    };
    static wg_config wg;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(parse(bad[i], &wg), 0);
    }
}

static void sec_25_a_gateway_is_one_of_the_named_apps_exactly(void **state) {
    uint8_t id[20];
    memset(id, 0xab, sizeof id);
    const dstack_bytes app = bytes_of(id, sizeof id);
    const char *full = "abababababababababababababababababababab";
    char list[200];
    assert_true(gateway_app_id_allowed(full, app));
    snprintf(
        list, sizeof list,
        "0x1111111111111111111111111111111111111111, 0xABABABababababababababababababababababab");
    assert_true(gateway_app_id_allowed(list, app));
    snprintf(list, sizeof list, "cd%s", full);
    assert_false(gateway_app_id_allowed(list, app));
    assert_false(gateway_app_id_allowed("abab", app));
    assert_false(gateway_app_id_allowed(full, bytes_of(id, 0)));
    assert_false(gateway_app_id_allowed("any", app));
    assert_false(gateway_app_id_allowed("", app));
}

static void the_firewall_lets_only_peers_in(void **state) {
    static wg_config wg;
    assert_int_equal(parse(ANSWER, &wg), 0);
    wg.listen_port = 9182;
    DSTACK_AUTO(buf) dstack_buf rules = {0};
    dstack_error err = {0};
    assert_ok(gateway_firewall_text(&wg, &rules, &err), err);
    const char *accept = strstr(buf_text(&rules), "udp dport 9182 ip saddr 192.0.2.7 accept\n");
    assert_non_null(accept);
    assert_non_null(strstr(accept, "udp dport 9182 drop\n"));
}

static int count_attribute(const struct nlattr *attribute, void *user) {
    ((int *)user)[mnl_attr_get_type(attribute) & 15]++;
    return MNL_CB_OK;
}

static void the_wireguard_message_holds_key_port_and_peers(void **state) {
    static wg_config wg;
    assert_int_equal(parse(ANSWER, &wg), 0);
    uint8_t key[32] = {9};
    DSTACK_AUTO(secret) dstack_secret *secret = dstack_secret_copy(key, sizeof key);
    wg.private_key = secret;
    wg.listen_port = 9182;
    DSTACK_AUTO(buf) dstack_buf message = {0};
    dstack_error err = {0};
    assert_ok(wg_message_build(&wg, 7, &message, &err), err);
    const struct nlmsghdr *header = (const void *)message.data;
    assert_true(mnl_nlmsg_ok(header, (int)message.len));
    int seen[16] = {0};
    mnl_attr_parse(header, sizeof(struct genlmsghdr), count_attribute, seen);
    assert_int_equal(seen[WGDEVICE_A_PRIVATE_KEY], 1);
    assert_int_equal(seen[WGDEVICE_A_LISTEN_PORT], 1);
    assert_int_equal(seen[WGDEVICE_A_PEERS], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_becomes_peers),
        cmocka_unit_test(answers_of_wrong_form_are_refused),
        cmocka_unit_test(sec_25_a_gateway_is_one_of_the_named_apps_exactly),
        cmocka_unit_test(the_firewall_lets_only_peers_in),
        cmocka_unit_test(the_wireguard_message_holds_key_port_and_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
