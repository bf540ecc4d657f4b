/* The dstack.rootfs_* options of the kernel command line, read strictly. */
#include "init.h"

#include <stdbool.h>
#include <string.h>

#define PREFIX "dstack.rootfs_"

static bool value_is_hex(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        bool letter = text[i] >= 'a' && text[i] <= 'f';
        if (!digit && !letter) {
            return false;
        }
    }
    return len > 0;
}

static const char *hash_parse(const char *value, size_t len, struct root_spec *spec) {
    if (len != INIT_HASH_HEX_LEN || !value_is_hex(value, len)) {
        return "dstack.rootfs_hash must be 64 lower-case hex digits";
    }
    memcpy(spec->hash, value, len);
    spec->hash[len] = '\0';
    return NULL;
}

static const char *size_parse(const char *value, size_t len, struct root_spec *spec) {
    uint64_t size = 0;
    if (len == 0 || len > 15 || value[0] == '0') {
        return "dstack.rootfs_size must be a decimal number without leading zeros";
    }
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return "dstack.rootfs_size must be a decimal number without leading zeros";
        }
        size = size * 10 + (uint64_t)(value[i] - '0');
    }
    if (size % INIT_BLOCK_SIZE != 0) {
        return "dstack.rootfs_size must be a multiple of 4096";
    }
    spec->size = size;
    return NULL;
}

static const char *device_parse(const char *value, size_t len, struct root_spec *spec) {
    if (len == 0 || len >= sizeof spec->device) {
        return "dstack.rootfs_device is empty or too long";
    }
    memcpy(spec->device, value, len);
    spec->device[len] = '\0';
    if (strncmp(spec->device, "PARTLABEL=", 10) != 0 && strncmp(spec->device, "/dev/", 5) != 0) {
        return "dstack.rootfs_device must be PARTLABEL=name or /dev/name";
    }
    return NULL;
}

static const struct option {
    const char *name;
    const char *(*parse)(const char *value, size_t len, struct root_spec *spec);
    bool required;
    const char *missing;
} OPTIONS[] = {
    {PREFIX "hash=", hash_parse, true, "the command line has no dstack.rootfs_hash"},
    {PREFIX "size=", size_parse, true, "the command line has no dstack.rootfs_size"},
    {PREFIX "device=", device_parse, false, NULL},
};

#define OPTION_COUNT (sizeof OPTIONS / sizeof *OPTIONS)

static const char *word_parse(const char *word, size_t len, bool *seen, struct root_spec *spec) {
    if (len < strlen(PREFIX) || strncmp(word, PREFIX, strlen(PREFIX)) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t name_len = strlen(OPTIONS[i].name);
        if (len < name_len || strncmp(word, OPTIONS[i].name, name_len) != 0) {
            continue;
        }
        if (seen[i]) {
            return "a dstack.rootfs_ option is given twice";
        }
        seen[i] = true;
        return OPTIONS[i].parse(word + name_len, len - name_len, spec);
    }
    return "the command line has an unknown dstack.rootfs_ option";
}

const char *root_spec_parse(const char *cmdline, struct root_spec *spec) {
    bool seen[OPTION_COUNT] = {false};
    memset(spec, 0, sizeof *spec);
    strcpy(spec->device, "PARTLABEL=dstack-rootfs");
    for (const char *word = cmdline; *word != '\0';) {
        size_t len = strcspn(word, " \t\r\n");
        const char *problem = word_parse(word, len, seen, spec);
        if (problem) {
            return problem;
        }
        word += len;
        word += strspn(word, " \t\r\n");
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (OPTIONS[i].required && !seen[i]) {
            return OPTIONS[i].missing;
        }
    }
    return NULL;
}
