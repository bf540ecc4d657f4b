/* A verifier's questions about SEV-SNP: is the measurement material the named image's, and does the
 * signed launch digest follow from it? */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "measure/checksums.h"
#include "measure/snp.h"
#include "measure/tdvf.h"

#define MATERIAL_MAX_SIZE ((size_t)256 << 10)
#define METADATA_MAX_SIZE ((size_t)1 << 20)
#define DOCUMENT_NAME "measurement.snp.cbor"
/* The one SEV_FEATURES bit that dstack's guests run with; DebugSwap and others change what a guest
 * is. */
#define SEV_FEATURE_SNP_ACTIVE 1

DSTACK_AUTO_DEFINE_CLEAR(image, dstack_image, dstack_image_clear)

/* ---- an image folder ---- */

static int read_below(const char *dir, const char *name, size_t limit, dstack_buf *out,
                      dstack_error *err) {
    int rc = file_check_name(name, "file of the image", err);
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *text = buf_text(&path);
    if (rc == 0) {
        rc = text == NULL ? buf_check(&path, err) : file_read(text, limit, out, err);
    }
    return rc;
}

static int read_firmware(const char *dir, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    const char *name = NULL;
    int rc = read_below(dir, "metadata.json", METADATA_MAX_SIZE, &text, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *metadata = json_parse(bytes_of_buf(&text), METADATA_MAX_SIZE, "metadata.json", err);
    if (metadata == NULL) {
        return DSTACK_E_FORMAT;
    }
    rc = json_str_or(metadata, "bios-sev", NULL, &name, err);
    if (rc == 0 && name == NULL) {
        rc = error_set(err, DSTACK_E_NOT_FOUND, "metadata.json names no bios-sev");
    }
    return rc == 0 ? read_below(dir, name, TDVF_MAX_SIZE, out, err) : rc;
}

/* The checksum file does not list the firmware: the document, which it lists, has its digest. */
static int compare_document(const char *dir, const dstack_snp_image *image, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf there = {0}, mine = {0}, checksums = {0};
    int rc = read_below(dir, DOCUMENT_NAME, MATERIAL_MAX_SIZE, &there, err);
    if (rc == DSTACK_E_NOT_FOUND) {
        return 0;
    }
    if (rc == 0) {
        rc = dstack_snp_image_document(image, &mine, err);
    }
    if (rc == 0 && !bytes_equal(bytes_of_buf(&there), bytes_of_buf(&mine))) {
        rc = error_set(err, DSTACK_E_REFUSED, DOCUMENT_NAME " is not that of the image's files");
    }
    if (rc == 0 && read_below(dir, "sha256sum.txt", CHECKSUMS_MAX_SIZE, &checksums, NULL) == 0) {
        rc = checksums_check(bytes_of_buf(&checksums), DOCUMENT_NAME, bytes_of_buf(&there), err);
    }
    return rc;
}

static int load_folder(const char *dir, dstack_snp_image *out, char os_image_hash[65],
                       dstack_error *err) {
    DSTACK_AUTO(image) dstack_image files = {0};
    DSTACK_AUTO(buf) dstack_buf firmware = {0};
    int rc = dstack_image_load(dir, &files, err);
    if (rc == 0) {
        rc = read_firmware(dir, &firmware, err);
    }
    if (rc == 0) {
        rc = dstack_snp_image_from_files(bytes_of_buf(&firmware), bytes_of_buf(&files.kernel),
                                         bytes_of_buf(&files.initrd), bytes_of_buf(&files.cmdline),
                                         out, err);
    }
    if (rc == 0) {
        snprintf(os_image_hash, 65, "%s", files.os_image_hash);
        rc = compare_document(dir, out, err);
    }
    return rc;
}

int dstack_snp_image_load(const char *dir, dstack_snp_image *out, dstack_error *err) {
    char hash[65];
    *out = (dstack_snp_image){0};
    return error_prefix(err, load_folder(dir, out, hash, err), "image %s", dir);
}

/* ---- material in vm_config ---- */

typedef struct material {
    dstack_buf checksums, document;
    dstack_snp_machine machine;
} material;

static void material_clear(material *m) {
    dstack_buf_clear(&m->checksums);
    dstack_buf_clear(&m->document);
}
DSTACK_AUTO_DEFINE_CLEAR(material, material, material_clear)

static int read_base64(const json_t *object, const char *key, dstack_buf *out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(object, key, &text, err);
    return rc == 0 ? base64_decode(bytes_of_str(text), BASE64_STANDARD, out, err) : rc;
}

static int read_machine(const json_t *object, dstack_snp_machine *out, dstack_error *err) {
    const char *type = NULL;
    int64_t vcpus = 0, features = 0;
    int rc = json_need_int(object, "vcpus", &vcpus, err);
    rc = rc == 0 ? json_need_str(object, "vcpu_type", &type, err) : rc;
    rc = rc == 0 ? json_need_int(object, "guest_features", &features, err) : rc;
    if (rc == 0 && (vcpus < 1 || vcpus > DSTACK_SNP_MAX_VCPUS || features < 0)) {
        rc = error_set(err, DSTACK_E_FORMAT, "vcpus or guest_features is out of range");
    }
    if (rc == 0) {
        const char *last = type + strlen(type);
        type += strspn(type, " \t");
        while (last > type && (last[-1] == ' ' || last[-1] == '\t')) {
            last--;
        }
        out->vcpus = (uint32_t)vcpus;
        out->guest_features = (uint64_t)features;
        snprintf(out->vcpu_type, sizeof out->vcpu_type, "%.*s", (int)(last - type), type);
    }
    return rc;
}

/* The member is a text that holds JSON. */
static int read_material(const json_t *vm_config, material *out, dstack_error *err) {
    const char *text = json_string_value(json_object_get(vm_config, "sev_snp_measurement"));
    if (text == NULL) {
        return error_set(err, DSTACK_E_REFUSED, "sev_snp_measurement is required for amd sev-snp");
    }
    DSTACK_AUTO(json)
    json_t *object =
        json_parse(bytes_of_str(text), MATERIAL_MAX_SIZE, "vm_config: sev_snp_measurement", err);
    if (object == NULL) {
        return DSTACK_E_FORMAT;
    }
    int rc = read_base64(object, "checksum_file", &out->checksums, err);
    rc = rc == 0 ? read_base64(object, "measurement", &out->document, err) : rc;
    rc = rc == 0 ? read_machine(object, &out->machine, err) : rc;
    return error_prefix(err, rc, "sev_snp_measurement");
}

/* Gives the identity of the image that the material is of. */
static int check_material(const json_t *vm_config, const material *m, char hash[65],
                          dstack_error *err) {
    uint8_t raw[32];
    const char *stated = NULL;
    hash_sha256(bytes_of_buf(&m->checksums), raw);
    hex_encode(bytes_of(raw, sizeof raw), hash);
    int rc = json_str_or(vm_config, "os_image_hash", "", &stated, err);
    if (rc == 0 && strcmp(stated, hash) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "amd sev-snp measurement material does not match os_image_hash: "
                         "os_image_hash mismatch: expected sha256(sha256sum.txt)=%s, actual=%.64s",
                         hash, stated);
    }
    return rc == 0 ? checksums_check(bytes_of_buf(&m->checksums), DOCUMENT_NAME,
                                     bytes_of_buf(&m->document), err)
                   : rc;
}

static int compare_digest(const dstack_snp_image *image, const dstack_snp_machine *machine,
                          const dstack_image_question *question, dstack_error *err) {
    uint8_t expected[DSTACK_MEASURE_SIZE];
    char want[97], have[97];
    if (machine->guest_features != SEV_FEATURE_SNP_ACTIVE) {
        return error_set(err, DSTACK_E_REFUSED,
                         "amd sev-snp guest_features must be 1 (SNPActive), not %llu",
                         (unsigned long long)machine->guest_features);
    }
    int rc = dstack_measure_snp(image, machine, expected, err);
    if (rc == 0 && memcmp(expected, question->launch_digest, sizeof expected) != 0) {
        hex_encode(bytes_of(expected, sizeof expected), want);
        hex_encode(bytes_of(question->launch_digest, sizeof expected), have);
        rc = error_set(err, DSTACK_E_REFUSED,
                       "amd sev-snp measurement mismatch: expected=%s, actual=%s", want, have);
    }
    return rc;
}

/* A configuration that carries another document than the evidence does is told apart here. */
static int compare_host_data(const json_t *vm_config, const dstack_image_question *question,
                             dstack_error *err) {
    const char *document = json_string_value(json_object_get(vm_config, "mr_config"));
    uint8_t id[DSTACK_REGISTER_SIZE];
    if (document == NULL) {
        return 0;
    }
    dstack_mr_config_document_id(bytes_of_str(document), id);
    return memcmp(id + 1, question->host_data, 32) == 0
               ? 0
               : error_set(err, DSTACK_E_REFUSED, "amd sev-snp host_data mismatch");
}

/* Whether the caller's folder is that image, and the digest follows from its files too. */
static int check_folder(const char *dir, const char *hash, const dstack_snp_machine *machine,
                        const dstack_image_question *question, bool *known, dstack_error *err) {
    char own[65] = "";
    dstack_snp_image image;
    *known = false;
    if (dir == NULL) {
        return 0;
    }
    int rc = error_prefix(err, load_folder(dir, &image, own, err), "image %s", dir);
    if (rc != 0 || strcmp(own, hash) != 0) {
        return rc;
    }
    *known = true;
    return compare_digest(&image, machine, question, err);
}

int snp_image_answer(const char *dir, const dstack_image_question *question, dstack_anchor *anchor,
                     uint8_t image_hash[32], dstack_error *err) {
    DSTACK_AUTO(material) material m = {0};
    dstack_snp_image image;
    char hash[65];
    bool known = false;
    DSTACK_AUTO(json)
    json_t *vm_config =
        json_parse(bytes_of_str(question->vm_config), (size_t)1 << 20, "vm_config", err);
    if (vm_config == NULL) {
        return DSTACK_E_FORMAT;
    }
    int rc = read_material(vm_config, &m, err);
    rc = rc == 0 ? check_material(vm_config, &m, hash, err) : rc;
    rc = rc == 0 ? dstack_snp_image_from_document(bytes_of_buf(&m.document), &image, err) : rc;
    rc = rc == 0 ? compare_digest(&image, &m.machine, question, err) : rc;
    rc = rc == 0 ? compare_host_data(vm_config, question, err) : rc;
    rc = error_prefix(err, rc, "amd sev-snp launch verification failed");
    if (rc == 0) {
        rc = check_folder(dir, hash, &m.machine, question, &known, err);
    }
    if (rc == 0) {
        *anchor = known ? DSTACK_ANCHOR_REFERENCE_IMAGE : DSTACK_ANCHOR_SELF_ASSERTED;
        rc = hex_decode_fixed(hash, image_hash, 32, err);
    }
    return rc;
}
