/* The simulated TDX platform: what the CPU and its firmware would do, done outside the guest.
 *
 * Three parts: the platform's keys (one folder per installation), one VM's TEE (registers and boot
 * log, kept in a state file so that they outlive a restart of the program that serves them), and
 * the channel on which a guest asks (frames of u32 LE length and CBOR). Nothing here is global; an
 * object serves one thread at a time. */
#ifndef SERVICE_SIM_SERVER_H
#define SERVICE_SIM_SERVER_H

#include <dstack/bytes.h>
#include <dstack/measure.h>
#include <dstack/tee.h>

#include "base/auto.h"

/* ---- the platform's keys -------------------------------------------------------------------- */

/* Files in the folder: root.der, root.pem (public), collateral.json (public: the bundle a verifier
 * needs), keys.json (0600: the attestation key and what vouches for it). The authorities' keys are
 * not kept. */
typedef struct sim_keys sim_keys;

/* Makes the folder's content. DSTACK_E_EXISTS when keys are there already. seed: 32 bytes for the
 * deterministic hierarchy of the reference system's mock roots, or NULL for fresh keys valid ten
 * years from now (UNIX seconds). */
int sim_keys_init(const char *dir, const uint8_t *seed, int64_t now, dstack_error *err);
int sim_keys_load(const char *dir, sim_keys **out, dstack_error *err);
void sim_keys_free(sim_keys *keys);
DSTACK_AUTO_DEFINE(sim_keys, sim_keys, sim_keys_free)

/* DER of the root certificate, and its SHA-256: the value of dstack.sim_root= on the measured
 * kernel command line. Borrowed. */
dstack_bytes sim_keys_root(const sim_keys *keys);
void sim_keys_root_hash(const sim_keys *keys, uint8_t out[32]);
/* JSON text of the collateral bundle. Borrowed. */
dstack_bytes sim_keys_collateral(const sim_keys *keys);

/* ---- one VM's TEE --------------------------------------------------------------------------- */

typedef struct sim_vm sim_vm;

/* A VM starts: registers as measured, RTMR3 zero, written to state_path (0600, replaced when it
 * exists; NULL keeps no file). mr_config_id: 48 bytes, or NULL for zero. keys is borrowed. */
int sim_vm_start(const sim_keys *keys, const dstack_measurements *measured,
                 const uint8_t *mr_config_id, const char *state_path, sim_vm **out,
                 dstack_error *err);
/* The serving program restarted while the VM runs on: registers come from the state file. */
int sim_vm_resume(const sim_keys *keys, const char *state_path, sim_vm **out, dstack_error *err);
void sim_vm_free(sim_vm *vm);
/* The registers as they stand; borrowed. */
const dstack_tee_info *sim_vm_info(const sim_vm *vm);
DSTACK_AUTO_DEFINE(sim_vm, sim_vm, sim_vm_free)

/* Answers one request (a CBOR message without its length prefix); appends the answer's CBOR. Bad
 * requests get an answer that says so; only lack of memory fails. An extension is on disk before it
 * is answered. */
int sim_vm_handle(sim_vm *vm, dstack_bytes request, dstack_buf *answer, dstack_error *err);

/* ---- the channel ---------------------------------------------------------------------------- */

/* Feeds bytes that arrived on a connection, whatever their split; appends whole answer frames to
 * out. For event loops. A frame over its limit is DSTACK_E_LIMIT: close the connection. */
typedef struct sim_session {
    dstack_buf pending;
} sim_session;
int sim_session_feed(sim_session *session, sim_vm *vm, dstack_bytes input, dstack_buf *out,
                     dstack_error *err);
void sim_session_clear(sim_session *session);

/* Serves one connected stream (unix socket of QEMU's chardev, or of a process on the host) until
 * its end of file: 0. stop_fd becoming readable ends it too; -1 for none. */
int sim_serve_fd(sim_vm *vm, int fd, int stop_fd, dstack_error *err);
/* Listens on a unix socket (0600) and serves connections one after another until stop_fd is
 * readable. */
int sim_serve_socket(sim_vm *vm, const char *path, int stop_fd, dstack_error *err);

/* ---- command line --------------------------------------------------------------------------- */

/* `dstack-vmm simulate-tee`: argv[0] is "simulate-tee". Returns the exit code. */
int sim_command(int argc, char **argv);

#endif
