/* One VM's TEE. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "sim/sim_keys.h"
#include "sim/sim_pki.h"
#include "sim/sim_server.h"
#include "tee/sim_protocol.h"
#include "verify/dcap/quote_build.h"

#define STATE_LIMIT ((size_t)4 << 20)
#define STATE_VERSION 1
/* The hardware lets a guest extend these two alone. */
#define FIRST_GUEST_RTMR 2
#define LAST_GUEST_RTMR 3

struct sim_vm {
    const sim_keys *keys;
    dstack_tee_info info;
    dstack_buf boot_log;
    char *state_path; /* NULL: nothing is kept */
};

static int save(const sim_vm *vm, dstack_error *err) {
    if (vm->state_path == NULL) {
        return 0;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text, "{\"version\":%d,\"mrtd\":\"", STATE_VERSION);
    buf_put_hex(&text, bytes_of(vm->info.mrtd, sizeof vm->info.mrtd));
    buf_put_str(&text, "\",\"mr_config_id\":\"");
    buf_put_hex(&text, bytes_of(vm->info.mr_config_id, sizeof vm->info.mr_config_id));
    for (size_t i = 0; i < DSTACK_TEE_RTMR_COUNT; i++) {
        buf_put_fmt(&text, "\",\"rtmr%zu\":\"", i);
        buf_put_hex(&text, bytes_of(vm->info.rtmr[i], sizeof vm->info.rtmr[i]));
    }
    buf_put_str(&text, "\",\"boot_log\":\"");
    buf_put_hex(&text, bytes_of_buf(&vm->boot_log));
    buf_put_str(&text, "\"}\n");
    const int rc = buf_check(&text, err);
    return rc != 0 ? rc : file_write_atomic(vm->state_path, bytes_of_buf(&text), 0600, err);
}

static int parse_state(const json_t *object, sim_vm *vm, dstack_error *err) {
    int64_t version = 0;
    int rc = json_need_int(object, "version", &version, err);
    if (rc == 0 && version != STATE_VERSION) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "state has version %lld", (long long)version);
    }
    if (rc != 0 ||
        (rc = json_need_hex(object, "mrtd", vm->info.mrtd, sizeof vm->info.mrtd, err)) != 0 ||
        (rc = json_need_hex(object, "mr_config_id", vm->info.mr_config_id,
                            sizeof vm->info.mr_config_id, err)) != 0) {
        return rc;
    }
    for (size_t i = 0; i < DSTACK_TEE_RTMR_COUNT; i++) {
        char key[8];
        snprintf(key, sizeof key, "rtmr%zu", i);
        rc = json_need_hex(object, key, vm->info.rtmr[i], sizeof vm->info.rtmr[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return json_hex_or_empty(object, "boot_log", &vm->boot_log, err);
}

static int restore(sim_vm *vm, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    const int rc = file_read(vm->state_path, STATE_LIMIT, &text, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *object = json_parse(bytes_of_buf(&text), STATE_LIMIT, vm->state_path, err);
    return object == NULL ? (err != NULL ? (int)err->status : DSTACK_E_FORMAT)
                          : parse_state(object, vm, err);
}

static int vm_new(const sim_keys *keys, const char *state_path, sim_vm **out, dstack_error *err) {
    *out = NULL;
    sim_vm *vm = calloc(1, sizeof *vm);
    if (vm == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    vm->keys = keys;
    if (state_path != NULL && (vm->state_path = strdup(state_path)) == NULL) {
        free(vm);
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    *out = vm;
    return 0;
}

int sim_vm_start(const sim_keys *keys, const dstack_measurements *measured,
                 const uint8_t *mr_config_id, const char *state_path, sim_vm **out,
                 dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(sim_vm) sim_vm *vm = NULL;
    int rc = vm_new(keys, state_path, &vm, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(vm->info.mrtd, measured->mrtd, sizeof vm->info.mrtd);
    for (size_t i = 0; i < sizeof measured->rtmr / sizeof *measured->rtmr; i++) {
        memcpy(vm->info.rtmr[i], measured->rtmr[i], sizeof vm->info.rtmr[i]);
    }
    if (mr_config_id != NULL) {
        memcpy(vm->info.mr_config_id, mr_config_id, sizeof vm->info.mr_config_id);
    }
    rc = dstack_measure_boot_log(measured, &vm->boot_log, err);
    if (rc != 0 || (rc = save(vm, err)) != 0) {
        return rc;
    }
    *out = vm;
    vm = NULL;
    return 0;
}

int sim_vm_resume(const sim_keys *keys, const char *state_path, sim_vm **out, dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(sim_vm) sim_vm *vm = NULL;
    int rc = vm_new(keys, state_path, &vm, err);
    if (rc != 0 || (rc = restore(vm, err)) != 0) {
        return rc;
    }
    *out = vm;
    vm = NULL;
    return 0;
}

void sim_vm_free(sim_vm *vm) {
    if (vm != NULL) {
        dstack_buf_clear(&vm->boot_log);
        free(vm->state_path);
        free(vm);
    }
}

const dstack_tee_info *sim_vm_info(const sim_vm *vm) {
    return &vm->info;
}

static int extend(sim_vm *vm, const sim_request *request, uint8_t out[DSTACK_TEE_REGISTER_SIZE],
                  dstack_error *err) {
    if (request->index < FIRST_GUEST_RTMR || request->index > LAST_GUEST_RTMR) {
        return error_set(err, DSTACK_E_REFUSED, "a guest extends RTMR2 and RTMR3 only");
    }
    uint8_t *rtmr = vm->info.rtmr[request->index];
    uint8_t before[DSTACK_TEE_REGISTER_SIZE];
    memcpy(before, rtmr, sizeof before);
    const dstack_bytes parts[] = {bytes_of(before, sizeof before),
                                  bytes_of(request->digest, sizeof request->digest)};
    hash_parts(HASH_SHA384, parts, 2, rtmr);
    const int rc = save(vm, err);
    if (rc != 0) {
        /* Neither half happened. */
        memcpy(rtmr, before, sizeof before);
        return rc;
    }
    memcpy(out, rtmr, DSTACK_TEE_REGISTER_SIZE);
    return 0;
}

/* A TD without debug, whose guest takes EPT violations itself: what verifiers demand. */
static void fill_report(const sim_vm *vm, const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                        dstack_td_report *td) {
    memset(td, 0, sizeof *td);
    td->td_attributes[3] = (uint8_t)(DSTACK_TD_ATTRIBUTE_SEPT_VE_DISABLE >> 24);
    memcpy(td->mr_td, vm->info.mrtd, sizeof td->mr_td);
    memcpy(td->mr_config_id, vm->info.mr_config_id, sizeof td->mr_config_id);
    memcpy(td->rt_mr, vm->info.rtmr, sizeof td->rt_mr);
    memcpy(td->report_data, report_data, sizeof td->report_data);
}

static int make_quote(const sim_vm *vm, const uint8_t *report_data, dstack_buf *out,
                      dstack_error *err) {
    const sim_keys *keys = vm->keys;
    dstack_td_report td;
    fill_report(vm, report_data, &td);
    quote_build_signed_part(4, NULL, &td, NULL, out);
    int rc = buf_check(out, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t digest[HASH_SHA256_SIZE], signature[64];
    hash_sha256(bytes_of_buf(out), digest);
    rc = ecdsa_sign_raw(keys->attestation, bytes_of(digest, sizeof digest), signature, err);
    if (rc != 0) {
        return rc;
    }
    const quote_build_auth auth = {
        .signature = signature,
        .attestation_key = ecdsa_key_point(ecdsa_private_public(keys->attestation)).data + 1,
        .qe_report = &keys->qe_report,
        .qe_report_signature = keys->qe_signature,
        .qe_auth_data = bytes_of(sim_qe_auth_data, sizeof sim_qe_auth_data),
        .pck_chain = bytes_of_buf(&keys->pck_chain),
    };
    quote_build_signature_data(&auth, out);
    return buf_check(out, err);
}

static int answer_call(sim_vm *vm, const sim_request *request, sim_answer *answer,
                       dstack_buf *quote, dstack_error *err) {
    int rc = 0;
    switch (request->call) {
    case SIM_INFO:
        answer->info = vm->info;
        break;
    case SIM_EXTEND:
        rc = extend(vm, request, answer->rtmr, err);
        break;
    case SIM_QUOTE:
        rc = make_quote(vm, request->report_data, quote, err);
        answer->bytes = bytes_of_buf(quote);
        break;
    case SIM_CCEL:
    default:
        answer->bytes = bytes_of_buf(&vm->boot_log);
        break;
    }
    return rc;
}

int sim_vm_handle(sim_vm *vm, dstack_bytes bytes, dstack_buf *out, dstack_error *err) {
    sim_request request;
    dstack_error why = {0};
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    int rc = sim_request_read(bytes, &request, &why);
    sim_answer answer = {.id = request.id};
    if (rc == 0) {
        rc = answer_call(vm, &request, &answer, &quote, &why);
    }
    answer.ok = rc == 0;
    answer.error = bytes_of_str(why.message);
    sim_answer_write(request.call, &answer, out);
    return buf_check(out, err);
}
