/* Printing for people and for programs. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cli.h"

#define FIELD_WIDTH 24
#define MAX_TREE_DEPTH 16
#define MAX_INDENT 8

int cli_print_json(struct cli *cli, const json_t *value, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = json_write(value, true, &text, err);
    if (rc == 0) {
        fwrite(text.data, 1, text.len, cli->out);
        fputc('\n', cli->out);
        cli->printed = true;
    }
    return rc;
}

void cli_detail(struct cli *cli, const char *key, json_t *value) {
    if (cli->detail == NULL) {
        cli->detail = json_object();
    }
    json_object_set_new(cli->detail, key, value);
}

/* Text that came from outside must not drive the terminal: control characters become "?". */
static void print_safe(FILE *out, const char *text) {
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        fputc((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?' : c, out);
    }
}

__attribute__((format(printf, 2, 0))) static void print_safe_v(FILE *out, const char *fmt,
                                                               va_list args) {
    char *text = NULL;
    if (vasprintf(&text, fmt, args) >= 0) {
        print_safe(out, text);
        free(text);
    }
}

void cli_field(struct cli *cli, const char *key, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fprintf(cli->out, "%-*s ", FIELD_WIDTH, key);
    print_safe_v(cli->out, fmt, args);
    fputc('\n', cli->out);
    va_end(args);
}

void cli_heading(struct cli *cli, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fputs(cli->colour ? "\033[1m" : "", cli->out);
    print_safe_v(cli->out, fmt, args);
    fputs(cli->colour ? "\033[0m\n" : "\n", cli->out);
    va_end(args);
}

void cli_note(struct cli *cli, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    print_safe_v(cli->diag, fmt, args);
    fputc('\n', cli->diag);
    va_end(args);
}

static void print_value(struct cli *cli, const char *key, const json_t *value, int indent) {
    int width = FIELD_WIDTH - indent;
    if (json_is_object(value) && indent < MAX_INDENT) {
        fprintf(cli->out, "%*s%s\n", indent, "", key);
        const char *name;
        json_t *member;
        json_object_foreach((json_t *)value, name, member) {
            print_value(cli, name, member, indent + 2);
        }
        return;
    }
    fprintf(cli->out, "%*s%-*s ", indent, "", width > 0 ? width : 1, key);
    if (json_is_string(value)) {
        print_safe(cli->out, json_string_value(value));
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        print_safe(cli->out, text != NULL ? text : "");
        free(text);
    }
    fputc('\n', cli->out);
}

void cli_print_object(struct cli *cli, const json_t *object) {
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)object, name, member) {
        print_value(cli, name, member, 0);
    }
}

static const char *mark_text(const struct cli *cli, enum cli_mark mark) {
    static const char *const plain[] = {"", "[ok] ", "[!]  ", "[NO] "};
    static const char *const coloured[] = {"", "\033[32m✓\033[0m ", "\033[33m!\033[0m ",
                                           "\033[31m✗\033[0m "};
    return cli->colour ? coloured[mark] : plain[mark];
}

/* Whether another node of the given depth follows node i before its parent's subtree ends. */
static bool has_sibling(const struct cli_node *nodes, size_t count, size_t i, int depth) {
    for (size_t j = i + 1; j < count && nodes[j].depth >= depth; j++) {
        if (nodes[j].depth == depth) {
            return true;
        }
    }
    return false;
}

static void print_stems(struct cli *cli, const struct cli_node *nodes, size_t count, size_t i,
                        int depth) {
    for (int d = 1; d < depth && d < MAX_TREE_DEPTH; d++) {
        fputs(has_sibling(nodes, count, i, d) ? "│  " : "   ", cli->out);
    }
}

static void print_node_text(struct cli *cli, const struct cli_node *nodes, size_t count, size_t i) {
    bool child_follows = i + 1 < count && nodes[i + 1].depth > nodes[i].depth;
    for (const char *line = nodes[i].text; line != NULL && *line != 0;) {
        size_t len = strcspn(line, "\n");
        print_stems(cli, nodes, count, i, nodes[i].depth);
        if (nodes[i].depth > 0) {
            fputs(has_sibling(nodes, count, i, nodes[i].depth) ? "│  " : "   ", cli->out);
        }
        fputs(child_follows ? "│    " : "     ", cli->out);
        char *copy = strndup(line, len);
        fputs(cli->colour ? "\033[2m" : "", cli->out);
        print_safe(cli->out, copy != NULL ? copy : "");
        fputs(cli->colour ? "\033[0m\n" : "\n", cli->out);
        free(copy);
        line += len + (line[len] == '\n');
    }
}

void cli_print_tree(struct cli *cli, const struct cli_node *nodes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int depth = nodes[i].depth;
        print_stems(cli, nodes, count, i, depth);
        if (depth > 0) {
            fputs(has_sibling(nodes, count, i, depth) ? "├─ " : "└─ ", cli->out);
        }
        fputs(mark_text(cli, nodes[i].mark), cli->out);
        print_safe(cli->out, nodes[i].title);
        fputc('\n', cli->out);
        print_node_text(cli, nodes, count, i);
    }
}

void cli_print_table(struct cli *cli, const char *const *cells, size_t columns, size_t rows) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            size_t width = 0;
            for (size_t k = 0; k < rows; k++) {
                size_t len = strlen(cells[k * columns + c]);
                width = len > width ? len : width;
            }
            const char *cell = cells[r * columns + c];
            print_safe(cli->out, cell);
            if (c + 1 < columns) {
                fprintf(cli->out, "%*s", (int)(width - strlen(cell) + 2), "");
            }
        }
        fputc('\n', cli->out);
    }
}
