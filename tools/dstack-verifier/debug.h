/* What a request with "debug" gets besides: the machine's ACPI tables, and where registers differ
 * from the image's, event by event. */
#ifndef VERIFIER_DEBUG_H
#define VERIFIER_DEBUG_H

#include <jansson.h>

#include <dstack/measure.h>

/* {"tables", "rsdp", "loader"} in hex, as QEMU hands them over; NULL for a machine that is not
 * known. */
json_t *debug_acpi(const dstack_vm_shape *shape);

/* For each of RTMR0 to RTMR2 that is not the image's: {"rtmr", "expected", "actual", "events",
 * "missing_expected_digests"}. NULL when all agree or the image cannot be measured. */
json_t *debug_registers(const char *image_dir, const dstack_vm_shape *shape,
                        const dstack_image_question *question);

#endif
