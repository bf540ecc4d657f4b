#include "policy.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "service/config.h"

#define POLICY_LIMIT ((size_t)4 << 20)

struct kms_policy {
    json_t *document;
};

/* ---- form -------------------------------------------------------------------------------------
 */

typedef enum member_type {
    MEMBER_HEX_LIST,
    MEMBER_TEXT_LIST,
    MEMBER_TEXT,
    MEMBER_BOOL
} member_type;

typedef struct member {
    const char *name;
    member_type type;
    size_t hex_bytes; /* of each item */
} member;

static const member top_members[] = {
    {"gatewayAppId", MEMBER_TEXT, 0},
    {"osImages", MEMBER_HEX_LIST, 32},
    {"allowedTcbStatuses", MEMBER_TEXT_LIST, 0},
    {"allowedAdvisoryIds", MEMBER_TEXT_LIST, 0},
};
static const member kms_members[] = {
    {"mrAggregated", MEMBER_HEX_LIST, 32},
    {"composeHashes", MEMBER_HEX_LIST, 32},
    {"devices", MEMBER_HEX_LIST, 32},
    {"allowAnyDevice", MEMBER_BOOL, 0},
};
static const member app_members[] = {
    {"composeHashes", MEMBER_HEX_LIST, 32},
    {"devices", MEMBER_HEX_LIST, 32},
    {"allowAnyDevice", MEMBER_BOOL, 0},
};
#define MEMBERS(table) table, sizeof table / sizeof table[0]

static const char *without_prefix(const char *text) {
    return text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? text + 2 : text;
}

static bool is_hex_of(const char *text, size_t bytes) {
    text = without_prefix(text);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (!isxdigit((unsigned char)text[i])) {
            return false;
        }
    }
    return len == 2 * bytes;
}

static int check_list(const char *where, const member *m, const json_t *value, dstack_error *err) {
    if (!json_is_array(value)) {
        return error_set(err, DSTACK_E_FORMAT, "%s%s must be a list", where, m->name);
    }
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item) {
        const char *text = json_string_value(item);
        if (text == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "%s%s[%zu] must be text in quotes", where,
                             m->name, i);
        }
        if (m->type == MEMBER_HEX_LIST && !is_hex_of(text, m->hex_bytes)) {
            return error_set(err, DSTACK_E_FORMAT, "%s%s[%zu] must be %zu hex digits", where,
                             m->name, i, 2 * m->hex_bytes);
        }
    }
    return 0;
}

static int check_member(const char *where, const member *m, const json_t *value,
                        dstack_error *err) {
    switch (m->type) {
    case MEMBER_HEX_LIST:
    case MEMBER_TEXT_LIST:
        return check_list(where, m, value, err);
    case MEMBER_TEXT:
        return json_is_string(value)
                   ? 0
                   : error_set(err, DSTACK_E_FORMAT, "%s%s must be text in quotes", where, m->name);
    case MEMBER_BOOL:
        return json_is_boolean(value)
                   ? 0
                   : error_set(err, DSTACK_E_FORMAT, "%s%s must be true or false", where, m->name);
    }
    return DSTACK_E_INTERNAL;
}

/* Every member of the object is in the table; `extra` names members that the caller checks. */
static int check_object(const char *where, json_t *object, const member *members, size_t count,
                        const char *const *extra, dstack_error *err) {
    const char *name;
    json_t *value;
    if (!json_is_object(object)) {
        return error_set(err, DSTACK_E_FORMAT, "%s must be a mapping", where[0] ? where : "policy");
    }
    json_object_foreach(object, name, value) {
        size_t i = 0;
        while (i < count && strcmp(members[i].name, name) != 0) {
            i++;
        }
        if (i < count) {
            int rc = check_member(where, &members[i], value, err);
            if (rc != 0) {
                return rc;
            }
            continue;
        }
        bool known = false;
        for (size_t k = 0; extra != NULL && extra[k] != NULL; k++) {
            known = known || strcmp(extra[k], name) == 0;
        }
        if (!known) {
            return error_set(err, DSTACK_E_FORMAT, "unknown member %s%s", where, name);
        }
    }
    return 0;
}

static int check_apps(json_t *apps, dstack_error *err) {
    const char *id;
    json_t *app;
    if (apps != NULL && !json_is_object(apps)) {
        return error_set(err, DSTACK_E_FORMAT, "apps must be a mapping of app ids");
    }
    json_object_foreach(apps, id, app) {
        char where[80];
        if (!is_hex_of(id, 20)) {
            return error_set(err, DSTACK_E_FORMAT, "app id %.60s must be 40 hex digits", id);
        }
        snprintf(where, sizeof where, "apps.%s.", id);
        int rc = check_object(where, app, MEMBERS(app_members), NULL, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int kms_policy_parse(dstack_bytes text, kms_policy **out, dstack_error *err) {
    static const char *const extra[] = {"kms", "apps", NULL};
    DSTACK_AUTO(json) json_t *document = yaml_to_json(text, POLICY_LIMIT, "allow-list", err);
    if (document == NULL) {
        return DSTACK_E_FORMAT;
    }
    json_t *kms = json_object_get(document, "kms");
    int rc = check_object("", document, MEMBERS(top_members), extra, err);
    rc = rc != 0 || kms == NULL ? rc : check_object("kms.", kms, MEMBERS(kms_members), NULL, err);
    rc = rc != 0 ? rc : check_apps(json_object_get(document, "apps"), err);
    if (rc != 0) {
        return rc;
    }
    *out = calloc(1, sizeof **out);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    (*out)->document = json_incref(document);
    return 0;
}

void kms_policy_free(kms_policy *policy) {
    if (policy != NULL) {
        json_decref(policy->document);
        free(policy);
    }
}

const char *kms_policy_gateway_app_id(const kms_policy *policy) {
    const char *text = json_string_value(json_object_get(policy->document, "gatewayAppId"));
    return text != NULL ? text : "";
}

/* ---- decision ---------------------------------------------------------------------------------
 */

static bool same_hex(const char *a, const char *b) {
    return strcasecmp(without_prefix(a), without_prefix(b)) == 0;
}

/* Empty text is in no list: a claim that is missing is never allowed. */
static bool listed(const json_t *list, const char *text) {
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        if (text[0] != 0 && same_hex(json_string_value(item), text)) {
            return true;
        }
    }
    return false;
}

static const char *claim(const json_t *boot_info, const char *name) {
    const char *text = json_string_value(json_object_get(boot_info, name));
    return text != NULL ? text : "";
}

static bool device_allowed(const json_t *entry, const json_t *boot_info) {
    return json_is_true(json_object_get(entry, "allowAnyDevice")) ||
           listed(json_object_get(entry, "devices"), claim(boot_info, "deviceId"));
}

static bool status_allowed(const json_t *document, const json_t *boot_info) {
    const json_t *statuses = json_object_get(document, "allowedTcbStatuses");
    const char *status = claim(boot_info, "tcbStatus");
    return statuses != NULL ? listed(statuses, status) : strcmp(status, "UpToDate") == 0;
}

static bool advisories_allowed(const json_t *document, const json_t *boot_info) {
    const json_t *allowed = json_object_get(document, "allowedAdvisoryIds");
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(boot_info, "advisoryIds"), i, item) {
        if (!json_is_string(item) || !listed(allowed, json_string_value(item))) {
            return false;
        }
    }
    return true;
}

static const json_t *find_app(const json_t *document, const char *app_id) {
    const char *id;
    json_t *app;
    json_object_foreach(json_object_get(document, "apps"), id, app) {
        if (app_id[0] != 0 && same_hex(id, app_id)) {
            return app;
        }
    }
    return NULL;
}

/* NULL when allowed. The aggregated measurement covers the image; a compose hash alone does not. */
static const char *refuse_kms(const json_t *document, const json_t *boot_info) {
    const json_t *kms = json_object_get(document, "kms");
    if (!listed(json_object_get(kms, "mrAggregated"), claim(boot_info, "mrAggregated"))) {
        if (!listed(json_object_get(kms, "composeHashes"), claim(boot_info, "composeHash"))) {
            return "aggregated MR not allowed";
        }
        if (!listed(json_object_get(document, "osImages"), claim(boot_info, "osImageHash"))) {
            return "OS image is not allowed";
        }
    }
    return device_allowed(kms, boot_info) ? NULL : "KMS is not allowed to boot on this device";
}

static const char *refuse_app(const json_t *document, const json_t *boot_info) {
    if (!listed(json_object_get(document, "osImages"), claim(boot_info, "osImageHash"))) {
        return "OS image is not allowed";
    }
    const json_t *app = find_app(document, claim(boot_info, "appId"));
    if (app == NULL) {
        return "app not registered";
    }
    if (!listed(json_object_get(app, "composeHashes"), claim(boot_info, "composeHash"))) {
        return "compose hash not allowed";
    }
    return device_allowed(app, boot_info) ? NULL : "app is not allowed to boot on this device";
}

void kms_policy_decide(const kms_policy *policy, kms_boot_kind kind, const json_t *boot_info,
                       kms_decision *decision) {
    const json_t *document = policy->document;
    const char *reason = !status_allowed(document, boot_info)       ? "TCB status is not allowed"
                         : !advisories_allowed(document, boot_info) ? "advisory ID is not allowed"
                         : kind == KMS_BOOT_KMS ? refuse_kms(document, boot_info)
                                                : refuse_app(document, boot_info);
    *decision = (kms_decision){.allowed = reason == NULL};
    snprintf(decision->reason, sizeof decision->reason, "%s", reason != NULL ? reason : "");
    snprintf(decision->gateway_app_id, sizeof decision->gateway_app_id, "%s",
             kms_policy_gateway_app_id(policy));
}
