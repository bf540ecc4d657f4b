#include <dstack/measure.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "measure/events.h"
#include "measure/kernel.h"
#include "measure/tdvf.h"

static int measure_td_hob(const td_hob_layout *layout, uint64_t memory_size,
                          uint8_t out[DSTACK_MEASURE_SIZE], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf hob = {0};
    const int rc = td_hob_build(layout, memory_size, &hob, err);
    if (rc == 0) {
        hash_sha384(bytes_of_buf(&hob), out);
    }
    return rc;
}

/* QEMU 10.2 stopped writing into the kernel's header for confidential guests. */
static bool qemu_patches_header(const uint32_t version[3]) {
    return version[0] < 10 || (version[0] == 10 && version[1] < 2);
}

static int measure_kernel(const dstack_image *image, const dstack_vm_shape *shape,
                          measure_inputs *out, dstack_error *err) {
    const dstack_bytes kernel = bytes_of_buf(&image->kernel);
    if (image->kernel_header_normalized) {
        out->kernel_source = "kernel file, whose header is normalised";
        return kernel_authenticode(kernel, HASH_SHA384, out->kernel, err);
    }
    out->kernel_source = "kernel file with the header that the loader fills in";
    const int rc = kernel_authenticode_patched(kernel, image->initrd.len, shape->memory_size,
                                               KERNEL_XLF_ABOVE_4G, HASH_SHA384, out->kernel, err);
    if (rc != 0 || qemu_patches_header(shape->qemu_version)) {
        return rc;
    }
    out->has_kernel_distributed = true;
    return kernel_authenticode(kernel, HASH_SHA384, out->kernel_distributed, err);
}

static int check_shape(const dstack_vm_shape *shape, dstack_error *err) {
    if (shape->swtpm) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "machines with swtpm cannot be measured");
    }
    if (shape->qemu_version[0] < 8) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "QEMU %u.%u is too old to be measured",
                         shape->qemu_version[0], shape->qemu_version[1]);
    }
    if (shape->cpu_count == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "cpu_count must be at least 1");
    }
    return 0;
}

int dstack_measure_tdx(const dstack_image *image, const dstack_vm_shape *shape,
                       dstack_measurements *out, dstack_error *err) {
    int rc = check_shape(shape, err);
    if (rc != 0) {
        return rc;
    }
    tdvf metadata;
    td_hob_layout layout;
    measure_inputs inputs = {.image_source = "file of the image",
                             .cfv_source = image->cfv_from_file ? "configuration volume of the file"
                                                                : measure_cfv_reference_source};
    memcpy(inputs.cfv, measure_cfv_reference, sizeof inputs.cfv);
    if ((rc = measure_cmdline_check(bytes_of_buf(&image->cmdline), false, err)) != 0 ||
        (rc = tdvf_parse(&metadata, bytes_of_buf(&image->firmware), err)) != 0 ||
        (rc = td_hob_layout_of(&metadata, &layout, err)) != 0 ||
        (rc = measure_td_hob(&layout, shape->memory_size, inputs.td_hob, err)) != 0 ||
        (image->cfv_from_file && (rc = tdvf_cfv_digest(&metadata, inputs.cfv, err)) != 0) ||
        (rc = measure_kernel(image, shape, &inputs, err)) != 0 ||
        (rc = measure_cmdline_digest(bytes_of_buf(&image->cmdline), inputs.cmdline, err)) != 0) {
        return rc;
    }
    tdvf_mrtd(&metadata, shape->two_pass, inputs.mrtd);
    hash_sha384(bytes_of_buf(&image->initrd), inputs.initrd);
    return measure_events(&inputs, shape, out, err);
}
