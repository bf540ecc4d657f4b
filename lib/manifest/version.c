/* Version requirements with the semantics of Cargo (semver.org 2.0.0 ordering): comparators joined
 * by commas, each an operator and a version of which the later numbers may be left out. */
#include <ctype.h>
#include <string.h>

#include "base/error.h"
#include "manifest/manifest.h"

#define COMPARATORS_MAX 32

typedef struct version {
    uint64_t part[3];
    unsigned given; /* parts written: 1 to 3; 0 for "*" */
} version;

typedef enum operator_kind {
    OP_CARET,
    OP_TILDE,
    OP_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_LESS,
    OP_LESS_EQUAL
} operator_kind;

/* Reads up to three numbers joined by dots; a star ends them. */
static bool read_version(const char **text, version *out) {
    *out = (version){0};
    for (; out->given < 3; out->given++) {
        if (**text == '*') {
            ++*text;
            return **text == '\0' || **text == ',' || isblank((unsigned char)**text);
        }
        if (!isdigit((unsigned char)**text) ||
            (**text == '0' && isdigit((unsigned char)(*text)[1]))) {
            return false;
        }
        char *end = NULL;
        out->part[out->given] = strtoull(*text, &end, 10);
        if (end - *text > 18) {
            return false;
        }
        *text = end;
        if (**text != '.') {
            out->given++;
            return true;
        }
        if (out->given < 2) {
            ++*text;
        }
    }
    return false; /* a fourth number */
}

static operator_kind read_operator(const char **text) {
    static const struct {
        const char *text;
        operator_kind kind;
    } operators[] = {{">=", OP_GREATER_EQUAL}, {"<=", OP_LESS_EQUAL}, {">", OP_GREATER},
                     {"<", OP_LESS},           {"=", OP_EQUAL},       {"~", OP_TILDE},
                     {"^", OP_CARET}};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t len = strlen(operators[i].text);
        if (strncmp(*text, operators[i].text, len) == 0) {
            *text += len;
            return operators[i].kind;
        }
    }
    return OP_CARET;
}

/* Compares the parts that the requirement gives. */
static int compare(const version *have, const version *want) {
    for (unsigned i = 0; i < want->given; i++) {
        if (have->part[i] != want->part[i]) {
            return have->part[i] < want->part[i] ? -1 : 1;
        }
    }
    return 0;
}

/* The same up to and including part `fixed`, and not older. */
static bool compatible(const version *have, const version *want, unsigned fixed) {
    for (unsigned i = 0; i <= fixed && i < want->given; i++) {
        if (have->part[i] != want->part[i]) {
            return false;
        }
    }
    return compare(have, want) >= 0;
}

static bool satisfies(const version *have, operator_kind kind, const version *want) {
    unsigned fixed = 0;
    switch (kind) {
    case OP_EQUAL:
        return compare(have, want) == 0;
    case OP_GREATER:
        return compare(have, want) > 0;
    case OP_GREATER_EQUAL:
        return compare(have, want) >= 0;
    case OP_LESS:
        return compare(have, want) < 0;
    case OP_LESS_EQUAL:
        return compare(have, want) <= 0;
    case OP_TILDE:
        return compatible(have, want, 1);
    default:
        /* a caret holds everything up to the first number that is not zero */
        while (fixed + 1 < want->given && want->part[fixed] == 0) {
            fixed++;
        }
        return compatible(have, want, fixed);
    }
}

static void skip_blanks(const char **text) {
    while (isblank((unsigned char)**text)) {
        ++*text;
    }
}

/* Walks all comparators; *met is whether `have` satisfies them (have may be NULL). */
static int walk(const char *requirement, const version *have, bool *met, dstack_error *err) {
    const char *text = requirement;
    *met = true;
    for (size_t i = 0; i < COMPARATORS_MAX; i++) {
        version want;
        skip_blanks(&text);
        operator_kind kind = read_operator(&text);
        skip_blanks(&text);
        if (!read_version(&text, &want)) {
            break;
        }
        if (have != NULL && !satisfies(have, kind, &want)) {
            *met = false;
        }
        skip_blanks(&text);
        if (*text == '\0') {
            return 0;
        }
        if (*text++ != ',') {
            break;
        }
    }
    return error_set(err, DSTACK_E_FORMAT, "\"%.64s\" is no version requirement", requirement);
}

int manifest_check_requirement(const char *requirement, dstack_error *err) {
    bool met;
    return walk(requirement, NULL, &met, err);
}

int manifest_check_version(const char *requirement, const char *text, dstack_error *err) {
    version have;
    const char *rest = text;
    /* a pre-release ("0.6.0-rc1") satisfies no plain requirement; build metadata says nothing */
    if (!read_version(&rest, &have) || have.given == 0 || (*rest != '\0' && *rest != '+')) {
        return error_set(err, DSTACK_E_REFUSED, "the system's version %.32s is no release", text);
    }
    bool met = false;
    int rc = walk(requirement, &have, &met, err);
    if (rc == 0 && !met) {
        rc = error_set(err, DSTACK_E_REFUSED, "the system's version %s does not satisfy %.64s",
                       text, requirement);
    }
    return rc;
}
