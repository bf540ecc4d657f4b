/* Where a platform stands among the levels of a TCB info. */
#include <dstack/outlook.h>

#include <string.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "verify/dcap/chain.h"
#include "verify/dcap/date.h"
#include "verify/dcap/pck.h"
#include "verify/dcap/tcb.h"
#include "verify/dcap/tcb_info.h"

typedef struct standing {
    dstack_quote quote;
    dstack_pck_info pck;
    dcap_tcb_info tcb;
    dcap_qe_identity qe;
    json_t *labels; /* the TCB info as a tree, for the names of components; may be NULL */
    dcap_platform_tcb have;
} standing;

static void standing_clear(standing *s) {
    dcap_tcb_info_clear(&s->tcb);
    dcap_qe_identity_clear(&s->qe);
    json_decref(s->labels);
}
DSTACK_AUTO_DEFINE_CLEAR(standing, standing, standing_clear)

static int read_pck(standing *s, const dstack_collateral_parts *parts, dstack_error *err) {
    DSTACK_AUTO(dcap_chain) dcap_chain chain = {0};
    dstack_bytes pem = s->quote.cert_type == DSTACK_QUOTE_CERT_PCK_CHAIN
                           ? s->quote.cert_data
                           : parts->pck_certificate_chain;
    int rc = dcap_chain_load(&chain, pem, NULL, DSTACK_E_DCAP_PCK_CHAIN_FORMAT, "PCK chain", err);
    return rc != 0 ? rc : dcap_pck_parse(&s->pck, &chain.certs[0].x509, err);
}

static int standing_read(standing *s, dstack_bytes quote, const dstack_collateral *collateral,
                         dstack_error *err) {
    dstack_collateral_parts parts;
    dstack_collateral_get(collateral, &parts);
    int rc = dstack_quote_parse(&s->quote, quote, err);
    rc = rc != 0 ? rc : read_pck(s, &parts, err);
    rc = rc != 0 ? rc : dcap_tcb_info_parse(&s->tcb, parts.tcb_info, err);
    rc = rc != 0 ? rc : dcap_qe_identity_parse(&s->qe, parts.qe_identity, err);
    if (rc == 0) {
        s->labels = json_parse(parts.tcb_info, SIZE_MAX, "TCB info", NULL);
        s->have = (dcap_platform_tcb){s->pck.components, s->pck.pce_svn,
                                      s->quote.td != NULL ? s->quote.td->tee_tcb_svn : NULL};
    }
    return rc;
}

/* ---- gaps ---- */

/* Category and type of a component are the same in all levels: the first one's are taken. */
static void set_labels(const standing *s, json_t *gap, const char *member, unsigned index) {
    const json_t *level = json_array_get(json_object_get(s->labels, "tcbLevels"), 0);
    const json_t *list = json_object_get(json_object_get(level, "tcb"), member);
    const json_t *component = json_array_get(list, index);
    static const char *const names[] = {"category", "type"};
    for (size_t i = 0; i < 2; i++) {
        json_t *value = json_object_get(component, names[i]);
        if (json_is_string(value)) {
            json_object_set(gap, names[i], value);
        }
    }
}

static json_t *add_gap(json_t *gaps, const char *part, unsigned have, unsigned need) {
    json_t *gap = json_object();
    json_object_set_new(gap, "part", json_string(part));
    json_object_set_new(gap, "have", json_integer(have));
    json_object_set_new(gap, "need", json_integer(need));
    json_array_append_new(gaps, gap);
    return gap;
}

static void add_component(const standing *s, json_t *gaps, const char *part, const char *member,
                          unsigned index, unsigned have, unsigned need) {
    if (have < need) {
        json_t *gap = add_gap(gaps, part, have, need);
        json_object_set_new(gap, "index", json_integer(index));
        set_labels(s, gap, member, index);
    }
}

/* What the platform lacks to reach a level. */
static json_t *gaps_to(const standing *s, const dcap_level *level) {
    json_t *gaps = json_array();
    const uint8_t *tee = s->have.tee_tcb_svn;
    for (unsigned i = 0; i < DCAP_COMPONENTS; i++) {
        add_component(s, gaps, "sgx", "sgxtcbcomponents", i, s->have.components[i],
                      level->sgx.svn[i]);
    }
    if (s->have.pce_svn < level->svn) {
        add_gap(gaps, "pcesvn", s->have.pce_svn, level->svn);
    }
    for (unsigned i = tee == NULL ? DCAP_COMPONENTS : dcap_first_tdx_component(tee);
         i < DCAP_COMPONENTS; i++) {
        add_component(s, gaps, "tdx", "tdxtcbcomponents", i, tee[i], level->tdx.svn[i]);
    }
    return gaps;
}

/* ---- the object ---- */

static json_t *date_json(bool has, int64_t date) {
    char text[32];
    if (!has) {
        return json_null();
    }
    dcap_date_text(date, text);
    return json_string(text);
}

static void set_level(json_t *object, const dcap_level *level) {
    json_object_set_new(object, "status",
                        level == NULL ? json_null()
                                      : json_string(dstack_tcb_status_name(level->status)));
    json_object_set_new(
        object, "tcb_date",
        date_json(level != NULL && level->has_date, level != NULL ? level->date : 0));
}

static json_t *platform_json(const standing *s) {
    json_t *object = json_object(), *all = json_array(), *advisories = json_array();
    const dcap_levels *levels = &s->tcb.levels;
    const dcap_level *met = NULL;
    (void)dcap_platform_match(&s->tcb, &s->have, NULL, &met, NULL);
    for (size_t i = 0; i < levels->count; i++) {
        json_t *item = json_object();
        set_level(item, &levels->items[i]);
        json_object_set_new(item, "met", json_boolean(met == &levels->items[i]));
        json_object_set_new(item, "gaps", gaps_to(s, &levels->items[i]));
        json_array_append_new(all, item);
    }
    for (size_t i = 0; met != NULL && i < met->advisories.count; i++) {
        dstack_bytes id = s->tcb.text.advisories[met->advisories.first + i];
        json_array_append_new(advisories, json_stringn((const char *)id.data, id.len));
    }
    json_object_set_new(object, "fmspc", json_hex(bytes_of(s->pck.fmspc, 6)));
    json_object_set_new(object, "level",
                        met == NULL ? json_null() : json_integer(met - levels->items + 1));
    json_object_set_new(object, "levels", json_integer((json_int_t)levels->count));
    set_level(object, met);
    json_object_set_new(object, "advisory_ids", advisories);
    json_object_set_new(object, "gaps",
                        levels->count == 0 ? json_array() : gaps_to(s, &levels->items[0]));
    json_object_set_new(object, "all", all);
    return object;
}

/* Levels of one svn: a module's or the quoting enclave's. */
static void set_svn(json_t *object, const dcap_levels *levels, unsigned svn) {
    json_object_set_new(object, "svn", json_integer(svn));
    set_level(object, dcap_svn_match(levels, (uint16_t)svn));
    json_object_set_new(object, "best_svn",
                        levels->count == 0 ? json_null() : json_integer(levels->items[0].svn));
}

static json_t *module_json(const standing *s) {
    const uint8_t *tee = s->have.tee_tcb_svn;
    const dcap_module *module = tee == NULL ? NULL : dcap_module_find(&s->tcb, tee[1]);
    if (module == NULL) {
        return json_null();
    }
    json_t *object = json_object();
    json_object_set_new(object, "version", json_integer(tee[1]));
    set_svn(object, &module->levels, tee[0]);
    return object;
}

static json_t *qe_json(const standing *s) {
    const uint8_t *svn = s->quote.qe_report->isv_svn;
    json_t *object = json_object();
    set_svn(object, &s->qe.levels, (unsigned)(svn[0] | svn[1] << 8));
    return object;
}

int dstack_quote_explain(dstack_bytes quote, const dstack_collateral *collateral, bool pretty,
                         dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(standing) standing s = {0};
    DSTACK_AUTO(json) json_t *object = json_object();
    int rc = standing_read(&s, quote, collateral, err);
    if (rc != 0) {
        return rc;
    }
    json_object_set_new(object, "eval_data_number", json_integer(s.tcb.text.eval_data_number));
    json_object_set_new(object, "qe_eval_data_number", json_integer(s.qe.text.eval_data_number));
    json_object_set_new(object, "issue_date", date_json(true, s.tcb.text.issue_date));
    json_object_set_new(object, "next_update", date_json(true, s.tcb.text.next_update));
    json_object_set_new(object, "platform", platform_json(&s));
    json_object_set_new(object, "module", module_json(&s));
    json_object_set_new(object, "qe", qe_json(&s));
    return json_write(object, pretty, out, err);
}
