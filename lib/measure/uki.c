/* The PCRs of a machine that starts a unified kernel image. */
#include <dstack/uki.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "measure/kernel.h"
#include "measure/pe_sections.h"

/* TCG PC Client Platform Firmware Profile, section 10.4.1. */
#define EV_SEPARATOR 4U
#define EV_IPL 13U
#define EV_EFI_BOOT_SERVICES_APPLICATION 0x80000003U
#define EV_EFI_GPT_EVENT 0x80000006U
#define EV_EFI_ACTION 0x80000007U

#define PCR_GCP_BOOT 2
#define PCR_BOOT 4
#define PCR_STUB 11
#define PCR_PARAMETERS 12

/* Versions of systemd's stub whose measurements are known, and where they changed. */
#define STUB_OLDEST 252
#define STUB_NEWEST 259
#define STUB_MEASURES_UNAME_AND_SBAT 253
#define STUB_MEASURES_MICROCODE 256
#define STUB_STARTS_KERNEL_ITSELF 258 /* then the firmware does not measure it */

static const char stub_magic[] = "#### LoaderInfo: systemd-stub ";

/* systemd, "TPM2 PCR Measurements", PCR 11: in this order, each that is there. */
static const struct {
    const char *name;
    unsigned since;
} measured[] = {
    {".linux", 0},
    {".osrel", 0},
    {".cmdline", 0},
    {".initrd", 0},
    {".ucode", STUB_MEASURES_MICROCODE},
    {".splash", 0},
    {".dtb", 0},
    {".uname", STUB_MEASURES_UNAME_AND_SBAT},
    {".sbat", STUB_MEASURES_UNAME_AND_SBAT},
    {".pcrpkey", 0},
};

/* What the stub chooses among by itself: the profile asked for, the machine's hardware. */
static const char *const chosen_at_boot[] = {".profile", ".dtbauto", ".hwids", ".efifw"};

static hash_algorithm algorithm_of(dstack_pcr_bank bank) {
    return bank == DSTACK_PCR_SHA384 ? HASH_SHA384 : HASH_SHA256;
}

size_t dstack_pcr_bank_size(dstack_pcr_bank bank) {
    return bank == DSTACK_PCR_SHA256 || bank == DSTACK_PCR_SHA384 ? hash_size(algorithm_of(bank))
                                                                  : 0;
}

int dstack_uki_authenticode(dstack_bytes pe, dstack_pcr_bank bank,
                            uint8_t out[DSTACK_UKI_DIGEST_SIZE], dstack_error *err) {
    if (dstack_pcr_bank_size(bank) == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "unknown PCR bank %d", (int)bank);
    }
    return kernel_authenticode(pe, algorithm_of(bank), out, err);
}

/* ---- events ---- */

typedef struct job {
    dstack_uki_prediction *out;
    hash_algorithm algorithm;
    uint32_t unknown; /* PCRs with an event that is not known */
} job;

/* There is room for all: at most two for each section and a handful more. */
static dstack_uki_event *add(job *j, uint32_t pcr, uint32_t type, const char *source) {
    dstack_uki_event *event = &j->out->events[j->out->event_count++];
    *event = (dstack_uki_event){.pcr = pcr, .type = type, .source = source, .known = true};
    j->out->pcr_mask |= UINT32_C(1) << pcr;
    return event;
}

static void add_hashed(job *j, uint32_t pcr, uint32_t type, const char *name, const char *source,
                       dstack_bytes preimage) {
    dstack_uki_event *event = add(j, pcr, type, source);
    snprintf(event->name, sizeof event->name, "%s", name);
    hash_parts(j->algorithm, &preimage, 1, event->digest);
}

static void add_digest(job *j, uint32_t pcr, uint32_t type, const char *name, const char *source,
                       const uint8_t *digest) {
    dstack_uki_event *event = add(j, pcr, type, source);
    snprintf(event->name, sizeof event->name, "%s", name);
    memcpy(event->digest, digest, j->out->digest_size);
}

static void add_separator(job *j, uint32_t pcr) {
    add_hashed(j, pcr, EV_SEPARATOR, "separator", "four zero bytes", bytes_of("\0\0\0\0", 4));
}

static int add_gpt(job *j, const dstack_uki_options *options, dstack_error *err) {
    static const char name[] = "partition table";
    if (options->gpt.len == 0) {
        dstack_uki_event *event =
            add(j, PCR_GCP_BOOT, EV_EFI_GPT_EVENT, "the disk's partition table, not given");
        snprintf(event->name, sizeof event->name, "%s", name);
        event->known = false;
        j->unknown |= UINT32_C(1) << PCR_GCP_BOOT;
    } else if (!options->gpt_is_digest) {
        add_hashed(j, PCR_GCP_BOOT, EV_EFI_GPT_EVENT, name, "the partition table given",
                   options->gpt);
    } else if (options->gpt.len == j->out->digest_size) {
        add_digest(j, PCR_GCP_BOOT, EV_EFI_GPT_EVENT, name, "the digest given", options->gpt.data);
    } else {
        return error_set(err, DSTACK_E_ARGUMENT, "digest of the partition table: %zu bytes are due",
                         j->out->digest_size);
    }
    return 0;
}

static void add_sections(job *j, const pe_sections *sections) {
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        const pe_section *section = pe_sections_find(sections, measured[i].name);
        char name[64];
        if (section == NULL || j->out->stub_version < measured[i].since) {
            continue;
        }
        snprintf(name, sizeof name, "name of %s", section->name);
        add_hashed(j, PCR_STUB, EV_IPL, name, "the section's name with its zero",
                   bytes_of(section->name, strlen(section->name) + 1));
        add_hashed(j, PCR_STUB, EV_IPL, section->name, "the section's content", section->content);
    }
}

static void replay(job *j) {
    dstack_uki_prediction *out = j->out;
    for (size_t i = 0; i < out->event_count; i++) {
        const dstack_uki_event *event = &out->events[i];
        uint8_t *pcr = out->pcrs[event->pcr], next[DSTACK_UKI_DIGEST_SIZE];
        const dstack_bytes parts[2] = {bytes_of(pcr, out->digest_size),
                                       bytes_of(event->digest, out->digest_size)};
        hash_parts(j->algorithm, parts, 2, next);
        memcpy(pcr, next, out->digest_size);
    }
    for (uint32_t pcr = 0; pcr < DSTACK_UKI_MAX_PCRS; pcr++) {
        if ((j->unknown >> pcr & 1) != 0) {
            out->pcr_mask &= ~(UINT32_C(1) << pcr);
            memset(out->pcrs[pcr], 0, sizeof out->pcrs[pcr]);
        }
    }
    out->pcr_mask |= UINT32_C(1) << PCR_PARAMETERS; /* nothing is measured there: zeros */
}

/* ---- the image ---- */

/* The leading decimal number behind the magic; 0 when there is none. */
static unsigned version_of(const pe_sections *sections) {
    const pe_section *section = pe_sections_find(sections, ".sdmagic");
    const size_t skip = sizeof stub_magic - 1;
    unsigned version = 0;
    if (section == NULL || section->content.len < skip ||
        memcmp(section->content.data, stub_magic, skip) != 0) {
        return 0;
    }
    for (size_t i = skip; i < section->content.len && i < skip + 6; i++) {
        const uint8_t digit = section->content.data[i];
        if (digit < '0' || digit > '9') {
            break;
        }
        version = 10 * version + (unsigned)(digit - '0');
    }
    return version;
}

static int check_version(unsigned given, const pe_sections *sections, unsigned *out,
                         dstack_error *err) {
    const unsigned told = version_of(sections);
    *out = told != 0 ? told : given;
    if (told != 0 && given != 0 && told != given) {
        return error_set(err, DSTACK_E_ARGUMENT, "the image's stub is of systemd %u, not %u", told,
                         given);
    }
    if (*out == 0) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "the image does not tell its stub's version (.sdmagic of systemd-stub)");
    }
    if (*out < STUB_OLDEST || *out > STUB_NEWEST) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "what the stub of systemd %u measures is not known (%d to %d are)", *out,
                         STUB_OLDEST, STUB_NEWEST);
    }
    return 0;
}

static int check_sections(const pe_sections *sections, dstack_error *err) {
    for (size_t i = 0; i < sizeof chosen_at_boot / sizeof *chosen_at_boot; i++) {
        if (pe_sections_find(sections, chosen_at_boot[i]) != NULL) {
            return error_set(err, DSTACK_E_UNSUPPORTED,
                             "the image has a section %s: what is measured is chosen at boot",
                             chosen_at_boot[i]);
        }
    }
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        const pe_section *section = pe_sections_find(sections, measured[i].name);
        if (section != NULL && !section->is_whole) {
            return error_set(err, DSTACK_E_FORMAT, "section %s is longer than in the file",
                             section->name);
        }
    }
    return pe_sections_find(sections, ".linux") != NULL
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "no unified kernel image: it has no .linux");
}

static int add_firmware(job *j, const dstack_uki_options *options, dstack_error *err) {
    static const char action[] = "Calling EFI Application from Boot Option";
    const bool gcp = options->firmware == DSTACK_UKI_GCP;
    add_hashed(j, PCR_BOOT, EV_EFI_ACTION, "boot option", "the text of the action",
               bytes_of_str(action));
    add_separator(j, PCR_BOOT);
    if (gcp) {
        add_separator(j, PCR_GCP_BOOT);
    }
    return gcp ? add_gpt(j, options, err) : 0;
}

int dstack_uki_measure(dstack_bytes uki, const dstack_uki_options *options,
                       dstack_uki_prediction *out, dstack_error *err) {
    pe_sections sections;
    job j = {.out = out, .algorithm = algorithm_of(options->bank)};
    const uint32_t boot = options->firmware == DSTACK_UKI_GCP ? PCR_GCP_BOOT : PCR_BOOT;
    *out = (dstack_uki_prediction){.digest_size = dstack_pcr_bank_size(options->bank)};
    if (out->digest_size == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "unknown PCR bank %d", (int)options->bank);
    }
    if (uki.len > DSTACK_UKI_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "an image of %zu bytes", uki.len);
    }
    int rc = pe_sections_read(uki, &sections, err);
    rc = rc == 0 ? check_sections(&sections, err) : rc;
    rc = rc == 0 ? check_version(options->stub_version, &sections, &out->stub_version, err) : rc;
    rc = rc == 0 ? kernel_authenticode(uki, j.algorithm, out->uki_authenticode, err) : rc;
    if (rc == 0) {
        rc = error_prefix(err,
                          kernel_authenticode(pe_sections_find(&sections, ".linux")->content,
                                              j.algorithm, out->linux_authenticode, err),
                          ".linux");
    }
    rc = rc == 0 ? add_firmware(&j, options, err) : rc;
    if (rc != 0) {
        return rc;
    }
    add_digest(&j, boot, EV_EFI_BOOT_SERVICES_APPLICATION, "unified kernel image",
               "Authenticode digest of the image", out->uki_authenticode);
    add_sections(&j, &sections);
    if (out->stub_version < STUB_STARTS_KERNEL_ITSELF) {
        add_digest(&j, boot, EV_EFI_BOOT_SERVICES_APPLICATION, "kernel",
                   "Authenticode digest of .linux", out->linux_authenticode);
    }
    replay(&j);
    return 0;
}
