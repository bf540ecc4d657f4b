/* A report as a tree for people and as a document for programs. */
#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/json.h"
#include "cli.h"
#include "verify/verify.h"

#define SHORT_HEX 16 /* digits that people are shown of a longer value */

static const char *const titles[VERIFY_STEPS] = {
    [VERIFY_ROOT] = "Hardware root",
    [VERIFY_TCB] = "Platform TCB",
    [VERIFY_FIRMWARE] = "Firmware and kernel",
    [VERIFY_IMAGE] = "OS image",
    [VERIFY_KMS] = "KMS",
    [VERIFY_MANIFEST] = "App manifest",
    [VERIFY_IDENTITY] = "App id",
    [VERIFY_EVIDENCE] = "Fresh evidence",
    [VERIFY_GATEWAY_ROOT] = "Hardware root",
    [VERIFY_GATEWAY_TCB] = "Platform TCB",
    [VERIFY_GATEWAY_FIRMWARE] = "Firmware and kernel",
    [VERIFY_GATEWAY_IMAGE] = "OS image",
    [VERIFY_GATEWAY_IDENTITY] = "Gateway",
    [VERIFY_ROUTING] = "Routing",
    [VERIFY_CERTIFICATE] = "Certificate",
    [VERIFY_PUBLIC_NAME] = "Public name",
    [VERIFY_CONNECTION] = "This connection",
};

static const char *mode_name(verify_mode mode) {
    static const char *const names[] = {"terminated", "passthrough", "gateway"};
    return names[mode];
}

/* ---- for people -------------------------------------------------------------------------------
 */

/* Appends text with every long hex value cut to its beginning. */
static void put_short(dstack_buf *out, const char *text) {
    while (*text != '\0') {
        size_t run = strspn(text, "0123456789abcdef");
        bool cut = run > SHORT_HEX + 4;
        buf_put(out, text, cut ? SHORT_HEX : run);
        buf_put_str(out, cut ? "…" : "");
        text += run;
        size_t other = strcspn(text, "0123456789abcdef");
        buf_put(out, text, other);
        text += other;
    }
}

static enum cli_mark mark_of(const verify_step *step) {
    if (step->outcome == VERIFY_HOLDS) {
        return step->caveat ? CLI_MARK_WARN : CLI_MARK_OK;
    }
    return step->optional ? CLI_MARK_WARN : CLI_MARK_BAD;
}

typedef struct tree {
    struct cli_node nodes[VERIFY_STEPS + 4];
    dstack_buf texts[VERIFY_STEPS];
    size_t count;
} tree;

static void tree_clear(tree *t) {
    for (size_t i = 0; i < VERIFY_STEPS; i++) {
        dstack_buf_clear(&t->texts[i]);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(tree, tree, tree_clear)

static void add_step(tree *t, const verify_step *step, int id, int depth) {
    dstack_buf *text = &t->texts[id];
    if (step->outcome == VERIFY_NOT_REACHED) {
        buf_put_str(text, "not established: an earlier step failed");
    } else {
        put_short(text, step->detail);
    }
    if (step->outcome == VERIFY_HOLDS || *step->evidence != '\0') {
        buf_put_str(text, "\n");
        put_short(text, step->evidence);
        buf_put_fmt(text, "%sanchor: %s", *step->evidence != '\0' ? " · " : "",
                    dstack_anchor_name(step->anchor));
    }
    t->nodes[t->count++] = (struct cli_node){depth, mark_of(step), titles[id], buf_text(text)};
}

/* A branch is no better than the worst of its steps. */
static enum cli_mark worst_of(const verify_report *report, int first, int last) {
    enum cli_mark worst = CLI_MARK_NONE;
    for (int i = first; i <= last; i++) {
        enum cli_mark mark = report->steps[i].used ? mark_of(&report->steps[i]) : CLI_MARK_NONE;
        worst = mark > worst ? mark : worst;
    }
    return worst;
}

static void add_branch(tree *t, const verify_report *report, const char *title, int first,
                       int last) {
    enum cli_mark mark = worst_of(report, first, last);
    if (mark == CLI_MARK_NONE) {
        return;
    }
    t->nodes[t->count++] = (struct cli_node){1, mark, title, NULL};
    for (int i = first; i <= last; i++) {
        if (report->steps[i].used) {
            add_step(t, &report->steps[i], i, 2);
        }
    }
}

static size_t count_caveats(const verify_report *report) {
    size_t count = 0;
    for (int i = 0; i < VERIFY_STEPS; i++) {
        const verify_step *step = &report->steps[i];
        count += step->used && step->outcome == VERIFY_HOLDS && step->caveat;
    }
    return count;
}

void verify_report_print(struct cli *cli, const verify_report *report, const char *url) {
    DSTACK_AUTO(tree) tree t = {0};
    verify_step_id refused;
    bool ok = !verify_refusal(report, &refused);
    t.nodes[t.count++] = (struct cli_node){0, worst_of(report, 0, VERIFY_STEPS - 1), url, NULL};
    add_branch(&t, report, "The app and what it stands on", VERIFY_ROOT, VERIFY_EVIDENCE);
    add_branch(&t, report, "The gateway and what it stands on", VERIFY_GATEWAY_ROOT,
               VERIFY_GATEWAY_IDENTITY);
    add_branch(&t, report, "From there to you", VERIFY_ROUTING, VERIFY_CONNECTION);
    cli_print_tree(cli, t.nodes, t.count);
    size_t caveats = count_caveats(report);
    if (report->insecure) {
        fprintf(cli->out, "\nINSECURE: simulated hardware or a development mode had a part in "
                          "this; it can be forged.\n");
    }
    if (ok && caveats > 0) {
        fprintf(cli->out, "\nVERIFIED, with %zu point%s marked ! left to your own judgement.\n",
                caveats, caveats == 1 ? "" : "s");
    } else if (ok) {
        fprintf(cli->out, "\nVERIFIED.\n");
    }
}

/* ---- for programs -----------------------------------------------------------------------------
 */

static json_t *step_json(const verify_step *step, verify_step_id id) {
    return json_pack("{s:s, s:b, s:b, s:b, s:s, s:s, s:s}", "step", verify_step_name(id), "ok",
                     step->outcome == VERIFY_HOLDS, "required", !step->optional, "caveat",
                     step->caveat, "evidence", step->evidence, "anchor",
                     dstack_anchor_name(step->anchor), "detail",
                     step->outcome == VERIFY_NOT_REACHED ? "not reached" : step->detail);
}

static json_t *identity_json(const dstack_verified *verified) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (verified == NULL ||
        dstack_identity_to_json(dstack_verified_identity(verified), &text, NULL) != 0) {
        return json_null();
    }
    json_t *object = json_parse(bytes_of_buf(&text), SIZE_MAX, "identity", NULL);
    return object != NULL ? object : json_null();
}

json_t *verify_report_json(const verify_report *report, const char *url) {
    verify_step_id refused;
    bool bad = verify_refusal(report, &refused);
    json_t *steps = json_array();
    json_t *caveats = json_array();
    for (int i = 0; i < VERIFY_STEPS; i++) {
        const verify_step *step = &report->steps[i];
        if (step->used) {
            json_array_append_new(steps, step_json(step, (verify_step_id)i));
        }
        if (step->used && step->caveat) {
            json_array_append_new(caveats, json_string(verify_step_name((verify_step_id)i)));
        }
    }
    json_t *document =
        json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o}", "url", url, "mode",
                  mode_name(report->mode), "verdict", bad ? "refused" : "verified", "insecure_dev",
                  report->insecure, "caveats", caveats, "identity", identity_json(report->app),
                  "gateway", identity_json(report->gateway), "steps", steps);
    if (bad) {
        const char *detail = report->steps[refused].detail;
        json_object_set_new(document, "error",
                            json_pack("{s:s, s:s}", "check", verify_step_name(refused), "message",
                                      *detail != '\0' ? detail : "not reached"));
    }
    return document;
}
