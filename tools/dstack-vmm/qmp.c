#include "qmp.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"

#define LINE_LIMIT (1U << 20)

int qmp_command(struct qmp *qmp, const char *name, dstack_error *err) {
    char text[128];
    int len = snprintf(text, sizeof text, "{\"execute\":\"%s\"}\r\n", name);
    if (send(qmp->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
        return error_set_errno(err, DSTACK_E_IO, "QMP %s", name);
    }
    return 0;
}

static int handle(struct qmp *qmp, const json_t *message, dstack_error *err) {
    const char *event = json_string_value(json_object_get(message, "event"));
    if (json_object_get(message, "QMP") != NULL) {
        return qmp_command(qmp, "qmp_capabilities", err);
    }
    if (event != NULL) {
        if (qmp->event != NULL) {
            qmp->event(qmp->user, event, json_object_get(message, "data"));
        }
        return 0;
    }
    /* The first answer is that of the capabilities. */
    if (json_object_get(message, "return") != NULL) {
        qmp->ready = true;
    }
    return 0;
}

int qmp_feed(struct qmp *qmp, dstack_bytes input, dstack_error *err) {
    buf_put_bytes(&qmp->pending, input);
    int rc = buf_check(&qmp->pending, err);
    uint8_t *end;
    while (rc == 0 && qmp->pending.len > 0 &&
           (end = memchr(qmp->pending.data, '\n', qmp->pending.len)) != NULL) {
        size_t len = (size_t)(end - qmp->pending.data);
        dstack_error local = {0};
        DSTACK_AUTO(json)
        json_t *message = json_parse(bytes_of(qmp->pending.data, len), LINE_LIMIT, "QMP", &local);
        rc = message != NULL ? handle(qmp, message, err)
                             : error_set(err, local.status, "%s", local.message);
        qmp->pending.len -= len + 1;
        memmove(qmp->pending.data, end + 1, qmp->pending.len);
    }
    if (rc == 0 && qmp->pending.len > LINE_LIMIT) {
        rc = error_set(err, DSTACK_E_LIMIT, "QMP: a line of more than %u bytes", LINE_LIMIT);
    }
    return rc;
}

void qmp_clear(struct qmp *qmp) {
    dstack_buf_clear(&qmp->pending);
}
