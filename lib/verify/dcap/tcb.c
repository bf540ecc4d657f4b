#include "verify/dcap/tcb.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"

static const char *const status_names[] = {
    [DSTACK_TCB_UP_TO_DATE] = "UpToDate",
    [DSTACK_TCB_SW_HARDENING_NEEDED] = "SWHardeningNeeded",
    [DSTACK_TCB_CONFIGURATION_NEEDED] = "ConfigurationNeeded",
    [DSTACK_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED] = "ConfigurationAndSWHardeningNeeded",
    [DSTACK_TCB_OUT_OF_DATE] = "OutOfDate",
    [DSTACK_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED] = "OutOfDateConfigurationNeeded",
    [DSTACK_TCB_REVOKED] = "Revoked",
};

const char *dstack_tcb_status_name(dstack_tcb_status status) {
    return (unsigned)status <= DSTACK_TCB_REVOKED ? status_names[status] : "unknown";
}

/* ---- merging ---- */

/* A status is a set of conditions; "out of date" swallows the advice on software hardening. */
enum { HARDENING = 1, CONFIGURATION = 2, OUT_OF_DATE = 4, REVOKED = 8 };

static const uint8_t status_marks[] = {
    [DSTACK_TCB_UP_TO_DATE] = 0,
    [DSTACK_TCB_SW_HARDENING_NEEDED] = HARDENING,
    [DSTACK_TCB_CONFIGURATION_NEEDED] = CONFIGURATION,
    [DSTACK_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED] = CONFIGURATION | HARDENING,
    [DSTACK_TCB_OUT_OF_DATE] = OUT_OF_DATE,
    [DSTACK_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED] = OUT_OF_DATE | CONFIGURATION,
    [DSTACK_TCB_REVOKED] = REVOKED,
};

dstack_tcb_status dcap_status_merge(dstack_tcb_status a, dstack_tcb_status b) {
    unsigned marks = status_marks[a] | status_marks[b];
    if ((marks & REVOKED) != 0) {
        return DSTACK_TCB_REVOKED;
    }
    if ((marks & OUT_OF_DATE) != 0) {
        return (marks & CONFIGURATION) != 0 ? DSTACK_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED
                                            : DSTACK_TCB_OUT_OF_DATE;
    }
    if ((marks & CONFIGURATION) != 0) {
        return (marks & HARDENING) != 0 ? DSTACK_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED
                                        : DSTACK_TCB_CONFIGURATION_NEEDED;
    }
    return (marks & HARDENING) != 0 ? DSTACK_TCB_SW_HARDENING_NEEDED : DSTACK_TCB_UP_TO_DATE;
}

int dcap_advisories_add(dstack_advisories *list, const dcap_text *text, dcap_advisory_range range,
                        dstack_error *err) {
    for (size_t i = 0; i < range.count; i++) {
        dstack_bytes id = text->advisories[range.first + i];
        size_t at = 0;
        while (at < list->count && !bytes_equal_str(id, list->ids[at])) {
            at++;
        }
        if (at < list->count) {
            continue;
        }
        if (at == DSTACK_MAX_ADVISORIES) {
            return error_set(err, DSTACK_E_LIMIT, "more than %d advisories apply",
                             DSTACK_MAX_ADVISORIES);
        }
        memcpy(list->ids[at], id.data, id.len); /* the parser keeps ids below the slot's size */
        list->ids[at][id.len] = '\0';
        list->count++;
    }
    return 0;
}

/* ---- levels ---- */

static int level_order(const dcap_level *a, const dcap_level *b) {
    int order = memcmp(b->sgx.svn, a->sgx.svn, DCAP_COMPONENTS);
    if (order == 0) {
        order = (int)b->svn - (int)a->svn;
    }
    return order != 0 ? order : memcmp(b->tdx.svn, a->tdx.svn, DCAP_COMPONENTS);
}

/* Insertion: stable, and the published lists come sorted already, which makes it one pass. The
 * parser bounds their length. */
void dcap_levels_sort(dcap_levels *levels) {
    for (size_t i = 1; i < levels->count; i++) {
        dcap_level moving = levels->items[i];
        size_t at = i;
        while (at > 0 && level_order(&levels->items[at - 1], &moving) > 0) {
            levels->items[at] = levels->items[at - 1];
            at--;
        }
        if (at != i) {
            levels->items[at] = moving;
        }
    }
}

/* TDX components 0 and 1 are the module's svn and version: from version 1 on they are judged by the
 * module's own identity instead (Intel TDX DCAP, "TCB status evaluation"). */
unsigned dcap_first_tdx_component(const uint8_t *tee_tcb_svn) {
    return tee_tcb_svn[1] > 0 ? 2 : 0;
}

static bool reaches(const dcap_platform_tcb *platform, const dcap_level *level) {
    if (platform->pce_svn < level->svn) {
        return false;
    }
    for (unsigned i = 0; i < DCAP_COMPONENTS; i++) {
        if (platform->components[i] < level->sgx.svn[i]) {
            return false;
        }
    }
    if (platform->tee_tcb_svn == NULL) {
        return true;
    }
    for (unsigned i = dcap_first_tdx_component(platform->tee_tcb_svn); i < DCAP_COMPONENTS; i++) {
        if (platform->tee_tcb_svn[i] < level->tdx.svn[i]) {
            return false;
        }
    }
    return true;
}

static void say(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(char *out, size_t size, const char *fmt, ...) {
    size_t used = strlen(out);
    va_list args;
    va_start(args, fmt);
    if (used + 1 < size) {
        vsnprintf(out + used, size - used, fmt, args);
    }
    va_end(args);
}

static void level_shortfall(const dcap_level *level, const dcap_platform_tcb *platform, char *out,
                            size_t size) {
    const char *join = "";
    out[0] = '\0';
    for (unsigned i = 0; i < DCAP_COMPONENTS; i++) {
        if (platform->components[i] < level->sgx.svn[i]) {
            say(out, size, "%sSGX component %u is %u, %u needed", join, i, platform->components[i],
                level->sgx.svn[i]);
            join = "; ";
        }
    }
    if (platform->pce_svn < level->svn) {
        say(out, size, "%sPCESVN is %u, %u needed", join, platform->pce_svn, level->svn);
        join = "; ";
    }
    if (platform->tee_tcb_svn == NULL) {
        return;
    }
    for (unsigned i = dcap_first_tdx_component(platform->tee_tcb_svn); i < DCAP_COMPONENTS; i++) {
        if (platform->tee_tcb_svn[i] < level->tdx.svn[i]) {
            say(out, size, "%sTDX component %u is %u, %u needed", join, i, platform->tee_tcb_svn[i],
                level->tdx.svn[i]);
            join = "; ";
        }
    }
}

void dcap_shortfall(const dcap_tcb_info *info, const dcap_platform_tcb *platform, char *out,
                    size_t size) {
    out[0] = '\0';
    if (info->levels.count > 0) {
        level_shortfall(&info->levels.items[0], platform, out, size);
    }
}

static bool is_whole(const dcap_level *level, const dcap_platform_tcb *platform) {
    return level->sgx.count == DCAP_COMPONENTS &&
           (platform->tee_tcb_svn == NULL || level->tdx.count == DCAP_COMPONENTS);
}

int dcap_platform_match(const dcap_tcb_info *info, const dcap_platform_tcb *platform,
                        dcap_compat *compat, const dcap_level **level, dstack_error *err) {
    const dcap_levels *levels = &info->levels;
    for (size_t i = 0; i < levels->count; i++) {
        const dcap_level *l = &levels->items[i];
        bool passed = platform->pce_svn < l->svn; /* and so never compared further */
        if (!is_whole(l, platform) &&
            !(passed && dcap_waive(compat, DSTACK_COMPAT_COMPONENT_COUNT))) {
            return error_set(err, DSTACK_E_DCAP_TCB_COMPONENT_COUNT,
                             "a TCB level has %u SGX and %u TDX components, not %d", l->sgx.count,
                             l->tdx.count, DCAP_COMPONENTS);
        }
    }
    for (size_t i = 0; i < levels->count; i++) {
        if (reaches(platform, &levels->items[i])) {
            *level = &levels->items[i];
            return 0;
        }
    }
    char why[256] = "there are none";
    if (levels->count > 0) {
        level_shortfall(&levels->items[levels->count - 1], platform, why, sizeof why);
    }
    return error_set(err, DSTACK_E_DCAP_TCB_NOT_SUPPORTED,
                     "the platform reaches none of %zu TCB levels; below the lowest: %s",
                     levels->count, why);
}

const dcap_level *dcap_svn_match(const dcap_levels *levels, uint16_t svn) {
    for (size_t i = 0; i < levels->count; i++) {
        if (svn >= levels->items[i].svn) {
            return &levels->items[i];
        }
    }
    return NULL;
}

/* ---- TDX module ---- */

static int bad_module(dstack_error *err, const char *text) {
    return error_set(err, DSTACK_E_DCAP_TDX_MODULE, "TDX module: %s", text);
}

typedef struct module_values {
    uint8_t mr_signer[48], attributes[8], mask[8];
} module_values;

static bool decode_module(const dcap_module *module, module_values *out) {
    return hex_decode_bytes(module->mr_signer, out->mr_signer, 48, NULL) == 0 &&
           hex_decode_bytes(module->attributes, out->attributes, 8, NULL) == 0 &&
           hex_decode_bytes(module->attributes_mask, out->mask, 8, NULL) == 0;
}

const dcap_module *dcap_module_find(const dcap_tcb_info *info, unsigned version) {
    static const char digits[] = "0123456789ABCDEF";
    const char id[] = {'T', 'D', 'X', '_', digits[version >> 4 & 15], digits[version & 15], '\0'};
    for (size_t i = 0; i < info->module_count; i++) {
        dstack_bytes have = info->modules[i].id;
        if (have.len == sizeof id - 1 && strncasecmp((const char *)have.data, id, have.len) == 0) {
            return &info->modules[i];
        }
    }
    return NULL;
}

static int compare_module(const module_values *want, const dstack_td_report *td,
                          dstack_error *err) {
    if (memcmp(want->mr_signer, td->mr_signer_seam, 48) != 0) {
        return bad_module(err, "MRSIGNERSEAM is not the one of the TCB info");
    }
    for (int i = 0; i < 8; i++) {
        uint8_t have = td->seam_attributes[i], mask = want->mask[i];
        if ((have & mask) != (want->attributes[i] & mask) || (have & ~mask) != 0) {
            return bad_module(err, "SEAMATTRIBUTES are not those of the TCB info");
        }
    }
    return 0;
}

int dcap_module_match(const dcap_tcb_info *info, const uint8_t *tee_tcb_svn,
                      const dstack_td_report *td, dcap_compat *compat, const dcap_level **level,
                      dstack_error *err) {
    unsigned svn = tee_tcb_svn[0], version = tee_tcb_svn[1];
    module_values want;
    *level = NULL;
    if (!info->has_module || !decode_module(&info->module, &want)) {
        return bad_module(err, "the TCB info has no well-formed tdxModule");
    }
    const dcap_module *identity = NULL;
    bool skip =
        version > 0 && info->module_count == 0 && dcap_waive(compat, DSTACK_COMPAT_NO_IDENTITIES);
    if (version > 0 && !skip) {
        identity = dcap_module_find(info, version);
        if (identity == NULL || !decode_module(identity, &want)) {
            return error_set(err, DSTACK_E_DCAP_TDX_MODULE,
                             "TDX module: the TCB info has no well-formed identity TDX_%02X",
                             version);
        }
    }
    int rc = compare_module(&want, td, err);
    if (rc == 0 && identity != NULL) {
        *level = dcap_svn_match(&identity->levels, (uint16_t)svn);
        if (*level == NULL) {
            return error_set(err, DSTACK_E_DCAP_TDX_MODULE,
                             "TDX module: svn %u of version %u is below every level", svn, version);
        }
    }
    return rc;
}
