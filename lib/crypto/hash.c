#include "crypto/hash.h"

#include <string.h>

#include <sodium.h>

/* FIPS 202, section 6.1 and B.2: SHA-3 appends the bits 01 before the padding pad10*1, so its first
 * padding byte is 06. Keccak as submitted appends nothing: 01. */
#define PAD_SHA3 0x06
#define PAD_KECCAK 0x01

typedef enum hash_family { FAMILY_SHA256, FAMILY_SHA512, FAMILY_SPONGE } hash_family;

static const struct {
    const char *name;
    hash_family family;
    size_t size;
    uint8_t pad;
} algorithms[] = {
    [HASH_SHA256] = {"sha256", FAMILY_SHA256, 32, 0},
    [HASH_SHA384] = {"sha384", FAMILY_SHA512, 48, 0},
    [HASH_SHA512] = {"sha512", FAMILY_SHA512, 64, 0},
    [HASH_SHA3_256] = {"sha3-256", FAMILY_SPONGE, 32, PAD_SHA3},
    [HASH_SHA3_384] = {"sha3-384", FAMILY_SPONGE, 48, PAD_SHA3},
    [HASH_SHA3_512] = {"sha3-512", FAMILY_SPONGE, 64, PAD_SHA3},
    [HASH_KECCAK256] = {"keccak256", FAMILY_SPONGE, 32, PAD_KECCAK},
    [HASH_KECCAK384] = {"keccak384", FAMILY_SPONGE, 48, PAD_KECCAK},
    [HASH_KECCAK512] = {"keccak512", FAMILY_SPONGE, 64, PAD_KECCAK},
};

#define ALGORITHM_COUNT (sizeof(algorithms) / sizeof(algorithms[0]))

size_t hash_size(hash_algorithm algorithm) {
    return algorithms[algorithm].size;
}

const char *hash_name(hash_algorithm algorithm) {
    return algorithms[algorithm].name;
}

bool hash_from_name(const char *name, hash_algorithm *algorithm) {
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        if (strcmp(name, algorithms[i].name) == 0) {
            *algorithm = (hash_algorithm)i;
            return true;
        }
    }
    return false;
}

/* The sponge of FIPS 202, section 4, around nettle's permutation. nettle itself has SHA-3 only; its
 * permutation is the part that must not be written twice. The rate is what the capacity, twice the
 * output, leaves of the 200 bytes of state. */

static size_t sponge_rate(hash_algorithm algorithm) {
    return 200 - 2 * algorithms[algorithm].size;
}

static void sponge_absorb(hash_ctx *ctx, size_t rate) {
    for (size_t i = 0; i < rate / 8; i++) {
        uint64_t lane = 0;
        for (size_t k = 8; k-- > 0;) {
            lane = lane << 8 | ctx->u.sponge.block[8 * i + k];
        }
        ctx->u.sponge.state.a[i] ^= lane;
    }
    sha3_permute(&ctx->u.sponge.state);
    ctx->u.sponge.used = 0;
}

static void sponge_update(hash_ctx *ctx, dstack_bytes data) {
    size_t rate = sponge_rate(ctx->algorithm);
    while (data.len > 0) {
        size_t room = rate - ctx->u.sponge.used;
        size_t take = data.len < room ? data.len : room;
        memcpy(ctx->u.sponge.block + ctx->u.sponge.used, data.data, take);
        ctx->u.sponge.used += take;
        data = (dstack_bytes){data.data + take, data.len - take};
        if (ctx->u.sponge.used == rate) {
            sponge_absorb(ctx, rate);
        }
    }
}

static void sponge_final(hash_ctx *ctx, uint8_t *out) {
    size_t rate = sponge_rate(ctx->algorithm);
    size_t used = ctx->u.sponge.used;
    memset(ctx->u.sponge.block + used, 0, rate - used);
    ctx->u.sponge.block[used] = algorithms[ctx->algorithm].pad;
    ctx->u.sponge.block[rate - 1] |= 0x80;
    sponge_absorb(ctx, rate);
    for (size_t i = 0; i < algorithms[ctx->algorithm].size; i++) {
        out[i] = (uint8_t)(ctx->u.sponge.state.a[i / 8] >> (8 * (i % 8)));
    }
}

void hash_init(hash_ctx *ctx, hash_algorithm algorithm) {
    ctx->algorithm = algorithm;
    switch (algorithms[algorithm].family) {
    case FAMILY_SHA256:
        sha256_init(&ctx->u.sha256);
        break;
    case FAMILY_SHA512:
        if (algorithm == HASH_SHA384) {
            sha384_init(&ctx->u.sha512);
        } else {
            sha512_init(&ctx->u.sha512);
        }
        break;
    case FAMILY_SPONGE:
        memset(&ctx->u.sponge, 0, sizeof ctx->u.sponge);
        break;
    }
}

void hash_update(hash_ctx *ctx, dstack_bytes data) {
    if (data.len == 0) {
        return;
    }
    switch (algorithms[ctx->algorithm].family) {
    case FAMILY_SHA256:
        sha256_update(&ctx->u.sha256, data.len, data.data);
        break;
    case FAMILY_SHA512:
        sha512_update(&ctx->u.sha512, data.len, data.data);
        break;
    case FAMILY_SPONGE:
        sponge_update(ctx, data);
        break;
    }
}

void hash_final(hash_ctx *ctx, uint8_t *out) {
    switch (algorithms[ctx->algorithm].family) {
    case FAMILY_SHA256:
        sha256_digest(&ctx->u.sha256, SHA256_DIGEST_SIZE, out);
        break;
    case FAMILY_SHA512:
        if (ctx->algorithm == HASH_SHA384) {
            sha384_digest(&ctx->u.sha512, SHA384_DIGEST_SIZE, out);
        } else {
            sha512_digest(&ctx->u.sha512, SHA512_DIGEST_SIZE, out);
        }
        break;
    case FAMILY_SPONGE:
        sponge_final(ctx, out);
        break;
    }
    sodium_memzero(ctx, sizeof *ctx);
}

void hash_parts(hash_algorithm algorithm, const dstack_bytes *parts, size_t count, uint8_t *out) {
    hash_ctx ctx;
    hash_init(&ctx, algorithm);
    for (size_t i = 0; i < count; i++) {
        hash_update(&ctx, parts[i]);
    }
    hash_final(&ctx, out);
}

void hash_once(hash_algorithm algorithm, dstack_bytes data, uint8_t *out) {
    hash_parts(algorithm, &data, 1, out);
}

void hash_sha256(dstack_bytes data, uint8_t out[HASH_SHA256_SIZE]) {
    hash_once(HASH_SHA256, data, out);
}

void hash_sha384(dstack_bytes data, uint8_t out[HASH_SHA384_SIZE]) {
    hash_once(HASH_SHA384, data, out);
}

void hash_sha512(dstack_bytes data, uint8_t out[HASH_SHA512_SIZE]) {
    hash_once(HASH_SHA512, data, out);
}

void hash_keccak256(dstack_bytes data, uint8_t out[HASH_KECCAK256_SIZE]) {
    hash_once(HASH_KECCAK256, data, out);
}
