/* Several certificates in one text. */
#include "base/buf.h"
#include "base/error.h"
#include "cert/cert.h"
#include "x509/pem.h"

void cert_list_clear(cert_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        dstack_buf_clear(&list->der[i]);
    }
    list->count = 0;
}

static int add(cert_list *list, dstack_bytes der, dstack_error *err) {
    if (list->count == CERT_LIST_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d certificates", CERT_LIST_MAX);
    }
    dstack_buf *copy = &list->der[list->count];
    *copy = (dstack_buf){0};
    buf_put_bytes(copy, der);
    int rc = buf_check(copy, err);
    if (rc == 0) {
        rc = x509_cert_parse(&list->certs[list->count], bytes_of_buf(copy), err);
    }
    if (rc == 0) {
        list->count++;
    } else {
        dstack_buf_clear(copy);
    }
    return rc;
}

int cert_list_parse(dstack_bytes encoded, cert_list *out, dstack_error *err) {
    out->count = 0;
    if (!pem_looks_like(encoded)) {
        return add(out, encoded, err);
    }
    pem_reader reader;
    pem_reader_init(&reader, encoded);
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = true;
    int rc = 0;
    while (rc == 0 && found) {
        rc = pem_next(&reader, &block, &found, err);
        if (rc == 0 && found && bytes_equal_str(block.label, "CERTIFICATE")) {
            rc = add(out, bytes_of_buf(&block.der), err);
        }
    }
    if (rc == 0 && out->count == 0) {
        rc = error_set(err, DSTACK_E_FORMAT, "the PEM text holds no certificate");
    }
    if (rc != 0) {
        cert_list_clear(out);
    }
    return rc;
}
