/* Measurement documents: what is written is read again, and nothing else is. */
#include "check.h"

#include <dstack/measure.h>

#include "base/cbor.h"
#include "crypto/hash.h"
#include "small_image.h"

static void cloud_documents_are_maps_of_two_members(void **state) {
    uint8_t digest[32], again[32];
    DSTACK_AUTO(buf) dstack_buf gcp = {0}, aws = {0};
    dstack_error err = {0};
    memset(digest, 0x24, sizeof digest);
    assert_ok(dstack_measure_gcp_encode(digest, &gcp, &err), err);
    assert_hex(bytes_of_buf(&gcp),
               "a26776657273696f6e0168756b695f617574685820"
               "2424242424242424242424242424242424242424242424242424242424242424");
    assert_ok(dstack_measure_gcp_decode(bytes_of_buf(&gcp), again, &err), err);
    assert_memory_equal(again, digest, 32);
    assert_ok(dstack_measure_aws_encode(digest, &aws, &err), err);
    assert_ok(dstack_measure_aws_decode(bytes_of_buf(&aws), again, &err), err);
    assert_memory_equal(again, digest, 32);
    /* One is not the other, and one document is one document. */
    assert_int_equal(dstack_measure_aws_decode(bytes_of_buf(&gcp), again, &err), DSTACK_E_FORMAT);
    assert_int_equal(dstack_measure_gcp_decode(bytes_of_buf(&aws), again, &err), DSTACK_E_FORMAT);
    buf_put_u8(&gcp, 0);
    assert_int_equal(dstack_measure_gcp_decode(bytes_of_buf(&gcp), again, &err), DSTACK_E_FORMAT);
    for (size_t len = 0; len + 1 < gcp.len; len++) {
        assert_int_not_equal(dstack_measure_gcp_decode(bytes_of(gcp.data, len), again, &err), 0);
    }
    aws.data[9] = 2; /* version */
    assert_int_equal(dstack_measure_aws_decode(bytes_of_buf(&aws), again, &err),
                     DSTACK_E_UNSUPPORTED);
}

static void the_references_cloud_documents_are_equal_but_for_the_version(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *all = load_json(SHARED_DATA "measurement/cbor-vectors.json");
    const json_t *gcp = json_object_get(all, "gcp"), *aws = json_object_get(all, "aws");
    uint8_t digest[32], again[32];
    DSTACK_AUTO(buf) dstack_buf mine = {0}, old = {0};
    dstack_error err = {0};
    assert_ok(json_need_hex(gcp, "uki_authenticode_sha256", digest, 32, &err), err);
    assert_ok(dstack_measure_gcp_encode(digest, &mine, &err), err);
    assert_hex(bytes_of_buf(&mine), json_string_value(json_object_get(gcp, "hex")));
    /* PCRs 4, 7 and 12 behind one digest. Documents of older images had no version. */
    uint8_t pcrs[144];
    assert_ok(json_need_hex(aws, "pcr4", pcrs, 48, &err), err);
    assert_ok(json_need_hex(aws, "pcr7", pcrs + 48, 48, &err), err);
    assert_ok(json_need_hex(aws, "pcr12", pcrs + 96, 48, &err), err);
    hash_sha256(bytes_of(pcrs, sizeof pcrs), again);
    assert_hex(bytes_of(again, 32), json_string_value(json_object_get(aws, "boot_pcr_digest")));
    put_hex(&old, json_string_value(json_object_get(aws, "hex")));
    assert_int_equal(dstack_measure_aws_decode(bytes_of_buf(&old), again, &err),
                     DSTACK_E_UNSUPPORTED);
}

static void tdx_document(dstack_buf *out) {
    char dir[] = "/tmp/dstack-image-XXXXXX";
    dstack_error err = {0};
    dstack_image image = {0};
    small_image_make(dir, "document");
    assert_ok(dstack_image_load(dir, &image, &err), err);
    assert_ok(dstack_measure_document(&image, out, &err), err);
    dstack_image_clear(&image);
    small_image_remove(dir);
}

static void a_tdx_document_is_read_whole_and_alone(void **state) {
    DSTACK_AUTO(buf) dstack_buf document = {0};
    dstack_vm_shape shape;
    dstack_measurements m;
    dstack_error err = {0};
    dstack_vm_shape_init(&shape);
    shape.has_acpi = true;
    tdx_document(&document);
    assert_ok(dstack_measure_from_document(bytes_of_buf(&document), &shape, &m, &err), err);
    for (size_t len = 0; len < document.len; len++) {
        assert_int_not_equal(
            dstack_measure_from_document(bytes_of(document.data, len), &shape, &m, &err), 0);
    }
    buf_put_u8(&document, 0xf6);
    assert_int_equal(dstack_measure_from_document(bytes_of_buf(&document), &shape, &m, &err),
                     DSTACK_E_FORMAT);
}

static int document_with(const char *cmdline, dstack_error *err) {
    char dir[] = "/tmp/dstack-image-XXXXXX";
    dstack_image image = {0};
    dstack_vm_shape shape;
    dstack_measurements m;
    DSTACK_AUTO(buf) dstack_buf document = {0};
    small_image_make(dir, "cmdline");
    assert_ok(dstack_image_load(dir, &image, err), *err);
    buf_reset(&image.cmdline);
    buf_put_str(&image.cmdline, cmdline);
    dstack_vm_shape_init(&shape);
    const int rc = dstack_measure_document(&image, &document, err);
    /* An image without any is measured, one with two is not. */
    assert_int_equal(dstack_measure_tdx(&image, &shape, &m, NULL),
                     strstr(cmdline, "rootfs_hash") == NULL ? 0 : rc);
    dstack_image_clear(&image);
    small_image_remove(dir);
    return rc;
}

static void the_command_line_names_one_root_file_system(void **state) {
    static const char hash[] = "dstack.rootfs_hash=" SMALL_ROOT;
    dstack_error err = {0};
    char text[400];
    assert_ok(document_with(hash, &err), err);
    snprintf(text, sizeof text, "quiet %s  dstack.rootfs_size=4096", hash);
    assert_ok(document_with(text, &err), err);
    assert_int_equal(document_with("quiet", &err), DSTACK_E_FORMAT);
    assert_int_equal(document_with("dstack.rootfs_hash=11", &err), DSTACK_E_FORMAT);
    assert_int_equal(document_with("dstack.rootfs_hash=", &err), DSTACK_E_FORMAT);
    snprintf(text, sizeof text, "%s0", hash);
    assert_int_equal(document_with(text, &err), DSTACK_E_FORMAT);
    snprintf(text, sizeof text, "%s %s", hash, hash);
    assert_int_equal(document_with(text, &err), DSTACK_E_FORMAT);
    assert_non_null(strstr(err.message, "2 times"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cloud_documents_are_maps_of_two_members),
        cmocka_unit_test(the_references_cloud_documents_are_equal_but_for_the_version),
        cmocka_unit_test(a_tdx_document_is_read_whole_and_alone),
        cmocka_unit_test(the_command_line_names_one_root_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
