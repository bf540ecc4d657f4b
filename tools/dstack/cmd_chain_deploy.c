/* dstack chain deploy|timelock|app: bringing contracts onto the chain. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "chain_session.h"
#include "cmd_chain.h"
#include "contract_code.h"

static dstack_bytes code_of(const char *name) {
    const struct contract_code *c = contract_codes;
    while (c->name != NULL && strcmp(c->name, name) != 0) {
        c++;
    }
    return c->code;
}

/* Creates a contract from embedded code and constructor arguments. */
static int create(struct chain_session *s, const char *name, const chain_abi_value *values,
                  size_t count, chain_receipt *receipt, dstack_error *err) {
    DSTACK_AUTO(chain_steps) struct chain_steps steps = {.count = 1};
    struct chain_step *step = &steps.steps[0];
    step->what = name;
    step->creates = true;
    buf_put_bytes(&step->data, code_of(name));
    int rc = chain_abi_encode(values, count, &step->data, err);
    rc = rc != 0 ? rc : chain_session_send(s, step, receipt, err);
    if (rc == 0 && !receipt->creates) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: the receipt names no contract", name);
    }
    return rc;
}

/* ---- deploy ----------------------------------------------------------------------------------- */

static const struct cli_option deploy_options[] = {
    {"owner", 0, "ADDRESS", "owner of the KMS contract (default: the sender)"},
    CHAIN_WRITE_OPTIONS,
    {NULL},
};

struct deployed {
    chain_address app_implementation, kms_implementation, kms;
    uint64_t gas;
};

static int deploy_one(struct chain_session *s, const char *name, const chain_abi_value *values,
                      size_t count, chain_address *out, uint64_t *gas, dstack_error *err) {
    DSTACK_AUTO(chain_receipt) chain_receipt receipt = {0};
    int rc = create(s, name, values, count, &receipt, err);
    *out = receipt.contract;
    *gas += receipt.gas_used;
    return rc;
}

/* The proxy is created and initialized in one transaction: nobody can come between. */
static int deploy_all(struct chain_session *s, const chain_address *owner, struct deployed *d,
                      dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf call = {0};
    int rc = deploy_one(s, "DstackApp", NULL, 0, &d->app_implementation, &d->gas, err);
    rc = rc != 0 ? rc : deploy_one(s, "DstackKms", NULL, 0, &d->kms_implementation, &d->gas, err);
    const chain_abi_value initialize[] = {CHAIN_ABI_OF_ADDRESS(owner),
                                          CHAIN_ABI_OF_ADDRESS(&d->app_implementation)};
    rc = rc != 0 ? rc
                 : chain_abi_encode_call("initialize(address,address)", initialize, 2, &call, err);
    const chain_abi_value proxy[] = {CHAIN_ABI_OF_ADDRESS(&d->kms_implementation),
                                     CHAIN_ABI_OF_BYTES(bytes_of_buf(&call))};
    return rc != 0 ? rc : deploy_one(s, "ERC1967Proxy", proxy, 2, &d->kms, &d->gas, err);
}

static int print_facts(struct cli *cli, json_t *facts, dstack_error *err) {
    if (cli->json) {
        return cli_print_json(cli, facts, err);
    }
    cli_print_object(cli, facts);
    return 0;
}

static json_t *address_json(const chain_address *address) {
    char text[CHAIN_ADDRESS_TEXT];
    chain_address_text(address, text);
    return json_string(text);
}

static int run_deploy(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    struct deployed d = {0};
    chain_address owner;
    bool given;
    int rc = chain_option_address(cli, "owner", &owner, &given, err);
    rc = rc != 0 ? rc : chain_session_open_write(cli, &s, err);
    if (rc != 0) {
        return rc;
    }
    owner = given ? owner : s.from;
    rc = deploy_all(&s, &owner, &d, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *facts =
        json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}", "kms", address_json(&d.kms), "owner",
                  address_json(&owner), "kms_implementation", address_json(&d.kms_implementation),
                  "app_implementation", address_json(&d.app_implementation), "chain_id",
                  (json_int_t)s.chain_id, "gas_used", (json_int_t)d.gas);
    return print_facts(cli, facts, err);
}

const struct cli_command chain_command_deploy = {
    .name = "deploy",
    .summary = "Deploy the contracts of a KMS",
    .usage = "--rpc URL --chain-id N --key FILE [--owner ADDRESS]",
    .help = "Deploys the code of app contracts, the code of the KMS contract, and its proxy. The "
            "address printed as kms is the one to configure.",
    .options = deploy_options,
    .run = run_deploy,
};

/* ---- timelock --------------------------------------------------------------------------------- */

static const struct cli_option timelock_options[] = {
    {"min-delay", 0, "SECONDS", "the shortest notice it gives of a change"},
    {"proposer", 0, "ADDRESS", "may schedule and cancel; may be repeated"},
    {"executor", 0, "ADDRESS", "may execute what is due; may be repeated (default: anybody)"},
    CHAIN_WRITE_OPTIONS,
    {NULL},
};

#define ROLES_MAX 16

struct role {
    chain_address addresses[ROLES_MAX];
    chain_abi_value values[ROLES_MAX];
    size_t count;
};

static int read_role(struct cli *cli, const char *name, struct role *role, dstack_error *err) {
    const char *text;
    int rc = 0;
    while (rc == 0 && (text = cli_value_at(cli, name, role->count)) != NULL) {
        if (role->count == ROLES_MAX) {
            return cli_usage(err, "--%s can be given %d times", name, ROLES_MAX);
        }
        rc = chain_address_parse(text, &role->addresses[role->count], err);
        role->values[role->count] = CHAIN_ABI_OF_ADDRESS(&role->addresses[role->count]);
        role->count++;
    }
    return rc;
}

static int run_timelock(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(chain_receipt) chain_receipt receipt = {0};
    struct role proposers = {0}, executors = {0};
    const chain_address nobody = {0};
    int64_t delay = 0;
    int rc = cli_int(cli, "min-delay", 0, 1, INT64_MAX, &delay, err);
    rc = rc != 0 ? rc : read_role(cli, "proposer", &proposers, err);
    rc = rc != 0 ? rc : read_role(cli, "executor", &executors, err);
    if (rc == 0 && (proposers.count == 0 || !cli_has(cli, "min-delay"))) {
        rc = cli_usage(err, "--min-delay SECONDS and at least one --proposer ADDRESS are needed");
    }
    rc = rc != 0 ? rc : chain_session_open_write(cli, &s, err);
    if (rc != 0) {
        return rc;
    }
    if (executors.count == 0) { /* the zero address stands for anybody */
        executors.values[executors.count++] = CHAIN_ABI_OF_ADDRESS(&nobody);
    }
    /* No admin: it governs its own roles. */
    const chain_abi_value values[] = {
        CHAIN_ABI_OF_UINT((uint64_t)delay),
        {.type = CHAIN_ABI_ARRAY, .items = proposers.values, .count = proposers.count},
        {.type = CHAIN_ABI_ARRAY, .items = executors.values, .count = executors.count},
        CHAIN_ABI_OF_ADDRESS(&nobody),
    };
    rc = create(&s, "TimelockController", values, 4, &receipt, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *facts =
        json_pack("{s:o, s:I, s:I}", "timelock", address_json(&receipt.contract), "min_delay",
                  (json_int_t)delay, "gas_used", (json_int_t)receipt.gas_used);
    return print_facts(cli, facts, err);
}

const struct cli_command chain_command_timelock = {
    .name = "timelock",
    .summary = "Deploy a timelock that gives notice of every change",
    .usage = "--min-delay SECONDS --proposer ADDRESS... --rpc URL --chain-id N --key FILE",
    .help = "OpenZeppelin's TimelockController, without an administrator. Hand a contract to it "
            "with 'dstack chain owner transfer', and let it accept with 'dstack chain owner accept "
            "--timelock'.",
    .options = timelock_options,
    .run = run_timelock,
};

/* ---- app -------------------------------------------------------------------------------------- */

static const struct cli_option app_new_options[] = {
    {"kms", 0, "ADDRESS", "the KMS contract"},
    {"owner", 0, "ADDRESS", "owner of the app (default: the sender)"},
    {"compose-hash", 0, "HEX", "first code that may have keys"},
    {"device", 0, "HEX", "first device that it may run on"},
    {"any-device", 0, NULL, "let it run on any device"},
    {"require-tcb-up-to-date", 0, NULL, "only on platforms whose TCB is up to date"},
    {"disable-upgrades", 0, NULL, "the contract's own code can never change"},
    CHAIN_CALL_OPTIONS,
    {NULL},
};

static int app_new_steps(struct cli *cli, const struct chain_session *s, struct chain_steps *steps,
                         dstack_error *err) {
    chain_address kms, owner;
    chain_word device = {0}, compose = {0};
    bool owner_given;
    int rc = chain_need_address(cli, "kms", &kms, err);
    rc = rc != 0 ? rc : chain_option_address(cli, "owner", &owner, &owner_given, err);
    rc = rc != 0 ? rc : cli_hex_fixed(cli, "device", device.bytes, 32, NULL, err);
    rc = rc != 0 ? rc : cli_hex_fixed(cli, "compose-hash", compose.bytes, 32, NULL, err);
    if (rc == 0 && !owner_given && s->key == NULL) {
        rc = cli_usage(err, "--calldata needs --owner ADDRESS: the sender is not known");
    }
    owner = owner_given ? owner : s->from;
    const chain_abi_value values[] = {
        CHAIN_ABI_OF_ADDRESS(&owner),
        CHAIN_ABI_OF_BOOL(cli_has(cli, "disable-upgrades")),
        CHAIN_ABI_OF_BOOL(cli_has(cli, "require-tcb-up-to-date")),
        CHAIN_ABI_OF_BOOL(cli_has(cli, "any-device")),
        CHAIN_ABI_OF_WORD(&device),
        CHAIN_ABI_OF_WORD(&compose),
    };
    return rc != 0 ? rc
                   : chain_steps_add(steps, &kms,
                                     "deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)",
                                     values, 6, err);
}

/* The factory's event names the app. */
static const char *app_of(const json_t *sent) {
    const json_t *event;
    size_t i;
    json_array_foreach(json_object_get(sent, "events"), i, event) {
        const char *name = json_string_value(json_object_get(event, "event"));
        if (name != NULL && strcmp(name, "AppDeployedViaFactory") == 0) {
            return json_string_value(json_object_get(json_object_get(event, "values"), "appId"));
        }
    }
    return NULL;
}

static int run_app_new(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(chain_steps) struct chain_steps steps = {0};
    DSTACK_AUTO(chain_receipt) chain_receipt receipt = {0};
    int rc = chain_session_open_write(cli, &s, err);
    rc = rc != 0 ? rc : app_new_steps(cli, &s, &steps, err);
    if (rc != 0 || cli_has(cli, "calldata") || cli_has(cli, "timelock")) {
        return rc != 0 ? rc : chain_session_perform(&s, &steps, err);
    }
    rc = chain_session_send(&s, &steps.steps[0], &receipt, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *sent = chain_receipt_json(&receipt, err);
    const char *app = app_of(sent);
    if (app == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "the transaction tells of no app");
    }
    DSTACK_AUTO(json)
    json_t *facts = json_pack(
        "{s:s, s:O, s:O, s:O}", "app_id", app, "transaction", json_object_get(sent, "transaction"),
        "block", json_object_get(sent, "block"), "gas_used", json_object_get(sent, "gas_used"));
    return print_facts(cli, facts, err);
}

static const struct cli_command command_app_new = {
    .name = "new",
    .summary = "Make an app's contract and register it",
    .usage = "--kms ADDRESS [--compose-hash HEX] [--device HEX | --any-device] [OPTION...]",
    .help = "The address printed as app_id is the app's id: give it to 'dstack deploy'.",
    .options = app_new_options,
    .run = run_app_new,
};

static const struct cli_option app_register_options[] = {
    {"kms", 0, "ADDRESS", "the KMS contract"},
    CHAIN_CALL_OPTIONS,
    {NULL},
};

static int run_app_register(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(chain_session) struct chain_session s = {0};
    DSTACK_AUTO(chain_steps) struct chain_steps steps = {0};
    chain_address kms, app;
    int rc = chain_need_address(cli, "kms", &kms, err);
    rc = rc != 0 ? rc : chain_address_parse(argv[0], &app, err);
    rc = rc != 0 ? rc : chain_session_open_write(cli, &s, err);
    const chain_abi_value value = CHAIN_ABI_OF_ADDRESS(&app);
    rc = rc != 0 ? rc : chain_steps_add(&steps, &kms, "registerApp(address)", &value, 1, err);
    return rc != 0 ? rc : chain_session_perform(&s, &steps, err);
}

static const struct cli_command command_app_register = {
    .name = "register",
    .summary = "Register a contract that decides for its own address",
    .usage = "ADDRESS --kms ADDRESS [OPTION...]",
    .options = app_register_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_app_register,
};

static const struct cli_command *const app_children[] = {&command_app_new, &command_app_register,
                                                         NULL};

const struct cli_command chain_command_app = {
    .name = "app",
    .summary = "Apps of a KMS contract",
    .children = app_children,
    .max_args = -1,
};
