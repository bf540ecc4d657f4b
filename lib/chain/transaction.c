#include "chain/transaction.h"

#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "chain/rlp.h"
#include "crypto/hash.h"

/* EIP-2718's number of this kind of transaction. */
#define TYPE_FEE_MARKET 0x02

static void put_fields(dstack_buf *out, const chain_transaction *t) {
    dstack_buf none = {0};
    rlp_put_uint(out, t->chain_id);
    rlp_put_uint(out, t->nonce);
    rlp_put_uint(out, t->priority_fee);
    rlp_put_uint(out, t->max_fee);
    rlp_put_uint(out, t->gas_limit);
    rlp_put_bytes(out, bytes_of(t->to.bytes, t->creates ? 0 : sizeof t->to.bytes));
    rlp_put_uint(out, t->value);
    rlp_put_bytes(out, t->data);
    rlp_put_list(out, &none); /* no access list */
}

static void put_envelope(dstack_buf *out, const dstack_buf *fields) {
    buf_put_u8(out, TYPE_FEE_MARKET);
    rlp_put_list(out, fields);
}

int chain_transaction_sign(const chain_transaction *transaction,
                           const uint8_t secret[K256_SECRET_SIZE], dstack_buf *raw,
                           chain_word *hash, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf fields = {0}, unsigned_form = {0};
    uint8_t digest[HASH_KECCAK256_SIZE], signature[K256_RECOVERABLE_SIZE];
    if (transaction->chain_id == 0 || transaction->max_fee < transaction->priority_fee) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "a transaction needs a chain id, and a maximum fee not below its tip");
    }
    put_fields(&fields, transaction);
    put_envelope(&unsigned_form, &fields);
    int rc = buf_check(&unsigned_form, err);
    if (rc == 0) {
        hash_keccak256(bytes_of_buf(&unsigned_form), digest);
        rc = k256_sign_recoverable(secret, digest, signature, err);
    }
    if (rc == 0) {
        rlp_put_uint(&fields, signature[64]); /* the parity of y */
        rlp_put_number(&fields, bytes_of(signature, 32));
        rlp_put_number(&fields, bytes_of(signature + 32, 32));
        size_t start = raw->len;
        put_envelope(raw, &fields);
        rc = buf_check(raw, err);
        if (rc == 0) {
            hash_keccak256(bytes_of(raw->data + start, raw->len - start), hash->bytes);
        }
    }
    return rc;
}

/* An address is the end of a hash. */
static void address_of(dstack_bytes hashed, chain_address *out) {
    uint8_t hash[HASH_KECCAK256_SIZE];
    hash_keccak256(hashed, hash);
    memcpy(out->bytes, hash + sizeof hash - sizeof out->bytes, sizeof out->bytes);
}

int chain_key_address(const uint8_t secret[K256_SECRET_SIZE], chain_address *out,
                      dstack_error *err) {
    uint8_t point[K256_UNCOMPRESSED_SIZE];
    int rc = k256_public_uncompressed(secret, point, err);
    if (rc == 0) {
        address_of(bytes_of(point + 1, sizeof point - 1), out);
    }
    return rc;
}

void chain_created_address(const chain_address *sender, uint64_t nonce, chain_address *out) {
    /* List header, 21 bytes of address, at most 9 of nonce: never more than fits here. */
    DSTACK_AUTO(buf) dstack_buf items = {0}, list = {0};
    rlp_put_bytes(&items, bytes_of(sender->bytes, sizeof sender->bytes));
    rlp_put_uint(&items, nonce);
    rlp_put_list(&list, &items);
    address_of(bytes_of_buf(&list), out);
}
