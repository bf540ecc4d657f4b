/* What a report must say about its guest and its machine. */
#include "base/error.h"
#include "verify/snp/snp.h"

static int tcb_floor(const dstack_snp_tcb *have, const dstack_snp_tcb *min, const char *which,
                     dstack_error *err) {
    const struct {
        const char *name;
        uint8_t have, min;
    } parts[] = {{"fmc", have->fmc, min->has_fmc ? min->fmc : 0},
                 {"boot loader", have->boot_loader, min->boot_loader},
                 {"tee", have->tee, min->tee},
                 {"snp", have->snp, min->snp},
                 {"microcode", have->microcode, min->microcode}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].have < parts[i].min) {
            return error_set(err, DSTACK_E_REFUSED,
                             "amd sev-snp %s TCB is below the minimum: %s is %u, %u is needed",
                             which, parts[i].name, parts[i].have, parts[i].min);
        }
    }
    return 0;
}

static int check_key(const dstack_snp_report *r, const dstack_snp_options *options,
                     dstack_error *err) {
    if (r->mask_chip_key) {
        return error_set(err, DSTACK_E_REFUSED, "amd sev-snp report masks the chip signing key");
    }
    if (r->signing_key == DSTACK_SNP_KEY_VLEK && options->vlek_provider != NULL) {
        return 0;
    }
    if (r->signing_key != DSTACK_SNP_KEY_VCEK) {
        return error_set(err, DSTACK_E_REFUSED,
                         "unsupported amd sev-snp signing key: expected vcek, got %s",
                         r->signing_key == DSTACK_SNP_KEY_VLEK   ? "vlek"
                         : r->signing_key == DSTACK_SNP_KEY_NONE ? "none"
                                                                 : "a reserved number");
    }
    return 0;
}

int snp_policy_check(const dstack_snp_report *r, const dstack_snp_options *options,
                     dstack_error *err) {
    if (r->vmpl != 0) {
        return error_set(err, DSTACK_E_REFUSED, "amd sev-snp report must be generated at vmpl0");
    }
    if ((r->policy & DSTACK_SNP_POLICY_DEBUG) != 0 && !options->allow_debug) {
        return error_set(err, DSTACK_E_REFUSED, "amd sev-snp guest policy allows debug");
    }
    if ((r->policy & DSTACK_SNP_POLICY_MIGRATION) != 0 && !options->allow_migration) {
        return error_set(err, DSTACK_E_REFUSED, "amd sev-snp guest policy allows migration agent");
    }
    int rc = check_key(r, options, err);
    if (rc != 0) {
        return rc;
    }
    /* the policy's demands on the machine, which firmware enforces at launch */
    if ((r->policy & DSTACK_SNP_POLICY_SMT) == 0 &&
        (r->platform_info & DSTACK_SNP_PLATFORM_SMT) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "amd sev-snp guest policy forbids SMT, and the platform has it on");
    }
    if ((r->policy & DSTACK_SNP_POLICY_NO_RAPL) != 0 &&
        (r->platform_info & DSTACK_SNP_PLATFORM_NO_RAPL) == 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "amd sev-snp guest policy wants RAPL disabled, and it is not");
    }
    if ((r->policy & DSTACK_SNP_POLICY_CIPHERTEXT_HIDING) != 0 &&
        (r->platform_info & DSTACK_SNP_PLATFORM_CIPHERTEXT_HIDING) == 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "amd sev-snp guest policy wants ciphertext hiding, and it is off");
    }
    if (options->min_tcb != NULL) {
        rc = tcb_floor(&r->reported_tcb, options->min_tcb, "reported", err);
        rc = rc == 0 ? tcb_floor(&r->launch_tcb, options->min_tcb, "launch", err) : rc;
    }
    return rc;
}
