/* Microsoft, "PE Format": DOS header, COFF header, section table. */
#include "measure/pe_sections.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"

static int read_header(cursor *c, dstack_bytes file, uint16_t *count, dstack_error *err) {
    cursor dos = cursor_init(file);
    const dstack_bytes magic = cursor_take(&dos, 2);
    cursor_skip(&dos, 0x3c - 2);
    const uint32_t at = cursor_u32le(&dos);
    *c = cursor_init(file);
    cursor_skip(c, at);
    const dstack_bytes signature = cursor_take(c, 4);
    cursor_skip(c, 2); /* machine */
    *count = cursor_u16le(c);
    cursor_skip(c, 12);
    const uint16_t optional = cursor_u16le(c);
    cursor_skip(c, 2);
    cursor_skip(c, optional);
    if (!cursor_ok(&dos) || !cursor_ok(c) || !bytes_equal(magic, bytes_of("MZ", 2)) ||
        !bytes_equal(signature, bytes_of("PE\0\0", 4))) {
        return error_set(err, DSTACK_E_FORMAT, "no PE file");
    }
    return *count <= PE_MAX_SECTIONS
               ? 0
               : error_set(err, DSTACK_E_LIMIT, "PE file has %u sections, at most %d are read",
                           (unsigned)*count, PE_MAX_SECTIONS);
}

static int read_section(cursor *c, dstack_bytes file, pe_section *out, dstack_error *err) {
    const dstack_bytes name = cursor_take(c, 8);
    const uint32_t in_memory = cursor_u32le(c);
    cursor_skip(c, 4); /* address */
    const uint32_t in_file = cursor_u32le(c), offset = cursor_u32le(c);
    cursor_skip(c, 16);
    if (!cursor_ok(c)) {
        return error_set(err, DSTACK_E_FORMAT, "PE section table is cut short");
    }
    memcpy(out->name, name.data, name.len);
    out->name[8] = '\0';
    cursor content = cursor_init(file);
    cursor_skip(&content, offset);
    out->content = cursor_take(&content, in_memory < in_file ? in_memory : in_file);
    out->is_whole = in_memory <= in_file;
    return cursor_ok(&content)
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "PE section %s lies outside the file", out->name);
}

int pe_sections_read(dstack_bytes file, pe_sections *out, dstack_error *err) {
    cursor c;
    uint16_t count = 0;
    *out = (pe_sections){0};
    int rc = read_header(&c, file, &count, err);
    for (uint16_t i = 0; rc == 0 && i < count; i++) {
        rc = read_section(&c, file, &out->list[i], err);
        out->count += rc == 0;
    }
    return rc;
}

const pe_section *pe_sections_find(const pe_sections *sections, const char *name) {
    for (size_t i = 0; i < sections->count; i++) {
        if (strcmp(sections->list[i].name, name) == 0) {
            return &sections->list[i];
        }
    }
    return NULL;
}
