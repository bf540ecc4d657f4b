#include "registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"

#define INSTANCES_MAX 65536
#define FILE_MAX ((size_t)64 << 20)

typedef struct instance {
    char instance_id[REGISTRY_ID_SIZE];
    char app_id[REGISTRY_ID_SIZE];
    char compose_hash[REGISTRY_ID_SIZE];
    char public_key[WG_KEY_TEXT_SIZE];
    uint32_t address;
    int64_t registered;
    int64_t handshake;
    port_policy ports;
    atomic_uint *connections;
} instance;

struct registry {
    pthread_rwlock_t lock;
    char *path;
    registry_addresses addresses;
    instance **items; /* ordered by instance id */
    size_t count, room;
    atomic_uint **counters; /* every counter ever handed out */
    size_t counter_count;
};

int registry_check_addresses(const registry_addresses *a, dstack_error *err) {
    bool own_reserved = false;
    for (size_t i = 0; i < a->reserved_count; i++) {
        if (!ipv4_net_includes(&a->own, &a->reserved[i])) {
            return error_set(err, DSTACK_E_ARGUMENT, "Reserved net is not in the network");
        }
        own_reserved = own_reserved || ipv4_net_contains(&a->reserved[i], a->own.address);
    }
    if (!own_reserved) {
        return error_set(err, DSTACK_E_ARGUMENT, "Wg peer IP is not in the reserved net");
    }
    if (!ipv4_net_includes(&a->own, &a->clients)) {
        return error_set(err, DSTACK_E_ARGUMENT, "Client IP range is not in the network");
    }
    return 0;
}

/* Index of an id, or of where it belongs. */
static size_t position(const registry *r, const char *id, bool *found) {
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(r->items[middle]->instance_id, id);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = false;
    return low;
}

static bool usable_address(const registry *r, uint32_t address) {
    const registry_addresses *a = &r->addresses;
    if (!ipv4_net_contains(&a->clients, address) || address == a->own.address ||
        address == ipv4_net_last(&a->own) || address == ipv4_net_first(&a->own)) {
        return false;
    }
    if (a->clients.prefix < 31 &&
        (address == ipv4_net_first(&a->clients) || address == ipv4_net_last(&a->clients))) {
        return false;
    }
    for (size_t i = 0; i < a->reserved_count; i++) {
        if (ipv4_net_contains(&a->reserved[i], address)) {
            return false;
        }
    }
    return true;
}

static bool address_taken(const registry *r, uint32_t address) {
    for (size_t i = 0; i < r->count; i++) {
        if (r->items[i]->address == address) {
            return true;
        }
    }
    return false;
}

/* The lowest free one. */
static uint32_t pick_address(const registry *r) {
    uint32_t last = ipv4_net_last(&r->addresses.clients);
    for (uint32_t a = ipv4_net_first(&r->addresses.clients);; a++) {
        if (usable_address(r, a) && !address_taken(r, a)) {
            return a;
        }
        if (a == last) {
            return 0;
        }
    }
}

static instance *insert(registry *r, size_t at, const char *instance_id, dstack_error *err) {
    if (r->count == INSTANCES_MAX) {
        error_set(err, DSTACK_E_LIMIT, "more than %d instances", INSTANCES_MAX);
        return NULL;
    }
    if (r->count == r->room) {
        size_t room = r->room == 0 ? 16 : r->room * 2;
        instance **items = realloc(r->items, room * sizeof *items);
        if (items == NULL) {
            error_set(err, DSTACK_E_MEMORY, "out of memory");
            return NULL;
        }
        r->items = items;
        r->room = room;
    }
    atomic_uint **counters = realloc(r->counters, (r->counter_count + 1) * sizeof *counters);
    instance *new = counters == NULL ? NULL : calloc(1, sizeof *new);
    if (counters != NULL) {
        r->counters = counters;
    }
    if (new == NULL || (new->connections = calloc(1, sizeof *new->connections)) == NULL) {
        free(new);
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    r->counters[r->counter_count++] = new->connections;
    snprintf(new->instance_id, sizeof new->instance_id, "%s", instance_id);
    memmove(r->items + at + 1, r->items + at, (r->count - at) * sizeof *r->items);
    r->items[at] = new;
    r->count++;
    return new;
}

static void erase(registry *r, size_t at) {
    free(r->items[at]);
    memmove(r->items + at, r->items + at + 1, (r->count - at - 1) * sizeof *r->items);
    r->count--;
}

/* ---- the file ------------------------------------------------------------------------------- */

static json_t *instance_to_json(const instance *i) {
    char address[IPV4_TEXT_SIZE];
    ipv4_text(i->address, address);
    json_t *ports = json_array();
    for (size_t p = 0; p < i->ports.count; p++) {
        json_array_append_new(ports, json_integer(i->ports.ports[p]));
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:b,s:b,s:o}", "instance_id", i->instance_id,
                     "app_id", i->app_id, "compose_hash", i->compose_hash, "public_key",
                     i->public_key, "ip", address, "reg_time", (json_int_t)i->registered,
                     "ports_known", i->ports.known, "restrict_mode", i->ports.restrict_ports,
                     "ports", ports);
}

static int save(const registry *r, dstack_error *err) {
    DSTACK_AUTO(json) json_t *list = json_array();
    for (size_t i = 0; i < r->count; i++) {
        json_array_append_new(list, instance_to_json(r->items[i]));
    }
    DSTACK_AUTO(json) json_t *doc = json_pack("{s:i,s:O}", "version", 1, "instances", list);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = json_write(doc, true, &text, err);
    return rc != 0 ? rc : file_write_atomic(r->path, bytes_of_buf(&text), 0600, err);
}

static int load_ports(const json_t *object, port_policy *out, dstack_error *err) {
    json_t *list = NULL;
    int rc = json_bool_or(object, "ports_known", false, &out->known, err);
    rc = rc != 0 ? rc : json_bool_or(object, "restrict_mode", false, &out->restrict_ports, err);
    rc = rc != 0 ? rc : json_need_array(object, "ports", &list, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(list) && i < PORT_RULES_MAX; i++) {
        out->ports[out->count++] = (uint16_t)json_integer_value(json_array_get(list, i));
    }
    return rc;
}

static int copy_text(char *out, size_t size, const json_t *object, const char *key,
                     dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(object, key, &text, err);
    if (rc == 0 && strlen(text) >= size) {
        rc = error_set(err, DSTACK_E_LIMIT, "member \"%s\" is too long", key);
    }
    if (rc == 0) {
        memcpy(out, text, strlen(text) + 1);
    }
    return rc;
}

static int load_instance(registry *r, const json_t *object, dstack_error *err) {
    char id[REGISTRY_ID_SIZE];
    char address[IPV4_TEXT_SIZE];
    int rc = copy_text(id, sizeof id, object, "instance_id", err);
    bool found = false;
    size_t at = rc == 0 ? position(r, id, &found) : 0;
    if (rc != 0 || found) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_FORMAT, "instance %s stands twice", id);
    }
    instance *i = insert(r, at, id, err);
    if (i == NULL) {
        return DSTACK_E_MEMORY;
    }
    ipv4_net net = {0};
    rc = copy_text(i->app_id, sizeof i->app_id, object, "app_id", err);
    rc = rc != 0 ? rc
                 : copy_text(i->compose_hash, sizeof i->compose_hash, object, "compose_hash", err);
    rc = rc != 0 ? rc : copy_text(i->public_key, sizeof i->public_key, object, "public_key", err);
    rc = rc != 0 ? rc : copy_text(address, sizeof address, object, "ip", err);
    rc = rc != 0 ? rc : ipv4_net_parse(address, &net, err);
    i->address = net.address;
    rc = rc != 0 ? rc : json_need_int(object, "reg_time", &i->registered, err);
    return rc != 0 ? rc : load_ports(object, &i->ports, err);
}

static int load(registry *r, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read(r->path, FILE_MAX, &text, err);
    if (rc != 0) {
        return rc == DSTACK_E_NOT_FOUND ? 0 : rc;
    }
    DSTACK_AUTO(json) json_t *doc = json_parse(bytes_of_buf(&text), FILE_MAX, r->path, err);
    json_t *list = NULL;
    rc = doc == NULL ? DSTACK_E_FORMAT : json_need_array(doc, "instances", &list, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        rc = load_instance(r, json_array_get(list, i), err);
    }
    return error_prefix(err, rc, "%s", r->path);
}

int registry_open(registry **out, const char *path, const registry_addresses *addresses,
                  dstack_error *err) {
    int rc = registry_check_addresses(addresses, err);
    if (rc != 0) {
        return rc;
    }
    registry *r = calloc(1, sizeof *r);
    if (r == NULL || (r->path = strdup(path)) == NULL) {
        free(r);
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    pthread_rwlock_init(&r->lock, NULL);
    r->addresses = *addresses;
    rc = load(r, err);
    if (rc != 0) {
        registry_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void registry_free(registry *r) {
    if (r == NULL) {
        return;
    }
    while (r->count > 0) {
        erase(r, r->count - 1);
    }
    for (size_t i = 0; i < r->counter_count; i++) {
        free(r->counters[i]);
    }
    free(r->counters);
    free(r->items);
    free(r->path);
    pthread_rwlock_destroy(&r->lock);
    free(r);
}

/* ---- registration --------------------------------------------------------------------------- */

static bool valid_wg_key(const char *text) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf again = {0};
    if (strlen(text) != WG_KEY_TEXT_SIZE - 1 ||
        base64_decode(bytes_of_str(text), BASE64_STANDARD, &raw, NULL) != 0 || raw.len != 32) {
        return false;
    }
    /* Only the one text form that has its unused bits zero. */
    base64_encode(bytes_of_buf(&raw), BASE64_STANDARD, &again);
    return bytes_equal_str(bytes_of_buf(&again), text);
}

static int check_registration(const registry *r, const registration *q, dstack_error *err) {
    if (q->app_id[0] == '\0') {
        return error_set(err, DSTACK_E_REFUSED, "[%s] app id is empty", q->instance_id);
    }
    if (q->instance_id[0] == '\0') {
        return error_set(err, DSTACK_E_REFUSED, "[%s] instance id is empty", q->instance_id);
    }
    if (strlen(q->app_id) >= REGISTRY_ID_SIZE || strlen(q->instance_id) >= REGISTRY_ID_SIZE ||
        strlen(q->compose_hash) >= REGISTRY_ID_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "an id is longer than 64 bytes");
    }
    if (!valid_wg_key(q->public_key)) {
        return error_set(err, DSTACK_E_FORMAT,
                         "[%s] invalid client public key: not the base64 form of 32 bytes",
                         q->instance_id);
    }
    for (size_t i = 0; i < r->count; i++) {
        const instance *other = r->items[i];
        bool same = strcmp(other->instance_id, q->instance_id) == 0;
        if (!same && strcmp(other->public_key, q->public_key) == 0) {
            return error_set(err, DSTACK_E_REFUSED,
                             "[%s] failed to allocate IP address for client: WireGuard public key "
                             "is already registered to another instance",
                             q->instance_id);
        }
        if (same && strcmp(other->app_id, q->app_id) != 0) {
            return error_set(err, DSTACK_E_REFUSED,
                             "[%s] failed to allocate IP address for client: instance_id is "
                             "already registered to a different app",
                             q->instance_id);
        }
    }
    return 0;
}

static void apply(instance *i, const registration *q, int64_t now) {
    if (strcmp(i->public_key, q->public_key) != 0) {
        memcpy(i->public_key, q->public_key, WG_KEY_TEXT_SIZE);
        i->registered = now;
        i->handshake = 0;
    }
    if (strcmp(i->compose_hash, q->compose_hash) != 0) {
        i->ports = (port_policy){0}; /* another manifest: what the old one said is void */
    }
    snprintf(i->app_id, sizeof i->app_id, "%s", q->app_id);
    snprintf(i->compose_hash, sizeof i->compose_hash, "%s", q->compose_hash);
    if (q->ports.known) {
        i->ports = q->ports;
    }
}

static int register_locked(registry *r, const registration *q, int64_t now, uint32_t *address,
                           dstack_error *err) {
    int rc = check_registration(r, q, err);
    if (rc != 0) {
        return rc;
    }
    bool found = false;
    size_t at = position(r, q->instance_id, &found);
    instance before = {0};
    instance *i = found ? r->items[at] : NULL;
    if (found) {
        before = *i;
    }
    uint32_t assigned = found && usable_address(r, i->address) ? i->address : pick_address(r);
    if (assigned == 0) {
        return error_set(err, DSTACK_E_LIMIT,
                         "[%s] failed to allocate IP address for client: IP pool exhausted, no "
                         "available addresses in client_ip_range",
                         q->instance_id);
    }
    i = found ? i : insert(r, at, q->instance_id, err);
    if (i == NULL) {
        return DSTACK_E_MEMORY;
    }
    i->address = assigned;
    apply(i, q, now);
    rc = save(r, err);
    if (rc != 0) {
        if (found) {
            *i = before;
        } else {
            erase(r, at);
        }
        return rc;
    }
    *address = assigned;
    return 0;
}

int registry_register(registry *r, const registration *q, int64_t now, uint32_t *address,
                      dstack_error *err) {
    pthread_rwlock_wrlock(&r->lock);
    int rc = register_locked(r, q, now, address, err);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

bool registry_remove(registry *r, const char *instance_id) {
    pthread_rwlock_wrlock(&r->lock);
    bool found = false;
    size_t at = position(r, instance_id, &found);
    if (found) {
        erase(r, at);
        (void)save(r, NULL);
    }
    pthread_rwlock_unlock(&r->lock);
    return found;
}

/* ---- routing -------------------------------------------------------------------------------- */

static bool port_allowed(const instance *i, uint16_t port) {
    if (!i->ports.known) {
        return false; /* fail closed: the guest has not said what it offers */
    }
    if (!i->ports.restrict_ports) {
        return true;
    }
    for (size_t p = 0; p < i->ports.count; p++) {
        if (i->ports.ports[p] == port) {
            return true;
        }
    }
    return false;
}

/* Keeps out[] ordered by handshake, newest first. */
static void offer(const instance *candidate, const instance **best, size_t max, size_t *count) {
    size_t at = *count;
    while (at > 0 && best[at - 1]->handshake < candidate->handshake) {
        at--;
    }
    if (at == max) {
        return;
    }
    size_t last = *count < max ? *count : max - 1;
    memmove(best + at + 1, best + at, (last - at) * sizeof *best);
    best[at] = candidate;
    *count = last + 1;
}

int registry_find(registry *r, const char *id, uint16_t port, registry_target *out, size_t max,
                  size_t *count, dstack_error *err) {
    const instance *best[16];
    size_t known = 0;
    *count = 0;
    max = max > 16 ? 16 : max;
    pthread_rwlock_rdlock(&r->lock);
    bool exact = false;
    size_t at = position(r, id, &exact);
    for (size_t i = exact ? at : 0; i < (exact ? at + 1 : r->count); i++) {
        const instance *one = r->items[i];
        if (exact || strcmp(one->app_id, id) == 0) {
            known++;
            if (port_allowed(one, port)) {
                offer(one, best, max, count);
            }
        }
    }
    for (size_t i = 0; i < *count; i++) {
        out[i] = (registry_target){best[i]->address, best[i]->connections};
    }
    pthread_rwlock_unlock(&r->lock);
    if (known == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "no app or instance %s is registered", id);
    }
    return *count > 0 ? 0
                      : error_set(err, DSTACK_E_REFUSED,
                                  "port %u denied by app port policy for %s (%zu candidate(s))",
                                  port, id, known);
}

void registry_each(registry *r, registry_visit *visit, void *user) {
    pthread_rwlock_rdlock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
        const instance *one = r->items[i];
        visit(user, one->instance_id, one->app_id, one->public_key, one->address, one->handshake);
    }
    pthread_rwlock_unlock(&r->lock);
}

void registry_set_handshake(registry *r, const char *public_key, int64_t when) {
    pthread_rwlock_wrlock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->items[i]->public_key, public_key) == 0) {
            r->items[i]->handshake = when;
        }
    }
    pthread_rwlock_unlock(&r->lock);
}

size_t registry_count(registry *r) {
    pthread_rwlock_rdlock(&r->lock);
    size_t count = r->count;
    pthread_rwlock_unlock(&r->lock);
    return count;
}
