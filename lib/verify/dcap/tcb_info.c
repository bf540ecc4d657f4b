#include "verify/dcap/tcb_info.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "verify/dcap/date.h"
#include "verify/dcap/json_in.h"
#include "verify/dcap/tcb.h"

bool dcap_status_parse(dstack_bytes name, dstack_tcb_status *status) {
    for (int i = 0; i <= DSTACK_TCB_REVOKED; i++) {
        if (bytes_equal_str(name, dstack_tcb_status_name((dstack_tcb_status)i))) {
            *status = (dstack_tcb_status)i;
            return true;
        }
    }
    return false;
}

/* Room for one more element; false when memory or the limit ends. */
static bool room(json_in *in, void **items, size_t count, size_t *cap, size_t size, size_t limit) {
    if (count >= limit) {
        json_in_fail(in, "a list is too long");
        return false;
    }
    if (count == *cap) {
        size_t wanted = *cap == 0 ? 16 : 2 * *cap;
        void *grown = reallocarray(*items, wanted, size);
        if (grown == NULL) {
            json_in_fail(in, "no memory");
            return false;
        }
        *items = grown;
        *cap = wanted;
    }
    return true;
}

static dcap_level *add_level(json_in *in, dcap_levels *levels) {
    void *items = levels->items;
    if (!room(in, &items, levels->count, &levels->cap, sizeof *levels->items, DCAP_MAX_LEVELS)) {
        return NULL;
    }
    levels->items = items;
    dcap_level *level = &levels->items[levels->count++];
    *level = (dcap_level){0};
    return level;
}

static int64_t read_date(json_in *in) {
    int64_t seconds = 0;
    if (!dcap_date_parse(json_in_string(in), &seconds)) {
        json_in_fail(in, "not a date of RFC 3339 with a zone, in 1970 or later");
    }
    return seconds;
}

static dcap_advisory_range read_advisories(json_in *in, dcap_text *text) {
    dcap_advisory_range range = {.first = text->advisory_count};
    json_in_array(in);
    while (json_in_item(in)) {
        dstack_bytes id = json_in_string(in);
        if (id.len >= DSTACK_ADVISORY_SIZE || (id.len > 0 && memchr(id.data, 0, id.len) != NULL)) {
            json_in_fail(in, "an advisory id is longer than 31 bytes or has a NUL");
        }
        void *pool = text->advisories;
        if (range.count == DSTACK_MAX_ADVISORIES ||
            !room(in, &pool, text->advisory_count, &text->advisory_cap, sizeof id,
                  (size_t)DCAP_MAX_LEVELS * DSTACK_MAX_ADVISORIES)) {
            json_in_fail(in, "a list of advisories is too long");
            break;
        }
        text->advisories = pool;
        text->advisories[text->advisory_count++] = id;
        range.count++;
    }
    return range;
}

static void read_components(json_in *in, dcap_components *out) {
    static const char *const names[] = {"svn"};
    json_in_array(in);
    while (json_in_item(in)) {
        json_members members = {.names = names, .count = 1, .required = 1};
        uint8_t svn = 0;
        json_in_object(in);
        while (json_in_member(in, &members) >= 0) {
            svn = (uint8_t)json_in_uint(in, UINT8_MAX);
        }
        if (out->count < DCAP_COMPONENTS) {
            out->svn[out->count] = svn;
        }
        out->count++;
    }
}

static void read_platform_tcb(json_in *in, dcap_level *level) {
    static const char *const names[] = {"sgxtcbcomponents", "pcesvn", "tdxtcbcomponents"};
    json_members members = {.names = names, .count = 3, .required = 3};
    json_in_object(in);
    for (int i; (i = json_in_member(in, &members)) >= 0;) {
        switch (i) {
        case 0:
            read_components(in, &level->sgx);
            break;
        case 1:
            level->svn = (uint16_t)json_in_uint(in, UINT16_MAX);
            break;
        default:
            read_components(in, &level->tdx);
        }
    }
}

static void read_svn_tcb(json_in *in, dcap_level *level, uint64_t max) {
    static const char *const names[] = {"isvsvn"};
    json_members members = {.names = names, .count = 1, .required = 1};
    json_in_object(in);
    while (json_in_member(in, &members) >= 0) {
        level->svn = (uint16_t)json_in_uint(in, max);
    }
}

/* svn_max: 0 for platform levels, otherwise the largest isvsvn. */
static void read_level(json_in *in, dcap_text *text, dcap_level *level, uint64_t svn_max) {
    static const char *const names[] = {"tcb", "tcbDate", "tcbStatus", "advisoryIDs"};
    json_members members = {.names = names, .count = 4, .required = 7};
    json_in_object(in);
    for (int i; (i = json_in_member(in, &members)) >= 0;) {
        switch (i) {
        case 0:
            if (svn_max == 0) {
                read_platform_tcb(in, level);
            } else {
                read_svn_tcb(in, level, svn_max);
            }
            break;
        case 1:
            level->has_date = dcap_date_parse(json_in_string(in), &level->date);
            break;
        case 2:
            if (!dcap_status_parse(json_in_string(in), &level->status)) {
                json_in_fail(in, "an unknown tcbStatus");
            }
            break;
        default:
            level->advisories = read_advisories(in, text);
        }
    }
}

static void read_levels(json_in *in, dcap_text *text, dcap_levels *levels, uint64_t svn_max) {
    json_in_array(in);
    while (json_in_item(in)) {
        dcap_level *level = add_level(in, levels);
        if (level == NULL) {
            return;
        }
        read_level(in, text, level, svn_max);
    }
    dcap_levels_sort(levels);
}

static void read_module(json_in *in, dcap_text *text, dcap_module *module, bool identity) {
    static const char *const names[] = {"mrsigner", "attributes", "attributesMask", "id",
                                        "tcbLevels"};
    json_members members = {
        .names = names, .count = identity ? 5 : 3, .required = identity ? 31 : 7};
    json_in_object(in);
    for (int i; (i = json_in_member(in, &members)) >= 0;) {
        switch (i) {
        case 0:
            module->mr_signer = json_in_string(in);
            break;
        case 1:
            module->attributes = json_in_string(in);
            break;
        case 2:
            module->attributes_mask = json_in_string(in);
            break;
        case 3:
            module->id = json_in_string(in);
            break;
        default:
            read_levels(in, text, &module->levels, UINT8_MAX);
        }
    }
}

static void read_modules(json_in *in, dcap_tcb_info *info) {
    json_in_array(in);
    while (json_in_item(in)) {
        void *items = info->modules;
        if (!room(in, &items, info->module_count, &info->module_cap, sizeof *info->modules,
                  DCAP_MAX_MODULES)) {
            return;
        }
        info->modules = items;
        dcap_module *module = &info->modules[info->module_count++];
        *module = (dcap_module){0};
        read_module(in, &info->text, module, true);
    }
}

/* Members that both texts begin with. */
enum { ID, VERSION, ISSUE_DATE, NEXT_UPDATE, EVAL_NUMBER, OWN };
#define COMMON_NAMES "id", "version", "issueDate", "nextUpdate", "tcbEvaluationDataNumber"

static void read_common(json_in *in, dcap_text *text, int member) {
    switch (member) {
    case ID:
        text->id = json_in_string(in);
        break;
    case VERSION:
        text->version = (uint32_t)json_in_uint(in, UINT8_MAX);
        break;
    case ISSUE_DATE:
        text->issue_date = read_date(in);
        break;
    case NEXT_UPDATE:
        text->next_update = read_date(in);
        break;
    default:
        text->eval_data_number = (uint32_t)json_in_uint(in, UINT32_MAX);
    }
}

/* Type 0 is the only one defined; it says that components are compared one by one. */
static void check_tcb_kind(json_in *in, const dcap_tcb_info *info, dcap_compat *compat) {
    bool usual = info->text.version == 3 && info->tcb_type == 0;
    unsigned oldest = bytes_equal_str(info->text.id, "SGX") ? 2 : 3;
    if (!usual && info->text.version >= oldest && dcap_waive(compat, DSTACK_COMPAT_TCB_INFO_KIND)) {
        return;
    }
    if (!usual) {
        json_in_fail(in, info->tcb_type != 0 ? "tcbType is not 0" : "version is not 3");
    }
}

static void read_tcb_info(json_in *in, dcap_tcb_info *info, dcap_compat *compat) {
    static const char *const names[] = {
        COMMON_NAMES, "fmspc", "pceId", "tcbType", "tcbLevels", "tdxModule", "tdxModuleIdentities"};
    json_members members = {.names = names, .count = 11, .required = 0x1ff};
    json_in_object(in);
    for (int i; (i = json_in_member(in, &members)) >= 0;) {
        switch (i) {
        case OWN:
            info->fmspc = json_in_string(in);
            break;
        case OWN + 1:
            info->pce_id = json_in_string(in);
            break;
        case OWN + 2:
            info->tcb_type = (uint32_t)json_in_uint(in, UINT32_MAX);
            break;
        case OWN + 3:
            read_levels(in, &info->text, &info->levels, 0);
            break;
        case OWN + 4:
            info->has_module = !json_in_null(in);
            if (info->has_module) {
                read_module(in, &info->text, &info->module, false);
            }
            break;
        case OWN + 5:
            read_modules(in, info);
            break;
        default:
            read_common(in, &info->text, i);
        }
    }
    if (json_in_ok(in)) {
        check_tcb_kind(in, info, compat);
    }
    (void)json_in_end(in);
}

int dcap_tcb_info_parse(dcap_tcb_info *out, dstack_bytes json, dstack_error *err) {
    return dcap_tcb_info_parse_as(out, json, NULL, err);
}

int dcap_tcb_info_parse_as(dcap_tcb_info *out, dstack_bytes json, dcap_compat *compat,
                           dstack_error *err) {
    *out = (dcap_tcb_info){0};
    json_in in = json_in_init(json, &out->text.texts);
    read_tcb_info(&in, out, compat);
    if (!json_in_ok(&in)) {
        return error_set(err, DSTACK_E_DCAP_TCB_INFO_FORMAT, "TCB info, at byte %zu: %s", in.c.pos,
                         in.fault);
    }
    return 0;
}

static void read_hex(json_in *in, uint8_t *out, size_t len) {
    if (hex_decode_bytes(json_in_string(in), out, len, NULL) != 0) {
        json_in_fail(in, "not hex of the right length");
    }
}

/* Four bytes in memory order. */
static uint32_t read_hex_u32(json_in *in) {
    uint8_t bytes[4] = {0};
    read_hex(in, bytes, sizeof bytes);
    cursor c = cursor_init(bytes_of(bytes, sizeof bytes));
    return cursor_u32le(&c);
}

static void read_qe_identity(json_in *in, dcap_qe_identity *identity) {
    static const char *const names[] = {COMMON_NAMES, "miscselect",     "miscselectMask",
                                        "attributes", "attributesMask", "mrsigner",
                                        "isvprodid",  "tcbLevels"};
    json_members members = {.names = names, .count = 12, .required = 0xfff};
    json_in_object(in);
    for (int i; (i = json_in_member(in, &members)) >= 0;) {
        switch (i) {
        case OWN:
            identity->misc_select = read_hex_u32(in);
            break;
        case OWN + 1:
            identity->misc_select_mask = read_hex_u32(in);
            break;
        case OWN + 2:
            read_hex(in, identity->attributes, 16);
            break;
        case OWN + 3:
            read_hex(in, identity->attributes_mask, 16);
            break;
        case OWN + 4:
            read_hex(in, identity->mr_signer, 32);
            break;
        case OWN + 5:
            identity->isv_prod_id = (uint16_t)json_in_uint(in, UINT16_MAX);
            break;
        case OWN + 6:
            read_levels(in, &identity->text, &identity->levels, UINT16_MAX);
            break;
        default:
            read_common(in, &identity->text, i);
        }
    }
    (void)json_in_end(in);
}

int dcap_qe_identity_parse(dcap_qe_identity *out, dstack_bytes json, dstack_error *err) {
    *out = (dcap_qe_identity){0};
    json_in in = json_in_init(json, &out->text.texts);
    read_qe_identity(&in, out);
    if (!json_in_ok(&in)) {
        return error_set(err, DSTACK_E_DCAP_QE_IDENTITY_FORMAT, "QE identity, at byte %zu: %s",
                         in.c.pos, in.fault);
    }
    return 0;
}

static void text_clear(dcap_text *text) {
    free(text->advisories);
    dstack_buf_clear(&text->texts);
}

void dcap_tcb_info_clear(dcap_tcb_info *info) {
    for (size_t i = 0; i < info->module_count; i++) {
        free(info->modules[i].levels.items);
    }
    free(info->modules);
    free(info->levels.items);
    text_clear(&info->text);
    *info = (dcap_tcb_info){0};
}

void dcap_qe_identity_clear(dcap_qe_identity *identity) {
    free(identity->levels.items);
    text_clear(&identity->text);
    *identity = (dcap_qe_identity){0};
}
