#include "measure/events.h"

#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"

/* TCG PC Client Platform Firmware Profile, section 10.4.1. */
#define EV_SEPARATOR 4U
#define EV_EVENT_TAG 6U
#define EV_PLATFORM_CONFIG_FLAGS 10U
#define EV_EFI_VARIABLE_DRIVER_CONFIG 0x80000001U
#define EV_EFI_VARIABLE_BOOT 0x80000002U
#define EV_EFI_BOOT_SERVICES_APPLICATION 0x80000003U
#define EV_EFI_ACTION 0x80000007U
#define EV_EFI_PLATFORM_FIRMWARE_BLOB2 0x8000000aU
#define EV_EFI_HANDOFF_TABLES2 0x8000000bU

const uint8_t measure_cfv_reference[DSTACK_MEASURE_SIZE] = {
    0x34, 0x4b, 0xc5, 0x1c, 0x98, 0x0b, 0xa6, 0x21, 0xaa, 0xa0, 0x0d, 0xa3, 0xed, 0x74, 0x36, 0xf7,
    0xd6, 0xe5, 0x49, 0x19, 0x7d, 0xfe, 0x69, 0x95, 0x15, 0xdf, 0xa2, 0xc6, 0x58, 0x3d, 0x95, 0xe6,
    0x41, 0x2a, 0xf2, 0x1c, 0x09, 0x7d, 0x47, 0x31, 0x55, 0x87, 0x5f, 0xfd, 0x56, 0x1d, 0x67, 0x90};
const char measure_cfv_reference_source[] = "constant of dstack's firmware build";

/* GUIDs in EFI byte order. */
static const uint8_t guid_global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                        0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const uint8_t guid_security_database[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                                   0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};
/* OVMF's DXE firmware volume, and UiApp in it: the boot option that OVMF always makes first. */
static const uint8_t guid_dxe_volume[16] = {0xc9, 0xbd, 0xb8, 0x7c, 0xeb, 0xf8, 0x34, 0x4f,
                                            0xaa, 0xea, 0x3e, 0xe4, 0xaf, 0x65, 0x16, 0xa1};
static const uint8_t guid_ui_app[16] = {0x21, 0xaa, 0x2c, 0x46, 0x14, 0x76, 0x03, 0x45,
                                        0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31};

typedef struct list {
    dstack_measurements *out;
    dstack_measure_event spill; /* takes what goes beyond the list's room */
    bool failed;
} list;

static dstack_measure_event *add(list *l, uint32_t rtmr, uint32_t type, const char *name,
                                 const char *source) {
    dstack_measure_event *event = &l->spill;
    if (l->out->event_count < DSTACK_MEASURE_MAX_EVENTS) {
        event = &l->out->events[l->out->event_count++];
    } else {
        l->failed = true;
    }
    *event = (dstack_measure_event){.rtmr = rtmr, .type = type, .name = name, .source = source};
    return event;
}

static void add_digest(list *l, uint32_t rtmr, uint32_t type, const char *name, const char *source,
                       const uint8_t digest[DSTACK_MEASURE_SIZE]) {
    memcpy(add(l, rtmr, type, name, source)->digest, digest, DSTACK_MEASURE_SIZE);
}

static void add_hashed(list *l, uint32_t rtmr, uint32_t type, const char *name, const char *source,
                       dstack_bytes preimage) {
    hash_sha384(preimage, add(l, rtmr, type, name, source)->digest);
}

/* The payload is how readers of the log find these three. */
static void add_acpi(list *l, const char *name, const char *source,
                     const uint8_t digest[DSTACK_MEASURE_SIZE]) {
    dstack_measure_event *event = add(l, 0, EV_PLATFORM_CONFIG_FLAGS, name, source);
    memcpy(event->digest, digest, DSTACK_MEASURE_SIZE);
    strcpy(event->payload, "ACPI DATA");
}

static void put_utf16(dstack_buf *out, const char *ascii) {
    for (; *ascii != 0; ascii++) {
        buf_put_u16le(out, (uint8_t)*ascii);
    }
}

/* UEFI_VARIABLE_DATA of a variable that is not set. */
static void add_unset_variable(list *l, const uint8_t guid[16], const char *name) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    buf_put(&data, guid, 16);
    buf_put_u64le(&data, strlen(name));
    buf_put_u64le(&data, 0);
    put_utf16(&data, name);
    l->failed |= data.failed;
    add_hashed(l, 0, EV_EFI_VARIABLE_DRIVER_CONFIG, name, "EFI variable that is not set",
               bytes_of_buf(&data));
}

static void add_separator(list *l, uint32_t rtmr) {
    add_hashed(l, rtmr, EV_SEPARATOR, "separator", "four zero bytes", bytes_of("\0\0\0\0", 4));
}

static void add_action(list *l, const char *text) {
    add_hashed(l, 1, EV_EFI_ACTION, text, "the text itself", bytes_of_str(text));
}

/* EFI_LOAD_OPTION (UEFI specification, section 3.1.3) that OVMF's boot manager writes for UiApp:
 * active, hidden, category application; device path of a file in a firmware volume. */
static void add_boot0000(list *l) {
    DSTACK_AUTO(buf) dstack_buf path = {0}, option = {0};
    buf_put(&path, "\x04\x07\x14\x00", 4);
    buf_put(&path, guid_dxe_volume, 16);
    buf_put(&path, "\x04\x06\x14\x00", 4);
    buf_put(&path, guid_ui_app, 16);
    buf_put(&path, "\x7f\xff\x04\x00", 4);
    buf_put_u32le(&option, 0x109);
    buf_put_u16le(&option, (uint16_t)path.len);
    put_utf16(&option, "UiApp");
    buf_put_u16le(&option, 0);
    buf_put_bytes(&option, bytes_of_buf(&path));
    l->failed |= path.failed || option.failed;
    add_hashed(l, 0, EV_EFI_VARIABLE_BOOT, "Boot0000", "OVMF's entry for UiApp",
               bytes_of_buf(&option));
}

static void add_rtmr0(list *l, const measure_inputs *inputs, const dstack_vm_shape *shape,
                      bool generated) {
    const char *source =
        generated ? "ACPI tables generated for the machine and its QEMU" : "ACPI digests as given";
    add_digest(l, 0, EV_EFI_HANDOFF_TABLES2, "TD HOB", "the firmware's pages and the memory size",
               inputs->td_hob);
    add_digest(l, 0, EV_EFI_PLATFORM_FIRMWARE_BLOB2, "configuration volume", inputs->cfv_source,
               inputs->cfv);
    add_unset_variable(l, guid_global, "SecureBoot");
    add_unset_variable(l, guid_global, "PK");
    add_unset_variable(l, guid_global, "KEK");
    add_unset_variable(l, guid_security_database, "db");
    add_unset_variable(l, guid_security_database, "dbx");
    add_separator(l, 0);
    add_acpi(l, "ACPI loader", source, shape->acpi_loader);
    add_acpi(l, "ACPI RSDP", source, shape->acpi_rsdp);
    add_acpi(l, "ACPI tables", source, shape->acpi_tables);
}

/* In the order in which a real boot logs them: the kernel is measured when it is loaded. */
static void add_boot(list *l, const measure_inputs *inputs) {
    add_digest(l, 1, EV_EFI_BOOT_SERVICES_APPLICATION, "kernel", inputs->kernel_source,
               inputs->kernel);
    add_hashed(l, 0, EV_EFI_VARIABLE_BOOT, "BootOrder", "the first option alone",
               bytes_of("\0\0", 2));
    add_boot0000(l);
    add_action(l, "Calling EFI Application from Boot Option");
    add_separator(l, 1);
    add_digest(l, 2, EV_EVENT_TAG, "kernel command line", inputs->image_source, inputs->cmdline);
    add_digest(l, 2, EV_EVENT_TAG, "initrd", inputs->image_source, inputs->initrd);
    add_action(l, "Exit Boot Services Invocation");
    add_action(l, "Exit Boot Services Returned with Success");
}

/* RTMR1 with another digest of the kernel. */
static void replay_distributed(const measure_inputs *inputs, dstack_measurements *out) {
    dstack_measurements other = *out;
    for (size_t i = 0; i < other.event_count; i++) {
        if (other.events[i].type == EV_EFI_BOOT_SERVICES_APPLICATION) {
            memcpy(other.events[i].digest, inputs->kernel_distributed, DSTACK_MEASURE_SIZE);
        }
    }
    measure_replay(&other);
    out->has_rtmr1_distributed = true;
    memcpy(out->rtmr1_distributed, other.rtmr[1], DSTACK_MEASURE_SIZE);
}

int measure_events(const measure_inputs *inputs, const dstack_vm_shape *shape,
                   dstack_measurements *out, dstack_error *err) {
    dstack_vm_shape machine = *shape;
    memset(out, 0, sizeof *out);
    const int rc = shape->has_acpi ? 0 : dstack_vm_shape_set_acpi(&machine, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(out->mrtd, inputs->mrtd, sizeof out->mrtd);
    list l = {.out = out};
    add_rtmr0(&l, inputs, &machine, !shape->has_acpi);
    add_boot(&l, inputs);
    if (l.failed) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory while predicting events");
    }
    measure_replay(out);
    if (inputs->has_kernel_distributed) {
        replay_distributed(inputs, out);
    }
    return 0;
}

void measure_replay(dstack_measurements *measurements) {
    memset(measurements->rtmr, 0, sizeof measurements->rtmr);
    for (size_t i = 0; i < measurements->event_count; i++) {
        const dstack_measure_event *event = &measurements->events[i];
        uint8_t *rtmr = measurements->rtmr[event->rtmr];
        const dstack_bytes parts[] = {bytes_of(rtmr, DSTACK_MEASURE_SIZE),
                                      bytes_of(event->digest, DSTACK_MEASURE_SIZE)};
        hash_parts(HASH_SHA384, parts, 2, rtmr);
    }
}

int measure_cmdline_digest(dstack_bytes cmdline, uint8_t out[DSTACK_MEASURE_SIZE],
                           dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    for (size_t i = 0; i < cmdline.len; i++) {
        if (cmdline.data[i] < 0x20 || cmdline.data[i] > 0x7e) {
            return error_set(err, DSTACK_E_FORMAT, "kernel command line is not printable ASCII");
        }
        buf_put_u16le(&text, cmdline.data[i]);
    }
    put_utf16(&text, " initrd=initrd");
    buf_put_u16le(&text, 0);
    hash_sha384(bytes_of_buf(&text), out);
    return buf_check(&text, err);
}

bool measure_memory_fits_document(uint64_t memory_size) {
    return memory_size == UINT64_C(0x80000000) || memory_size >= UINT64_C(0xb0000000);
}
