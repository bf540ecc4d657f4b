/* One table per platform; tee.c picks by URL. */
#ifndef TEE_OPS_H
#define TEE_OPS_H

#include <dstack/tee.h>

#define TEE_DEFAULT_TIMEOUT_MS 30000

/* A call gets the provider's own state, made by its open function. */
typedef struct tee_ops {
    const char *provider;
    bool simulated;
    int (*info)(void *self, dstack_tee_info *out, dstack_error *err);
    int (*extend)(void *self, uint32_t index, const uint8_t digest[DSTACK_TEE_REGISTER_SIZE],
                  const char *event, dstack_error *err);
    int (*quote)(void *self, const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                 dstack_buf *out, dstack_error *err);
    int (*boot_log)(void *self, dstack_buf *out, dstack_error *err);
    void (*close)(void *self);
} tee_ops;

extern const tee_ops tee_sim_ops;
extern const tee_ops tee_tdx_ops;

/* path: socket or character device. root: DER, not empty. */
int tee_sim_open(const char *path, bool is_socket, dstack_bytes root, int64_t timeout_ms,
                 void **self, dstack_error *err);
int tee_tdx_open(int64_t timeout_ms, void **self, dstack_error *err);

#endif
