/* The page of dstack-kms in a real browser. */
#include "kms_calls.h"

#define TOKEN "page-token"
#define CHROMIUM "/usr/bin/chromium"

static void the_page_shows_what_happened_and_why(void **state) {
    world *w = *state;
    char apps[300], command[600];
    if (access(CHROMIUM, X_OK) != 0) {
        print_message("skipped: " CHROMIUM " is not here\n");
        skip();
    }
    world_write(w, "admin-token", TOKEN);
    world_configure(w, "  admin: {enabled: true, port: 0, auth_token_file: admin-token}\n");
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0}, again = {0};
    ask_keys(w, &keys);
    snprintf(apps, sizeof apps, "apps: {'%s': {composeHashes: ['%064d'], allowAnyDevice: true}}\n",
             w->app_id, 1);
    world_allow(w, w->image.image.os_image_hash, apps);
    expect_refusal(w, w->guest, w->image.vm_config, "compose hash not allowed");
    world_allow(w, w->image.image.os_image_hash, NULL);
    ask_keys(w, &again);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    const char *port = strstr(strstr(buf_text(&log), "admin listener"), "port=") + 5;
    unsigned number = (unsigned)strtoul(port + (*port == '"'), NULL, 10);
    setup_post(number, "/prpc/ClearImageCache?json", "{}", TOKEN, 200, "null");
    const char *pictures = getenv("PICTURES");
    snprintf(command, sizeof command,
             "python3 tests/integration/page_kms.py " CHROMIUM " http://127.0.0.1:%u/ %s %s '%s'",
             number, TOKEN, w->app_id, pictures != NULL ? pictures : w->dir);
    assert_int_equal(system(command), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(the_page_shows_what_happened_and_why),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
