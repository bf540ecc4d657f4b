/* AES-GCM, X25519, Ed25519, the sealed box and secp256k1 against published vectors. */
#include "check.h"

#include "crypto/aes_gcm.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"
#include "crypto/k256.h"
#include "crypto/x25519.h"

static void fixed(const char *hex, uint8_t *out, size_t len) {
    dstack_error err = {0};
    assert_ok(hex_decode_fixed(hex, out, len, &err), err);
}

/* The Galois/Counter Mode of Operation (McGrew, Viega), appendix B, test cases 4 and 16. */
static void aes_gcm_gives_the_published_values(void **state) {
    (void)state;
    static const struct {
        const char *key, *sealed;
    } cases[] = {
        {"feffe9928665731c6d6a8f9467308308",
         "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aa"
         "c"
         "84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b105"
         "6"
         "828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
    };
    for (size_t i = 0; i < 2; i++) {
        dstack_error err = {0};
        DSTACK_AUTO(buf) dstack_buf key = {0};
        DSTACK_AUTO(buf) dstack_buf nonce = {0};
        DSTACK_AUTO(buf) dstack_buf aad = {0};
        DSTACK_AUTO(buf) dstack_buf text = {0};
        DSTACK_AUTO(buf) dstack_buf sealed = {0};
        DSTACK_AUTO(buf) dstack_buf opened = {0};
        put_hex(&key, cases[i].key);
        put_hex(&nonce, "cafebabefacedbaddecaf888");
        put_hex(&aad, "feedfacedeadbeeffeedfacedeadbeefabaddad2");
        put_hex(&text,
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809"
                "532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
        assert_ok(aes_gcm_seal(bytes_of_buf(&key), bytes_of_buf(&nonce), bytes_of_buf(&aad),
                               bytes_of_buf(&text), &sealed, &err),
                  err);
        assert_hex(bytes_of_buf(&sealed), cases[i].sealed);
        assert_ok(aes_gcm_open(bytes_of_buf(&key), bytes_of_buf(&nonce), bytes_of_buf(&aad),
                               bytes_of_buf(&sealed), &opened, &err),
                  err);
        assert_true(bytes_equal(bytes_of_buf(&opened), bytes_of_buf(&text)));
    }
}

static void aes_gcm_opens_nothing_that_was_changed(void **state) {
    (void)state;
    uint8_t key[32] = {1}, nonce[12] = {2};
    DSTACK_AUTO(buf) dstack_buf sealed = {0};
    DSTACK_AUTO(buf) dstack_buf opened = {0};
    dstack_bytes k = bytes_of(key, 32), n = bytes_of(nonce, 12), aad = bytes_of_str("aad");
    assert_int_equal(aes_gcm_seal(k, n, aad, bytes_of_str("secret"), &sealed, NULL), 0);
    for (size_t i = 0; i < sealed.len; i++) {
        sealed.data[i] ^= 0x80;
        assert_int_equal(aes_gcm_open(k, n, aad, bytes_of_buf(&sealed), &opened, NULL),
                         DSTACK_E_CRYPTO);
        sealed.data[i] ^= 0x80;
    }
    for (size_t len = 0; len < sealed.len; len++) {
        assert_int_equal(aes_gcm_open(k, n, aad, bytes_of(sealed.data, len), &opened, NULL),
                         DSTACK_E_CRYPTO);
    }
    assert_int_equal(aes_gcm_open(k, n, bytes_of_str("aax"), bytes_of_buf(&sealed), &opened, NULL),
                     DSTACK_E_CRYPTO);
    assert_int_equal(aes_gcm_open(bytes_of(key, 31), n, aad, bytes_of_buf(&sealed), &opened, NULL),
                     DSTACK_E_ARGUMENT);
    assert_int_equal(
        aes_gcm_open(k, bytes_of(nonce, 11), aad, bytes_of_buf(&sealed), &opened, NULL),
        DSTACK_E_ARGUMENT);
    assert_int_equal(opened.len, 0);
    /* An empty text is a text. */
    dstack_buf_clear(&sealed);
    assert_int_equal(aes_gcm_seal(k, n, aad, (dstack_bytes){0}, &sealed, NULL), 0);
    assert_int_equal(sealed.len, 16);
    assert_int_equal(aes_gcm_open(k, n, aad, bytes_of_buf(&sealed), &opened, NULL), 0);
    assert_int_equal(opened.len, 0);
}

/* RFC 7748, section 6.1. */
static void x25519_gives_the_rfc_7748_values(void **state) {
    (void)state;
    uint8_t bob[32], alice_public[32], bob_public[32], shared[32];
    dstack_error err = {0};
    fixed("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", bob, 32);
    fixed("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", bob_public, 32);
    assert_ok(x25519_public(bob, alice_public, &err), err);
    assert_memory_equal(alice_public, bob_public, 32);
    fixed("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", alice_public, 32);
    assert_ok(x25519_shared(bob, alice_public, shared, &err), err);
    assert_hex(bytes_of(shared, 32),
               "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

static void x25519_refuses_keys_of_small_order(void **state) {
    (void)state;
    static const char *const small[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    uint8_t secret[32] = {7}, peer[32], shared[32];
    DSTACK_AUTO(buf) dstack_buf box = {0};
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        fixed(small[i], peer, 32);
        assert_int_equal(x25519_shared(secret, peer, shared, NULL), DSTACK_E_CRYPTO);
        assert_int_equal(sealed_box_seal(peer, bytes_of_str("m"), &box, NULL), DSTACK_E_CRYPTO);
    }
    assert_int_equal(box.len, 0);
}

static void a_sealed_box_opens_for_its_recipient_alone(void **state) {
    (void)state;
    uint8_t secret[32] = {8}, other[32] = {16}, public_key[32];
    DSTACK_AUTO(buf) dstack_buf box = {0};
    DSTACK_AUTO(buf) dstack_buf opened = {0};
    assert_int_equal(x25519_public(secret, public_key, NULL), 0);
    assert_int_equal(sealed_box_seal(public_key, bytes_of_str("message"), &box, NULL), 0);
    assert_int_equal(box.len, 7 + SEALED_BOX_OVERHEAD);
    assert_int_equal(sealed_box_open(other, bytes_of_buf(&box), &opened, NULL), DSTACK_E_CRYPTO);
    for (size_t i = 0; i < box.len; i++) {
        box.data[i] ^= 1;
        assert_int_equal(sealed_box_open(secret, bytes_of_buf(&box), &opened, NULL),
                         DSTACK_E_CRYPTO);
        box.data[i] ^= 1;
        assert_int_equal(sealed_box_open(secret, bytes_of(box.data, i), &opened, NULL),
                         DSTACK_E_CRYPTO);
    }
    assert_int_equal(sealed_box_open(secret, bytes_of_buf(&box), &opened, NULL), 0);
    assert_true(bytes_equal_str(bytes_of_buf(&opened), "message"));
}

/* RFC 8032, section 7.1, tests 1 and 2. */
static void ed25519_gives_the_rfc_8032_values(void **state) {
    (void)state;
    static const struct {
        const char *seed, *public_key, *message, *signature;
    } cases[] = {
        {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
         "c"
         "f9b46bd25bf5f0595bbe24655141438e7a100b"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
         "0"
         "f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    };
    for (size_t i = 0; i < 2; i++) {
        uint8_t seed[32], public_key[32], signature[64];
        DSTACK_AUTO(buf) dstack_buf message = {0};
        fixed(cases[i].seed, seed, 32);
        put_hex(&message, cases[i].message);
        assert_int_equal(ed25519_public(seed, public_key, NULL), 0);
        assert_hex(bytes_of(public_key, 32), cases[i].public_key);
        assert_int_equal(ed25519_sign(seed, bytes_of_buf(&message), signature, NULL), 0);
        assert_hex(bytes_of(signature, 64), cases[i].signature);
        assert_int_equal(ed25519_verify(public_key, bytes_of_buf(&message), signature, NULL), 0);
        for (size_t k = 0; k < 64; k++) {
            signature[k] ^= 4;
            assert_int_equal(ed25519_verify(public_key, bytes_of_buf(&message), signature, NULL),
                             DSTACK_E_CRYPTO);
            signature[k] ^= 4;
        }
    }
}

#define K256_ORDER "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"

static void k256_signs_recovers_and_verifies(void **state) {
    (void)state;
    uint8_t secret[32], digest[32], compressed[33], uncompressed[65], recovered[33];
    uint8_t compact[64], recoverable[65];
    dstack_error err = {0};
    fixed("0000000000000000000000000000000000000000000000000000000000000001", secret, 32);
    /* SEC 2, section 2.4.1: the key 1 has the base point as its public half. */
    assert_ok(k256_public(secret, compressed, &err), err);
    assert_hex(bytes_of(compressed, 33),
               "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
    assert_ok(k256_public_uncompressed(secret, uncompressed, &err), err);
    hash_sha256(bytes_of_str("Satoshi Nakamoto"), digest);
    assert_ok(k256_sign(secret, digest, compact, &err), err);
    /* A widely published RFC 6979 vector for secp256k1 and SHA-256. */
    assert_hex(bytes_of(compact, 64),
               "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
               "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5");
    assert_ok(k256_sign_recoverable(secret, digest, recoverable, &err), err);
    assert_memory_equal(compact, recoverable, 64);
    assert_ok(k256_recover(digest, bytes_of(recoverable, 65), recovered, &err), err);
    assert_memory_equal(recovered, compressed, 33);
    assert_ok(k256_verify(bytes_of(compressed, 33), digest, bytes_of(compact, 64), &err), err);
    assert_ok(k256_verify(bytes_of(uncompressed, 65), digest, bytes_of(compact, 64), &err), err);
    digest[0] ^= 1;
    assert_int_equal(k256_verify(bytes_of(compressed, 33), digest, bytes_of(compact, 64), &err),
                     DSTACK_E_CRYPTO);
}

static void k256_refuses_what_is_malformed(void **state) {
    (void)state;
    uint8_t secret[32] = {0}, order[32], digest[32] = {1}, point[33], long_point[65], compact[64];
    uint8_t forged[65], out[33];
    fixed(K256_ORDER, order, 32);
    assert_false(k256_secret_valid(secret));
    assert_false(k256_secret_valid(order));
    assert_int_equal(k256_public(order, point, NULL), DSTACK_E_CRYPTO);
    assert_int_equal(k256_sign(secret, digest, compact, NULL), DSTACK_E_CRYPTO);
    secret[31] = 5;
    assert_true(k256_secret_valid(secret));
    assert_int_equal(k256_public(secret, point, NULL), 0);
    assert_int_equal(k256_public_uncompressed(secret, long_point, NULL), 0);
    assert_int_equal(k256_sign(secret, digest, compact, NULL), 0);
    dstack_bytes key = bytes_of(point, 33);

    long_point[0] = 6 | (long_point[64] & 1); /* the hybrid form */
    assert_int_equal(k256_verify(bytes_of(long_point, 65), digest, bytes_of(compact, 64), NULL),
                     DSTACK_E_FORMAT);
    assert_int_equal(k256_verify(bytes_of(point, 32), digest, bytes_of(compact, 64), NULL),
                     DSTACK_E_FORMAT);
    for (size_t part = 0; part < 2; part++) {
        memcpy(forged, compact, 64);
        memset(forged + 32 * part, 0, 32);
        assert_int_equal(k256_verify(key, digest, bytes_of(forged, 64), NULL), DSTACK_E_FORMAT);
        memcpy(forged + 32 * part, order, 32);
        assert_int_equal(k256_verify(key, digest, bytes_of(forged, 64), NULL), DSTACK_E_FORMAT);
    }
    /* The high half of s: valid by the equation, refused by the rule. */
    memcpy(forged, compact, 64);
    int borrow = 0;
    for (size_t i = 32; i-- > 0;) {
        int d = order[i] - compact[32 + i] - borrow;
        borrow = d < 0;
        forged[32 + i] = (uint8_t)(d + (borrow ? 256 : 0));
    }
    assert_int_equal(k256_verify(key, digest, bytes_of(forged, 64), NULL), DSTACK_E_CRYPTO);
    for (unsigned id = 0; id < 4; id++) {
        forged[64] = (uint8_t)id;
        assert_int_equal(k256_recover(digest, bytes_of(forged, 65), out, NULL), DSTACK_E_CRYPTO);
    }
    memcpy(forged, compact, 64);
    for (unsigned id = 4; id < 256; id++) {
        forged[64] = (uint8_t)id;
        assert_int_equal(k256_recover(digest, bytes_of(forged, 65), out, NULL), DSTACK_E_FORMAT);
    }
    assert_int_equal(k256_recover(digest, bytes_of(forged, 64), out, NULL), DSTACK_E_FORMAT);
}

/* What the lenient check of Ed25519 takes beyond the strict one, and what neither does. */
static void lenient_ed25519_takes_odd_keys_and_nothing_else(void **state) {
    static const uint8_t no_point[32] = {2};
    uint8_t identity[32] = {1}, other_identity[32], zero[64] = {1}, seed[32] = {7}, key[32];
    uint8_t signature[64];
    dstack_bytes message = bytes_of_str("message"), other = bytes_of_str("massage");
    /* y = p + 1, which is the identity's 1 again in an encoding that is not canonical */
    memset(other_identity, 0xff, sizeof other_identity);
    other_identity[0] = 0xee;
    other_identity[31] = 0x7f;
    assert_true(ed25519_point_decodes(identity));
    assert_true(ed25519_point_decodes(other_identity));
    assert_false(ed25519_point_decodes(no_point));
    /* R the identity and S zero hold for every message under a key of order one */
    assert_int_equal(ed25519_verify_lenient(identity, message, zero, NULL), 0);
    assert_int_equal(ed25519_verify_lenient(other_identity, message, zero, NULL), 0);
    assert_int_equal(ed25519_verify(identity, message, zero, NULL), DSTACK_E_CRYPTO);
    assert_int_equal(ed25519_verify(other_identity, message, zero, NULL), DSTACK_E_CRYPTO);
    /* but R is compared in its canonical encoding */
    memcpy(zero, other_identity, 32);
    assert_int_equal(ed25519_verify_lenient(identity, message, zero, NULL), DSTACK_E_CRYPTO);
    assert_int_equal(ed25519_verify_lenient(no_point, message, zero, NULL), DSTACK_E_CRYPTO);
    assert_int_equal(ed25519_public(seed, key, NULL), 0);
    assert_int_equal(ed25519_sign(seed, message, signature, NULL), 0);
    assert_int_equal(ed25519_verify_lenient(key, message, signature, NULL), 0);
    assert_int_equal(ed25519_verify_lenient(key, other, signature, NULL), DSTACK_E_CRYPTO);
    assert_int_equal(ed25519_verify_lenient(key, (dstack_bytes){0}, signature, NULL),
                     DSTACK_E_CRYPTO);
    /* S + L is S modulo the order L of the base point (RFC 8032, section 5.1) */
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    unsigned carry = 0;
    for (size_t i = 0; i < 32; i++) {
        carry += (unsigned)signature[32 + i] + order[i];
        signature[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    assert_int_equal(carry, 0);
    assert_int_equal(ed25519_verify_lenient(key, message, signature, NULL), DSTACK_E_CRYPTO);
    assert_int_equal(ed25519_verify(key, message, signature, NULL), DSTACK_E_CRYPTO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenient_ed25519_takes_odd_keys_and_nothing_else),
        cmocka_unit_test(aes_gcm_gives_the_published_values),
        cmocka_unit_test(aes_gcm_opens_nothing_that_was_changed),
        cmocka_unit_test(x25519_gives_the_rfc_7748_values),
        cmocka_unit_test(x25519_refuses_keys_of_small_order),
        cmocka_unit_test(a_sealed_box_opens_for_its_recipient_alone),
        cmocka_unit_test(ed25519_gives_the_rfc_8032_values),
        cmocka_unit_test(k256_signs_recovers_and_verifies),
        cmocka_unit_test(k256_refuses_what_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
