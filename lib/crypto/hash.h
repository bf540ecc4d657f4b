/* Message digests: SHA-2 (FIPS 180-4), SHA-3 (FIPS 202) and Keccak with its original padding
 * (as Ethereum uses it). Backend: nettle. Nothing here can fail. */
#ifndef DSTACK_CRYPTO_HASH_H
#define DSTACK_CRYPTO_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nettle/sha2.h>
#include <nettle/sha3.h>

#include <dstack/bytes.h>

#define HASH_SHA256_SIZE 32
#define HASH_SHA384_SIZE 48
#define HASH_SHA512_SIZE 64
#define HASH_KECCAK256_SIZE 32
#define HASH_MAX_SIZE 64

typedef enum hash_algorithm {
    HASH_SHA256,
    HASH_SHA384,
    HASH_SHA512,
    HASH_SHA3_256,
    HASH_SHA3_384,
    HASH_SHA3_512,
    HASH_KECCAK256,
    HASH_KECCAK384,
    HASH_KECCAK512,
} hash_algorithm;

/* Output size in bytes: 32, 48 or 64. */
size_t hash_size(hash_algorithm algorithm);

/* Lower-case name: "sha256", "sha3-256", "keccak256", ... */
const char *hash_name(hash_algorithm algorithm);

/* Finds an algorithm by the name hash_name gives it. False where there is none. */
bool hash_from_name(const char *name, hash_algorithm *algorithm);

/* Incremental hashing. The context is a plain value: copying it forks the computation. */
typedef struct hash_ctx {
    hash_algorithm algorithm;
    union {
        struct sha256_ctx sha256;
        struct sha512_ctx sha512;
        struct {
            struct sha3_state state;
            size_t used;
            uint8_t block[136];
        } sponge;
    } u;
} hash_ctx;

void hash_init(hash_ctx *ctx, hash_algorithm algorithm);
void hash_update(hash_ctx *ctx, dstack_bytes data);
/* Writes hash_size() bytes and wipes the context. */
void hash_final(hash_ctx *ctx, uint8_t *out);

/* One shot. out takes hash_size(algorithm) bytes. */
void hash_once(hash_algorithm algorithm, dstack_bytes data, uint8_t *out);
/* The hash of the concatenation of count parts. */
void hash_parts(hash_algorithm algorithm, const dstack_bytes *parts, size_t count, uint8_t *out);

void hash_sha256(dstack_bytes data, uint8_t out[HASH_SHA256_SIZE]);
void hash_sha384(dstack_bytes data, uint8_t out[HASH_SHA384_SIZE]);
void hash_sha512(dstack_bytes data, uint8_t out[HASH_SHA512_SIZE]);
void hash_keccak256(dstack_bytes data, uint8_t out[HASH_KECCAK256_SIZE]);

#endif
