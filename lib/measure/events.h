/* The events that OVMF for TDX logs on a direct kernel boot, and their digests. */
#ifndef MEASURE_EVENTS_H
#define MEASURE_EVENTS_H

#include <dstack/measure.h>

/* Digests that differ between images and machines; everything else follows from the firmware's
 * fixed behaviour. */
typedef struct measure_inputs {
    uint8_t mrtd[DSTACK_MEASURE_SIZE];
    uint8_t td_hob[DSTACK_MEASURE_SIZE];
    uint8_t cfv[DSTACK_MEASURE_SIZE];
    uint8_t kernel[DSTACK_MEASURE_SIZE];
    uint8_t cmdline[DSTACK_MEASURE_SIZE];
    uint8_t initrd[DSTACK_MEASURE_SIZE];
    bool has_kernel_distributed; /* the loader may have left the kernel's header alone */
    uint8_t kernel_distributed[DSTACK_MEASURE_SIZE];
    /* Where they come from, for people; static texts. */
    const char *image_source, *cfv_source, *kernel_source;
} measure_inputs;

/* Configuration volume of dstack's own firmware build (EDK2 stable202502, IntelTdxX64), as its real
 * boots log it. */
extern const uint8_t measure_cfv_reference[DSTACK_MEASURE_SIZE];

extern const char measure_cfv_reference_source[];

/* Fills the event list and replays it. shape gives the ACPI digests, or they are generated. */
int measure_events(const measure_inputs *inputs, const dstack_vm_shape *shape,
                   dstack_measurements *out, dstack_error *err);

/* Replays the events into the RTMRs. */
void measure_replay(dstack_measurements *measurements);

/* SHA-384 over the command line as the firmware passes it on: UTF-16, " initrd=initrd" added, with
 * its terminating zero. */
int measure_cmdline_digest(dstack_bytes cmdline, uint8_t out[DSTACK_MEASURE_SIZE],
                           dstack_error *err);

/* The root file system is bound by its hash in the command line: at most one, or which of them counts
 * would depend on who reads it. required: exactly one. DSTACK_E_FORMAT otherwise. */
int measure_cmdline_check(dstack_bytes cmdline, bool required, dstack_error *err);

/* Memory sizes at which the kernel hash of a document holds when the header is not normalised. */
bool measure_memory_fits_document(uint64_t memory_size);

#endif
