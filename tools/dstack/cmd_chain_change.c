/* dstack chain allow|revoke|set|owner: changes of policy. */
#include <string.h>

#include <dstack/manifest.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "chain/event.h"
#include "chain_session.h"
#include "cmd_chain.h"

enum owner { OF_KMS, OF_APP, OF_EITHER };
enum form { FORM_WORD, FORM_ADDRESS, FORM_TEXT, FORM_BOOL, FORM_NOTHING };

/* The contract that --kms or --app names. */
static int find_contract(struct cli *cli, enum owner owner, const char *what, chain_address *out,
                         dstack_error *err) {
    bool kms, app;
    chain_address of_kms, of_app;
    int rc = chain_option_address(cli, "kms", &of_kms, &kms, err);
    rc = rc != 0 ? rc : chain_option_address(cli, "app", &of_app, &app, err);
    if (rc == 0 && (kms == app || (owner == OF_KMS && app) || (owner == OF_APP && kms))) {
        static const char *const names[] = {"--kms ADDRESS", "--app ADDRESS",
                                            "--kms or --app ADDRESS"};
        rc = cli_usage(err, "%s needs %s, and no other contract", what, names[owner]);
    }
    *out = kms ? of_kms : of_app;
    return rc;
}

/* ---- lists ------------------------------------------------------------------------------------ */

static const struct entry_kind {
    const char *name;
    enum owner owner;
    enum form form;
    const char *add, *remove;
    const char *policy; /* whose entries may have a validity period; NULL: none */
} kinds[] = {
    {"compose-hash", OF_APP, FORM_WORD, "addComposeHash(bytes32)", "removeComposeHash(bytes32)",
     "compose-hash"},
    {"device", OF_APP, FORM_WORD, "addDevice(bytes32)", "removeDevice(bytes32)", "device"},
    {"os-image", OF_EITHER, FORM_WORD, "addOsImageHash(bytes32)", "removeOsImageHash(bytes32)",
     "os-image"},
    {"kms-mr", OF_KMS, FORM_WORD, "addKmsAggregatedMr(bytes32)", "removeKmsAggregatedMr(bytes32)",
     "kms-aggregated-mr"},
    {"kms-device", OF_KMS, FORM_WORD, "addKmsDevice(bytes32)", "removeKmsDevice(bytes32)",
     "kms-device"},
    {"app", OF_KMS, FORM_ADDRESS, "approveApp(address)", "revokeAppApproval(address)", NULL},
};

#define KINDS_TEXT                                                                                 \
    "compose-hash and device (of an app), os-image (of a KMS, or an app's own subset), kms-mr "    \
    "and "                                                                                         \
    "kms-device (of a KMS), app (approval by a KMS)"

static const struct entry_kind *find_kind(const char *name, dstack_error *err) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            return &kinds[i];
        }
    }
    cli_usage(err, "unknown kind %s: " KINDS_TEXT, name);
    return NULL;
}

/* 64 hex digits; for a compose hash also the manifest itself. */
static int read_word(const struct entry_kind *kind, const char *text, chain_word *out,
                     dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf file = {0};
    int rc = chain_word_parse(text, out, NULL);
    if (rc != 0 && kind->owner == OF_APP && strstr(text, ".json") != NULL) {
        rc = cli_read(text, DSTACK_MANIFEST_MAX_SIZE, &file, err);
        if (rc == 0) {
            dstack_compose_hash(bytes_of_buf(&file), out->bytes);
        }
        return rc;
    }
    return rc != 0 ? cli_usage(err, "%s %.80s: 64 hex digits are needed", kind->name, text) : 0;
}

struct entry {
    const struct entry_kind *kind;
    chain_address contract;
    chain_address address;
    chain_word word;
};

static chain_abi_value entry_value(const struct entry *e) {
    return e->kind->form == FORM_ADDRESS ? CHAIN_ABI_OF_ADDRESS(&e->address)
                                         : CHAIN_ABI_OF_WORD(&e->word);
}

static int read_entry(struct cli *cli, char **argv, struct entry *e, dstack_error *err) {
    e->kind = find_kind(argv[0], err);
    if (e->kind == NULL) {
        return DSTACK_E_ARGUMENT;
    }
    int rc = e->kind->form == FORM_ADDRESS ? chain_address_parse(argv[1], &e->address, err)
                                           : read_word(e->kind, argv[1], &e->word, err);
    return rc != 0 ? rc : find_contract(cli, e->kind->owner, e->kind->name, &e->contract, err);
}

/* The period comes first, so that the entry never holds beyond it. */
static int add_period(struct cli *cli, const struct entry *e, struct chain_steps *steps,
                      dstack_error *err) {
    int64_t from = 0, until = 0;
    chain_word policy;
    if (!cli_has(cli, "not-before") && !cli_has(cli, "not-after")) {
        return 0;
    }
    if (e->kind->policy == NULL) {
        return cli_usage(err, "%s has no validity period", e->kind->name);
    }
    int rc = cli_int(cli, "not-before", 0, 0, INT64_MAX, &from, err);
    rc = rc != 0 ? rc : cli_int(cli, "not-after", 0, 0, INT64_MAX, &until, err);
    chain_policy_hash(e->kind->policy, &policy);
    const chain_abi_value values[] = {CHAIN_ABI_OF_WORD(&policy), CHAIN_ABI_OF_WORD(&e->word),
                                      CHAIN_ABI_OF_UINT((uint64_t)from),
                                      CHAIN_ABI_OF_UINT((uint64_t)until)};
    return rc != 0 ? rc
                   : chain_steps_add(steps, &e->contract,
                                     "setValidity(bytes32,bytes32,uint64,uint64)", values, 4, err);
}

static int run_allow(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(chain_steps) struct chain_steps steps = {0};
    struct entry e = {0};
    int rc = read_entry(cli, argv, &e, err);
    rc = rc != 0 ? rc : add_period(cli, &e, &steps, err);
    if (rc == 0) {
        const chain_abi_value value = entry_value(&e);
        rc = chain_steps_add(&steps, &e.contract, e.kind->add, &value, 1, err);
    }
    rc = rc != 0 ? rc : chain_session_open_write(cli, &s, err);
    return rc != 0 ? rc : chain_session_perform(&s, &steps, err);
}

/* A device that is taken off the list still runs the app while any device may. */
static void warn_any_device(struct chain_session *s, const struct entry *e) {
    DSTACK_AUTO(buf) dstack_buf call = {0}, result = {0};
    if (s->node == NULL || strcmp(e->kind->name, "device") != 0 ||
        chain_abi_encode_call("allowAnyDevice()", NULL, 0, &call, NULL) != 0 ||
        chain_node_call(s->node, &e->contract, bytes_of_buf(&call), "latest", &result, NULL) != 0) {
        return;
    }
    chain_abi_reader r = chain_abi_read(bytes_of_buf(&result));
    if (chain_abi_get_bool(&r) && chain_abi_ok(&r)) {
        cli_note(s->cli,
                 "warning: this app may run on any device, so removing one changes nothing: "
                 "dstack chain set allow-any-device false");
    }
}

static int run_revoke(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(chain_steps) struct chain_steps steps = {0};
    struct entry e = {0};
    int rc = read_entry(cli, argv, &e, err);
    if (rc == 0) {
        const chain_abi_value value = entry_value(&e);
        rc = chain_steps_add(&steps, &e.contract, e.kind->remove, &value, 1, err);
    }
    rc = rc != 0 ? rc : chain_session_open_write(cli, &s, err);
    rc = rc != 0 ? rc : chain_session_perform(&s, &steps, err);
    if (rc == 0) {
        warn_any_device(&s, &e);
    }
    return rc;
}

#define CONTRACT_OPTIONS                                                                           \
    {"kms", 0, "ADDRESS", "the KMS contract"}, {                                                   \
        "app", 0, "ADDRESS", "the app's contract"                                                  \
    }

static const struct cli_option allow_options[] = {
    CONTRACT_OPTIONS,
    {"not-before", 0, "TIME", "holds from this UNIX time on"},
    {"not-after", 0, "TIME", "holds until this UNIX time"},
    CHAIN_CALL_OPTIONS,
    {NULL},
};
static const struct cli_option change_options[] = {CONTRACT_OPTIONS, CHAIN_CALL_OPTIONS, {NULL}};

const struct cli_command chain_command_allow = {
    .name = "allow",
    .summary = "Allow an entry of a list",
    .usage = "KIND VALUE (--kms | --app) ADDRESS [OPTION...]",
    .help = "Kinds: " KINDS_TEXT ". A compose hash may also be given as the app-compose.json "
            "itself.",
    .options = allow_options,
    .min_args = 2,
    .max_args = 2,
    .run = run_allow,
};
const struct cli_command chain_command_revoke = {
    .name = "revoke",
    .summary = "Take an entry off a list",
    .usage = "KIND VALUE (--kms | --app) ADDRESS [OPTION...]",
    .help = "Acts at the next request for keys. A guardian may do this too. Kinds: " KINDS_TEXT ".",
    .options = change_options,
    .min_args = 2,
    .max_args = 2,
    .run = run_revoke,
};

/* ---- settings --------------------------------------------------------------------------------- */

static const struct setting {
    const char *name;
    enum owner owner;
    enum form form;
    const char *signature;
} settings[] = {
    {"gateway-app-id", OF_KMS, FORM_TEXT, "setGatewayAppId(string)"},
    {"app-implementation", OF_KMS, FORM_ADDRESS, "setAppImplementation(address)"},
    {"app-approval-required", OF_KMS, FORM_BOOL, "setAppApprovalRequired(bool)"},
    {"guardian", OF_EITHER, FORM_ADDRESS, "setGuardian(address)"},
    {"allow-any-device", OF_APP, FORM_BOOL, "setAllowAnyDevice(bool)"},
    {"require-tcb-up-to-date", OF_APP, FORM_BOOL, "setRequireTcbUpToDate(bool)"},
    {"restrict-os-images", OF_APP, FORM_BOOL, "setRestrictOsImages(bool)"},
    {"upgrades-disabled", OF_APP, FORM_NOTHING, "disableUpgrades()"},
};

#define SETTINGS_TEXT                                                                              \
    "of a KMS: gateway-app-id TEXT, app-implementation ADDRESS, app-approval-required BOOL, "      \
    "kms-info FILE; of an app: allow-any-device, require-tcb-up-to-date, restrict-os-images "      \
    "BOOL, "                                                                                       \
    "upgrades-disabled true (for ever); of either: guardian ADDRESS"

static int read_bool(const char *text, bool *out, dstack_error *err) {
    *out = strcmp(text, "true") == 0;
    return *out || strcmp(text, "false") == 0 ? 0 : cli_usage(err, "true or false, not %s", text);
}

static int add_setting(struct cli *cli, const struct setting *setting, const char *text,
                       struct chain_steps *steps, dstack_error *err) {
    chain_address contract, address = {0};
    bool flag = false;
    int rc = find_contract(cli, setting->owner, setting->name, &contract, err);
    chain_abi_value value = CHAIN_ABI_OF_BYTES(bytes_of_str(text));
    if (rc == 0 && setting->form == FORM_ADDRESS) {
        rc = chain_address_parse(text, &address, err);
        value = CHAIN_ABI_OF_ADDRESS(&address);
    } else if (rc == 0 && setting->form != FORM_TEXT) {
        rc = read_bool(text, &flag, err);
        value = CHAIN_ABI_OF_BOOL(flag);
    }
    if (rc == 0 && setting->form == FORM_NOTHING && !flag) {
        rc = cli_usage(err, "%s cannot be undone", setting->name);
    }
    return rc != 0 ? rc
                   : chain_steps_add(steps, &contract, setting->signature, &value,
                                     setting->form == FORM_NOTHING ? 0 : 1, err);
}

/* The members of a KMS's answer to its bootstrap. */
static int add_kms_info(struct cli *cli, const char *path, struct chain_steps *steps,
                        dstack_error *err) {
    static const char *const members[4][2] = {{"k256_pubkey", "k256Pubkey"},
                                              {"ca_pubkey", "caPubkey"},
                                              {"attestation", "quote"},
                                              {"eventlog", "eventlog"}};
    DSTACK_AUTO(json) json_t *info = cli_read_json(path, (size_t)1 << 20, err);
    dstack_buf parts[4] = {{0}};
    chain_abi_value values[4];
    chain_address kms;
    if (info == NULL) {
        return DSTACK_E_FORMAT;
    }
    int rc = find_contract(cli, OF_KMS, "kms-info", &kms, err);
    for (size_t i = 0; rc == 0 && i < 4; i++) {
        const char *key = json_object_get(info, members[i][0]) ? members[i][0] : members[i][1];
        rc = json_hex_or_empty(info, key, &parts[i], err);
        values[i] = CHAIN_ABI_OF_BYTES(bytes_of_buf(&parts[i]));
    }
    if (rc == 0 && parts[0].len == 0) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: no k256_pubkey", path);
    }
    if (rc == 0) {
        const chain_abi_value tuple = {.type = CHAIN_ABI_TUPLE, .items = values, .count = 4};
        rc = chain_steps_add(steps, &kms, "setKmsInfo((bytes,bytes,bytes,bytes))", &tuple, 1, err);
    }
    for (size_t i = 0; i < 4; i++) {
        dstack_buf_clear(&parts[i]);
    }
    return rc;
}

static int run_set(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(chain_steps) struct chain_steps steps = {0};
    int rc = 0;
    if (strcmp(argv[0], "kms-info") == 0) {
        rc = add_kms_info(cli, argv[1], &steps, err);
    } else {
        size_t i = 0;
        while (i < sizeof settings / sizeof *settings && strcmp(argv[0], settings[i].name) != 0) {
            i++;
        }
        rc = i < sizeof settings / sizeof *settings
                 ? add_setting(cli, &settings[i], argv[1], &steps, err)
                 : cli_usage(err, "unknown setting %s: " SETTINGS_TEXT, argv[0]);
    }
    rc = rc != 0 ? rc : chain_session_open_write(cli, &s, err);
    return rc != 0 ? rc : chain_session_perform(&s, &steps, err);
}

const struct cli_command chain_command_set = {
    .name = "set",
    .summary = "Change a setting of a contract",
    .usage = "NAME VALUE (--kms | --app) ADDRESS [OPTION...]",
    .help = "Settings " SETTINGS_TEXT ".",
    .options = change_options,
    .min_args = 2,
    .max_args = 2,
    .run = run_set,
};

/* ---- owner ------------------------------------------------------------------------------------ */

static int change_owner(struct cli *cli, const char *signature, const chain_address *heir,
                        dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(chain_steps) struct chain_steps steps = {0};
    chain_address contract;
    chain_abi_value value = {.type = CHAIN_ABI_BOOL};
    if (heir != NULL) {
        value = CHAIN_ABI_OF_ADDRESS(heir);
    }
    int rc = find_contract(cli, OF_EITHER, "owner", &contract, err);
    rc = rc != 0 ? rc
                 : chain_steps_add(&steps, &contract, signature, &value, heir != NULL ? 1 : 0, err);
    rc = rc != 0 ? rc : chain_session_open_write(cli, &s, err);
    rc = rc != 0 ? rc : chain_session_perform(&s, &steps, err);
    if (rc == 0 && heir != NULL && !cli_has(cli, "calldata")) {
        cli_note(cli, "note: the contract keeps its owner until the new one accepts: dstack chain "
                      "owner accept");
    }
    return rc;
}

static int run_transfer(struct cli *cli, int argc, char **argv, dstack_error *err) {
    chain_address heir;
    int rc = chain_address_parse(argv[0], &heir, err);
    return rc != 0 ? rc : change_owner(cli, "transferOwnership(address)", &heir, err);
}

static int run_accept(struct cli *cli, int argc, char **argv, dstack_error *err) {
    return change_owner(cli, "acceptOwnership()", NULL, err);
}

static int run_renounce(struct cli *cli, int argc, char **argv, dstack_error *err) {
    return change_owner(cli, "renounceOwnership()", NULL, err);
}

static const struct cli_command command_transfer = {
    .name = "transfer",
    .summary = "Offer a contract to a new owner",
    .usage = "ADDRESS (--kms | --app) ADDRESS [OPTION...]",
    .options = change_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_transfer,
};
static const struct cli_command command_accept = {
    .name = "accept",
    .summary = "Accept a contract that was offered",
    .usage = "(--kms | --app) ADDRESS [OPTION...]",
    .help = "For a timelock or another contract that is to accept: --timelock or --calldata.",
    .options = change_options,
    .run = run_accept,
};
static const struct cli_command command_renounce = {
    .name = "renounce",
    .summary = "Leave an app without owner: its lists are frozen for ever",
    .usage = "--app ADDRESS [OPTION...]",
    .options = change_options,
    .run = run_renounce,
};
static const struct cli_command *const owner_children[] = {&command_transfer, &command_accept,
                                                           &command_renounce, NULL};

const struct cli_command chain_command_owner = {
    .name = "owner",
    .summary = "Hand contracts over",
    .children = owner_children,
    .max_args = -1,
};
