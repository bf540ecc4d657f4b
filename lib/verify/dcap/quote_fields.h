/* Names and places of the fields of quote bodies, and their JSON form. */
#ifndef VERIFY_DCAP_QUOTE_FIELDS_H
#define VERIFY_DCAP_QUOTE_FIELDS_H

#include <jansson.h>

#include <dstack/verifier.h>

typedef struct quote_field {
    const char *name; /* NULL ends a table */
    size_t offset;    /* in the body */
    size_t size;
    bool number; /* little-endian number rather than bytes */
} quote_field;

extern const quote_field quote_td_fields[];
extern const quote_field quote_td15_fields[];
extern const quote_field quote_enclave_fields[];

/* New objects, NULL when memory runs out. */
json_t *quote_fields_json(const uint8_t *body, const quote_field *fields);
/* {"TD10": {...}}, {"TD15": {"base": {...}, ...}} or {"SgxEnclave": {...}}. */
json_t *quote_report_json(dstack_quote_body type, const uint8_t *body);
json_t *quote_header_json(const dstack_quote_header *header);

/* What a PCK certificate says, without its flags. */
json_t *quote_pck_json(const dstack_pck_info *pck);

/* "TD10", "TD15", "SgxEnclave" */
const char *quote_body_name(dstack_quote_body type);

#endif
