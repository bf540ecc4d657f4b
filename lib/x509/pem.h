/* PEM text (RFC 7468, read leniently: any text around the blocks, LF or CRLF) to DER and back. */
#ifndef DSTACK_X509_PEM_H
#define DSTACK_X509_PEM_H

#include <stdbool.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "base/auto.h"

/* Bounds: longest text read, longest label. */
#define PEM_MAX_TEXT (1024 * 1024)
#define PEM_MAX_LABEL 64

typedef struct pem_reader {
    dstack_bytes rest;
} pem_reader;

typedef struct pem_block {
    dstack_bytes label; /* borrowed from the text: "CERTIFICATE", "PRIVATE KEY", ... */
    dstack_buf der;     /* owned */
} pem_block;

void pem_block_clear(pem_block *block);
DSTACK_AUTO_DEFINE_CLEAR(pem_block, pem_block, pem_block_clear)

void pem_reader_init(pem_reader *reader, dstack_bytes text);

/* Reads the next block. *found is false at the end of the text. A block whose labels differ, that
 * does not end, or holds a character outside base64 is an error (DSTACK_E_FORMAT). The decoded
 * bytes replace what block->der held. NUL bytes outside blocks are ignored. */
int pem_next(pem_reader *reader, pem_block *block, bool *found, dstack_error *err);

/* Appends a block with 64-column lines and LF line ends. */
int pem_append(dstack_buf *out, const char *label, dstack_bytes der, dstack_error *err);

/* True where the text holds a line that begins a PEM block. DER is no text, whatever it holds. */
bool pem_looks_like(dstack_bytes text);

#endif
