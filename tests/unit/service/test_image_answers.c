#include "check.h"

#include <dstack/measure.h>
#include <string.h>

#include "service/image_answers.h"

DSTACK_AUTO_DEFINE(event_log, dstack_event_log, dstack_event_log_free)

static uint8_t registers[4][DSTACK_MEASURE_SIZE];

static dstack_image_question question_of(const char *vm_config, const dstack_event_log *log) {
    return (dstack_image_question){.variant = DSTACK_TEE_TDX,
                                   .mrtd = registers[0],
                                   .rtmr = {registers[1], registers[2], registers[3]},
                                   .vm_config = vm_config,
                                   .event_log = log};
}

static void name_of(const dstack_image_question *question, uint8_t name[32]) {
    assert_true(image_answers_name(question, name));
}

static bool same_name(const dstack_image_question *a, const dstack_image_question *b) {
    uint8_t x[32], y[32];
    name_of(a, x);
    name_of(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

static dstack_event_log *log_with(uint32_t imr, uint32_t type, uint8_t digest,
                                  const char *payload) {
    uint8_t bytes[DSTACK_MEASURE_SIZE];
    dstack_error err = {0};
    dstack_event_log *log = dstack_event_log_new();
    memset(bytes, digest, sizeof bytes);
    const dstack_event event = {.imr = imr,
                                .type = type,
                                .version = 1,
                                .digest = bytes_of(bytes, sizeof bytes),
                                .name = "",
                                .payload = bytes_of_str(payload)};
    assert_ok(dstack_event_log_add(log, &event, &err), err);
    return log;
}

static void every_input_of_the_check_is_in_the_name(void **state) {
    DSTACK_AUTO(event_log) dstack_event_log *log = log_with(0, 10, 1, "ACPI DATA");
    const dstack_image_question first = question_of("{\"cpu_count\":2}", log);
    assert_true(same_name(&first, &first));
    for (size_t i = 0; i < 4; i++) {
        uint8_t before[32], after[32];
        name_of(&first, before);
        registers[i][i] ^= 1;
        name_of(&first, after);
        registers[i][i] ^= 1;
        assert_memory_not_equal(before, after, sizeof before);
    }
    dstack_image_question other = question_of("{\"cpu_count\":3}", log);
    assert_false(same_name(&first, &other));
    static const struct {
        uint32_t imr, type;
        uint8_t digest;
        const char *payload;
        bool same;
    } logs[] = {{0, 10, 1, "ACPI DATA", true},
                {0, 11, 1, "ACPI DATA", false},
                {0, 10, 2, "ACPI DATA", false},
                {0, 10, 1, "ACPI DATB", false},
                {1, 10, 1, "ACPI DATA", false}};
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
        DSTACK_AUTO(event_log)
        dstack_event_log *with =
            log_with(logs[i].imr, logs[i].type, logs[i].digest, logs[i].payload);
        other = question_of("{\"cpu_count\":2}", with);
        assert_int_equal(same_name(&first, &other), logs[i].same);
    }
    other = question_of("{\"cpu_count\":2}", NULL);
    assert_false(same_name(&first, &other));
}

static void what_is_not_a_tdx_guest_has_no_name(void **state) {
    uint8_t name[32];
    dstack_image_question question = question_of(NULL, NULL);
    assert_false(image_answers_name(&question, name));
    question = question_of("{}", NULL);
    question.mrtd = NULL;
    assert_false(image_answers_name(&question, name));
    question = question_of("{}", NULL);
    question.variant = DSTACK_TEE_SEV_SNP;
    assert_false(image_answers_name(&question, name));
}

static void answers_are_kept_until_newer_ones_push_them_out(void **state) {
    DSTACK_AUTO(image_answers) image_answers *answers = image_answers_new();
    uint8_t name[32] = {1}, hash[32] = {2}, found[32];
    dstack_anchor anchor = DSTACK_ANCHOR_NONE;
    assert_false(image_answers_find(answers, name, &anchor, found));
    image_answers_keep(answers, name, DSTACK_ANCHOR_SELF_ASSERTED, hash);
    assert_true(image_answers_find(answers, name, &anchor, found));
    assert_int_equal(anchor, DSTACK_ANCHOR_SELF_ASSERTED);
    assert_memory_equal(found, hash, sizeof hash);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t other[32] = {9, (uint8_t)i, (uint8_t)(i >> 8)};
        image_answers_keep(answers, other, DSTACK_ANCHOR_SELF_ASSERTED, hash);
        assert_true(image_answers_find(answers, other, &anchor, found));
    }
    assert_false(image_answers_find(answers, name, &anchor, found));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input_of_the_check_is_in_the_name),
        cmocka_unit_test(what_is_not_a_tdx_guest_has_no_name),
        cmocka_unit_test(answers_are_kept_until_newer_ones_push_them_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
