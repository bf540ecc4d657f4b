/* Digests, HMAC and HKDF against published vectors. */
#include "check.h"

#include "crypto/hash.h"
#include "crypto/hmac.h"

/* FIPS 180-4 and FIPS 202 example values for "abc"; Keccak from the Keccak team's known answers. */
static const struct {
    hash_algorithm algorithm;
    const char *abc;
    const char *empty;
} known[] = {
    {HASH_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {HASH_SHA384,
     "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
     "8086072ba1e7cc2358baeca134c825a7",
     "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da"
     "274edebfe76f65fbd51ad2f14898b95b"},
    {HASH_SHA512,
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
     "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
     "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
     "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"},
    {HASH_SHA3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
     "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"},
    {HASH_SHA3_384,
     "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b2"
     "98d88cea927ac7f539f1edf228376d25",
     "0c63a75b845e4f7d01107d852e4c2485c51a50aaaa94fc61995e71bbee983a2a"
     "c3713831264adb47fb6bd1e058d5f004"},
    {HASH_SHA3_512,
     "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e"
     "10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
     "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a6"
     "15b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26"},
    {HASH_KECCAK256, "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
     "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"},
    {HASH_KECCAK384,
     "f7df1165f033337be098e7d288ad6a2f74409d7a60b49c36642218de161b1f99"
     "f8c681e4afaf31a34db29fb763e3c28e",
     "2c23146a63a29acf99e73b88f8c24eaa7dc60aa771780ccc006afbfa8fe2479b"
     "2dd2b21362337441ac12b515911957ff"},
    {HASH_KECCAK512,
     "18587dc2ea106b9a1563e32b3312421ca164c7f1f07bc922a9c83d77cea3a1e5"
     "d0c69910739025372dc14ac9642629379540c17e2a65b19d77aa511a9d00bb96",
     "0eab42de4c3ceb9235fc91acffe746b29c29a8c366b7c60e4e67c466f36a4304"
     "c00fa9caf9d87976ba469bcbe06713b435f091ef2769fb160cdab33d3670680e"},
};

#define KNOWN_COUNT (sizeof known / sizeof known[0])

static void every_algorithm_gives_its_published_digests(void **state) {
    (void)state;
    uint8_t out[HASH_MAX_SIZE];
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        hash_once(known[i].algorithm, bytes_of_str("abc"), out);
        assert_hex(bytes_of(out, hash_size(known[i].algorithm)), known[i].abc);
        hash_once(known[i].algorithm, (dstack_bytes){0}, out);
        assert_hex(bytes_of(out, hash_size(known[i].algorithm)), known[i].empty);
    }
}

static void any_split_of_the_input_gives_one_digest(void **state) {
    (void)state;
    uint8_t data[300], whole[HASH_MAX_SIZE], split[HASH_MAX_SIZE];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 7);
    }
    for (size_t a = 0; a < KNOWN_COUNT; a++) {
        for (size_t len = 0; len <= sizeof data; len++) { /* all block boundaries: 64 .. 144 */
            hash_ctx ctx;
            hash_once(known[a].algorithm, bytes_of(data, len), whole);
            hash_init(&ctx, known[a].algorithm);
            hash_update(&ctx, bytes_of(data, len / 3));
            hash_update(&ctx, (dstack_bytes){0});
            hash_update(&ctx, bytes_of(data + len / 3, len - len / 3));
            hash_final(&ctx, split);
            assert_memory_equal(whole, split, hash_size(known[a].algorithm));
        }
    }
}

static void our_sponge_agrees_with_nettle_on_sha3(void **state) {
    (void)state;
    uint8_t data[300], ours[64], theirs[64];
    memset(data, 0xa5, sizeof data);
    for (size_t len = 0; len <= sizeof data; len++) {
        struct sha3_256_ctx c256;
        struct sha3_384_ctx c384;
        struct sha3_512_ctx c512;
        sha3_256_init(&c256);
        sha3_256_update(&c256, len, data);
        sha3_256_digest(&c256, 32, theirs);
        hash_once(HASH_SHA3_256, bytes_of(data, len), ours);
        assert_memory_equal(ours, theirs, 32);
        sha3_384_init(&c384);
        sha3_384_update(&c384, len, data);
        sha3_384_digest(&c384, 48, theirs);
        hash_once(HASH_SHA3_384, bytes_of(data, len), ours);
        assert_memory_equal(ours, theirs, 48);
        sha3_512_init(&c512);
        sha3_512_update(&c512, len, data);
        sha3_512_digest(&c512, 64, theirs);
        hash_once(HASH_SHA3_512, bytes_of(data, len), ours);
        assert_memory_equal(ours, theirs, 64);
    }
}

static void names_lead_back_to_their_algorithm(void **state) {
    (void)state;
    hash_algorithm found;
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        assert_true(hash_from_name(hash_name(known[i].algorithm), &found));
        assert_int_equal(found, known[i].algorithm);
    }
    assert_false(hash_from_name("SHA256", &found));
    assert_false(hash_from_name("", &found));
}

/* RFC 4231, test case 2. */
static void hmac_gives_the_rfc_4231_values(void **state) {
    (void)state;
    uint8_t out[48];
    dstack_bytes data = bytes_of_str("what do ya want for nothing?");
    hmac_sha256(bytes_of_str("Jefe"), data, out);
    assert_hex(bytes_of(out, 32),
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hmac_sha384(bytes_of_str("Jefe"), data, out);
    assert_hex(bytes_of(out, 48), "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"
                                  "8e2240ca5e69e2c78b3239ecfab21649");
}

/* RFC 5869, appendix A, cases 1 to 3. */
static void hkdf_gives_the_rfc_5869_values(void **state) {
    (void)state;
    static const struct {
        const char *ikm, *salt, *info, *okm;
    } cases[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
         "f0f1f2f3f4f5f6f7f8f9",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
        {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2"
         "c"
         "2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
         "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8"
         "c"
         "8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
         "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbd"
         "c"
         "dddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65"
         "e"
         "590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        uint8_t out[128];
        DSTACK_AUTO(buf) dstack_buf ikm = {0};
        DSTACK_AUTO(buf) dstack_buf salt = {0};
        DSTACK_AUTO(buf) dstack_buf info = {0};
        put_hex(&ikm, cases[i].ikm);
        put_hex(&salt, cases[i].salt);
        put_hex(&info, cases[i].info);
        size_t half = info.len / 2; /* the info in two items is the info in one */
        const dstack_bytes items[] = {bytes_of(info.data, half),
                                      bytes_of(info.data + half, info.len - half)};
        size_t len = strlen(cases[i].okm) / 2;
        assert_ok(hkdf_sha256(bytes_of_buf(&ikm), bytes_of_buf(&salt), items, info.len > 0 ? 2 : 0,
                              out, len, &err),
                  err);
        assert_hex(bytes_of(out, len), cases[i].okm);
    }
}

static void hkdf_refuses_lengths_it_cannot_make(void **state) {
    (void)state;
    static uint8_t out[HKDF_SHA256_MAX_OUTPUT + 1];
    dstack_bytes key = bytes_of_str("key");
    assert_int_equal(hkdf_sha256(key, key, NULL, 0, out, 0, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(hkdf_sha256(key, key, NULL, 0, out, sizeof out, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(hkdf_sha256(key, key, NULL, 0, out, sizeof out - 1, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_gives_its_published_digests),
        cmocka_unit_test(any_split_of_the_input_gives_one_digest),
        cmocka_unit_test(our_sponge_agrees_with_nettle_on_sha3),
        cmocka_unit_test(names_lead_back_to_their_algorithm),
        cmocka_unit_test(hmac_gives_the_rfc_4231_values),
        cmocka_unit_test(hkdf_gives_the_rfc_5869_values),
        cmocka_unit_test(hkdf_refuses_lengths_it_cannot_make),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
