/* Which simulation root a guest may believe in: the measured command line alone decides. */
#include <dstack/tee.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "x509/cert.h"
#include "x509/pem.h"

#define OPTION "dstack.sim_root="
#define CMDLINE_MAX ((size_t)64 << 10)

/* The one value of the option. The kernel separates by blanks and knows double quotes; a quoted
 * value would hide the option from a simpler reader, so quotes anywhere are refused when the option
 * is there. */
static int find_hash(const char *cmdline, uint8_t out[32], dstack_error *err) {
    const size_t len = strnlen(cmdline, CMDLINE_MAX + 1);
    if (len > CMDLINE_MAX) {
        return error_set(err, DSTACK_E_FORMAT, "kernel command line is too long");
    }
    const char *found = NULL;
    size_t found_len = 0, count = 0;
    for (const char *p = cmdline; *p != '\0';) {
        const size_t blank = strspn(p, " \t\r\n");
        const size_t word = strcspn(p + blank, " \t\r\n");
        p += blank;
        if (strncmp(p, OPTION, strlen(OPTION)) == 0) {
            found = p + strlen(OPTION);
            found_len = word - strlen(OPTION);
            count++;
        }
        p += word;
    }
    if (count == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND,
                         "the kernel command line pins no simulation root");
    }
    if (count > 1 || memchr(cmdline, '"', len) != NULL) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the kernel command line pins a simulation root "
                         "twice, or has quotes");
    }
    char text[65] = {0};
    if (found_len != 64) {
        return error_set(err, DSTACK_E_FORMAT, OPTION " needs 64 hex digits");
    }
    memcpy(text, found, 64);
    return hex_decode_fixed(text, out, 32, err);
}

static int one_certificate(dstack_bytes input, dstack_buf *der, dstack_error *err) {
    if (!pem_looks_like(input)) {
        buf_put_bytes(der, input);
        return buf_check(der, err);
    }
    pem_reader reader;
    pem_block block = {0};
    bool found = false;
    pem_reader_init(&reader, input);
    int rc = pem_next(&reader, &block, &found, err);
    if (rc == 0 && (!found || !bytes_equal_str(block.label, "CERTIFICATE"))) {
        rc = error_set(err, DSTACK_E_FORMAT, "the simulation root is not a certificate");
    }
    if (rc == 0) {
        buf_put_bytes(der, bytes_of_buf(&block.der));
        rc = buf_check(der, err);
    }
    pem_block_clear(&block);
    return rc;
}

int dstack_tee_sim_accept_root(const char *cmdline, dstack_bytes certificate, dstack_buf *der,
                               dstack_error *err) {
    uint8_t pinned[32], actual[32];
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    x509_cert parsed;
    int rc;
    if ((rc = find_hash(cmdline, pinned, err)) != 0 ||
        (rc = one_certificate(certificate, &bytes, err)) != 0 ||
        (rc = x509_cert_parse(&parsed, bytes_of_buf(&bytes), err)) != 0) {
        return rc;
    }
    hash_sha256(bytes_of_buf(&bytes), actual);
    if (memcmp(pinned, actual, sizeof actual) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the simulation root from the host is not the one that is pinned");
    }
    buf_put_bytes(der, bytes_of_buf(&bytes));
    return buf_check(der, err);
}
