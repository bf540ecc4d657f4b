/* PCRs of unified kernel images: images made here, digests recomputed by other means, and what a real
 * machine logged. */
#include "check.h"

#include <dstack/tpm.h>
#include <dstack/uki.h>

#include "crypto/hash.h"
#include "small_uki.h"

static dstack_buf kernel, image;

#define MAGIC(version) "#### LoaderInfo: systemd-stub " version " ####"

/* In the order of this table in the file: not that in which they are measured. */
static void make(const char *magic, const small_section *more) {
    const small_section sections[] = {
        {".sdmagic", bytes_of_str(magic)},      {".sbat", bytes_of_str("sbat,1,SBAT Version")},
        {".pcrsig", bytes_of_str("{}")},        {".cmdline", bytes_of_str("console=ttyS0 ro")},
        {".initrd", bytes_of("initrd\0\1", 8)}, {".uname", bytes_of_str("6.12.0")},
        {".linux", bytes_of_buf(&kernel)},      {more->name, more->content},
    };
    small_pe(sections, more->name[0] == '\0' ? 7 : 8, &image);
}

static const small_section nothing = {"", {0}};

static int set_up(void **state) {
    small_kernel(&kernel);
    make(MAGIC("255.4"), &nothing);
    return 0;
}

static int tear_down(void **state) {
    dstack_buf_clear(&kernel);
    dstack_buf_clear(&image);
    return 0;
}

static int measure(const dstack_uki_options *options, dstack_uki_prediction *out,
                   dstack_error *err) {
    return dstack_uki_measure(bytes_of_buf(&image), options, out, err);
}

/* The digest of a file all of whose bytes belong to headers and sections: the file without two
 * fields. */
static void file_digest(dstack_bytes file, hash_algorithm algorithm, uint8_t *out) {
    const dstack_bytes parts[] = {
        bytes_of(file.data, UKI_CHECKSUM),
        bytes_of(file.data + UKI_CHECKSUM + 4, UKI_CERTIFICATES - UKI_CHECKSUM - 4),
        bytes_of(file.data + UKI_CERTIFICATES + 8, file.len - UKI_CERTIFICATES - 8)};
    hash_parts(algorithm, parts, 3, out);
}

static void extend(hash_algorithm algorithm, uint8_t *pcr, const uint8_t *digest) {
    const size_t size = hash_size(algorithm);
    uint8_t next[48];
    hash_parts(algorithm, (const dstack_bytes[]){bytes_of(pcr, size), bytes_of(digest, size)}, 2,
               next);
    memcpy(pcr, next, size);
}

static void extend_text(hash_algorithm algorithm, uint8_t *pcr, const char *text, size_t len) {
    uint8_t digest[48];
    const dstack_bytes preimage = bytes_of(text, len);
    hash_parts(algorithm, &preimage, 1, digest);
    extend(algorithm, pcr, digest);
}

static void registers_are_those_of_the_listed_measurements(void **state) {
    static const struct {
        dstack_pcr_bank bank;
        hash_algorithm algorithm;
    } banks[] = {{DSTACK_PCR_SHA256, HASH_SHA256}, {DSTACK_PCR_SHA384, HASH_SHA384}};
    make(MAGIC("255.4"), &nothing);
    for (size_t i = 0; i < 2; i++) {
        const hash_algorithm algorithm = banks[i].algorithm;
        const size_t size = hash_size(algorithm);
        uint8_t pcr4[48] = {0}, pcr11[48] = {0}, uki[48], inner[48];
        static const uint8_t zeros[48];
        dstack_uki_prediction p;
        dstack_error err = {0};
        assert_ok(measure(&(dstack_uki_options){.bank = banks[i].bank}, &p, &err), err);
        file_digest(bytes_of_buf(&image), algorithm, uki);
        assert_memory_equal(p.uki_authenticode, uki, size);
        assert_ok(dstack_uki_authenticode(bytes_of_buf(&kernel), banks[i].bank, inner, &err), err);
        assert_memory_equal(p.linux_authenticode, inner, size);
        extend_text(algorithm, pcr4, "Calling EFI Application from Boot Option", 40);
        extend_text(algorithm, pcr4, "\0\0\0\0", 4);
        extend(algorithm, pcr4, uki);
        extend(algorithm, pcr4, inner);
        assert_memory_equal(p.pcrs[4], pcr4, size);
        extend_text(algorithm, pcr11, ".linux", 7);
        extend_text(algorithm, pcr11, (const char *)kernel.data, kernel.len);
        extend_text(algorithm, pcr11, ".cmdline", 9);
        extend_text(algorithm, pcr11, "console=ttyS0 ro", 16);
        extend_text(algorithm, pcr11, ".initrd", 8);
        extend_text(algorithm, pcr11, "initrd\0\1", 8);
        extend_text(algorithm, pcr11, ".uname", 7);
        extend_text(algorithm, pcr11, "6.12.0", 6);
        extend_text(algorithm, pcr11, ".sbat", 6);
        extend_text(algorithm, pcr11, "sbat,1,SBAT Version", 19);
        assert_memory_equal(p.pcrs[11], pcr11, size);
        assert_memory_equal(p.pcrs[12], zeros, size);
        assert_int_equal(p.pcr_mask, 1u << 4 | 1u << 11 | 1u << 12);
    }
}

/* systemd's own calculator (systemd-measure 252) gave this PCR 11 for these sections. */
static void a_stub_of_252_leaves_two_sections_out(void **state) {
    dstack_uki_prediction p;
    dstack_error err = {0};
    make(MAGIC("252.39-1~deb12u2"), &nothing);
    assert_ok(measure(&(dstack_uki_options){0}, &p, &err), err);
    assert_int_equal(p.stub_version, 252);
    assert_hex(bytes_of(p.pcrs[11], 32),
               "b05c0c6c5ecdbd0ece5f742c4e923a016449713fb5b453f979fd9a9d95e1fe26");
}

static size_t count_of(const dstack_uki_prediction *p, uint32_t pcr) {
    size_t count = 0;
    for (size_t i = 0; i < p->event_count; i++) {
        count += p->events[i].pcr == pcr;
    }
    return count;
}

static void what_a_stub_measures_goes_with_its_version(void **state) {
    const small_section microcode = {".ucode", bytes_of_str("microcode")};
    static const struct {
        const char *magic;
        size_t boot, stub;
    } cases[] = {{MAGIC("252"), 4, 6},
                 {MAGIC("253~rc1"), 4, 10},
                 {MAGIC("256.1"), 4, 12},
                 {MAGIC("258"), 3, 12}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dstack_uki_prediction p;
        dstack_error err = {0};
        make(cases[i].magic, &microcode);
        assert_ok(measure(&(dstack_uki_options){0}, &p, &err), err);
        assert_int_equal(count_of(&p, 4), cases[i].boot);
        assert_int_equal(count_of(&p, 11), cases[i].stub);
    }
}

/* The log of a Google Cloud machine: the third event of PCR 2 is the image, the fourth its kernel. */
static void on_google_cloud_the_image_is_in_pcr_2(void **state) {
    dstack_uki_prediction p;
    dstack_error err = {0};
    uint8_t gpt[32], pcr2[32] = {0};
    make(MAGIC("255"), &nothing);
    assert_ok(measure(&(dstack_uki_options){.firmware = DSTACK_UKI_GCP}, &p, &err), err);
    assert_int_equal(p.pcr_mask, 1u << 4 | 1u << 11 | 1u << 12); /* without its partition table */
    /* what a real machine of 2026 has in PCR 4 */
    assert_hex(bytes_of(p.pcrs[4], 32),
               "7a94ffe8a7729a566d3d3c577fcb4b6b1e671f31540375f80eae6382ab785e35");
    memset(gpt, 0x77, sizeof gpt);
    assert_ok(measure(&(dstack_uki_options){.firmware = DSTACK_UKI_GCP,
                                            .gpt = bytes_of(gpt, sizeof gpt),
                                            .gpt_is_digest = true},
                      &p, &err),
              err);
    extend_text(HASH_SHA256, pcr2, "\0\0\0\0", 4);
    extend(HASH_SHA256, pcr2, gpt);
    extend(HASH_SHA256, pcr2, p.uki_authenticode);
    extend(HASH_SHA256, pcr2, p.linux_authenticode);
    assert_memory_equal(p.pcrs[2], pcr2, 32);
    assert_int_equal(p.pcr_mask, 1u << 2 | 1u << 4 | 1u << 11 | 1u << 12);
    const dstack_uki_options other = {
        .firmware = DSTACK_UKI_GCP, .gpt = bytes_of(gpt, 31), .gpt_is_digest = true};
    assert_int_equal(measure(&other, &p, &err), DSTACK_E_ARGUMENT);
}

/* Which events, on which registers, in which order: as the recorded log of a real machine has them.
 */
static void events_come_in_the_order_of_a_real_log(void **state) {
    need_shared_data();
    static const uint32_t registers[] = {2, 4, 11};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_tpm_log log;
    dstack_uki_prediction p;
    dstack_error err = {0};
    load_file(SHARED_DATA "attestation/eventlog/tpm_eventlog.bin", &text);
    assert_ok(dstack_tpm_log_parse(&log, bytes_of_buf(&text), &err), err);
    const small_section release = {".osrel", bytes_of_str("ID=dstack\n")};
    make(MAGIC("255"), &release); /* sections as that machine's image had */
    assert_ok(measure(&(dstack_uki_options){.firmware = DSTACK_UKI_GCP}, &p, &err), err);
    for (size_t r = 0; r < 3; r++) {
        size_t at = 0;
        for (size_t i = 0; i < log.count; i++) {
            if (log.events[i].pcr != registers[r]) {
                continue;
            }
            while (at < p.event_count && p.events[at].pcr != registers[r]) {
                at++;
            }
            assert_true(at < p.event_count);
            const dstack_uki_event *event = &p.events[at++];
            /* what does not hang on the image's content is equal */
            if (event->type == 4 || event->type == 0x80000007 ||
                strncmp(event->name, "name of", 7) == 0) {
                assert_memory_equal(event->digest, log.events[i].digest, 32);
            }
        }
        for (; at < p.event_count; at++) {
            assert_int_not_equal(p.events[at].pcr, registers[r]);
        }
    }
    dstack_tpm_log_clear(&log);
}

static void what_cannot_be_predicted_is_refused(void **state) {
    static const char *const chosen[] = {".profile", ".dtbauto", ".hwids", ".efifw"};
    dstack_uki_prediction p;
    dstack_error err = {0};
    for (size_t i = 0; i < 4; i++) {
        const small_section section = {chosen[i], bytes_of_str("x")};
        make(MAGIC("257"), &section);
        assert_int_equal(measure(&(dstack_uki_options){0}, &p, &err), DSTACK_E_UNSUPPORTED);
    }
    static const char *const magics[] = {MAGIC("251"), MAGIC("260"), MAGIC("x"), "other", ""};
    for (size_t i = 0; i < 5; i++) {
        make(magics[i], &nothing);
        assert_int_equal(measure(&(dstack_uki_options){0}, &p, &err), DSTACK_E_UNSUPPORTED);
    }
    assert_ok(measure(&(dstack_uki_options){.stub_version = 255}, &p, &err), err);
    make(MAGIC("257"), &nothing);
    assert_int_equal(measure(&(dstack_uki_options){.stub_version = 255}, &p, &err),
                     DSTACK_E_ARGUMENT);
    assert_int_equal(measure(&(dstack_uki_options){.bank = (dstack_pcr_bank)7}, &p, &err),
                     DSTACK_E_ARGUMENT);
    assert_int_equal(dstack_uki_measure(bytes_of_buf(&kernel), &(dstack_uki_options){0}, &p, &err),
                     DSTACK_E_FORMAT);
}

/* No cut-off file passes, and none is read beyond its end. */
static void sec_15_cut_and_overlong_files_are_refused(void **state) {
    dstack_uki_prediction p;
    dstack_error err = {0};
    make(MAGIC("255"), &nothing);
    for (size_t len = 0; len < image.len; len += len < 0x500 ? 1 : 61) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, image.data, len);
        assert_true(dstack_uki_measure(bytes_of(exact, len), &(dstack_uki_options){0}, &p, &err) <
                    0);
        free(exact);
    }
    /* longer in memory than in the file */
    uki_u32(&image, UKI_TABLE + 40 * 3 + 8, 0x201);
    assert_int_equal(measure(&(dstack_uki_options){0}, &p, &err), DSTACK_E_FORMAT);
    make(MAGIC("255"), &nothing);
    image.data[UKI_NT + 6] = 129; /* sections */
    assert_true(measure(&(dstack_uki_options){0}, &p, &err) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_are_those_of_the_listed_measurements),
        cmocka_unit_test(a_stub_of_252_leaves_two_sections_out),
        cmocka_unit_test(what_a_stub_measures_goes_with_its_version),
        cmocka_unit_test(on_google_cloud_the_image_is_in_pcr_2),
        cmocka_unit_test(events_come_in_the_order_of_a_real_log),
        cmocka_unit_test(what_cannot_be_predicted_is_refused),
        cmocka_unit_test(sec_15_cut_and_overlong_files_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
