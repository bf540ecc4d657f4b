/* Containers and resources: the part of the dashboard that changes. */
#include <string.h>

#include "base/buf.h"
#include "serve/html.h"
#include "serve/log_format.h"
#include "serve/pages.h"

/* How a container's state is shown. */
typedef enum mood { MOOD_GOOD, MOOD_IDLE, MOOD_BAD } mood;

static mood mood_of(const live_container *c) {
    if (strcmp(c->state, "running") == 0) {
        return strstr(c->status, "(unhealthy)") != NULL ? MOOD_BAD : MOOD_GOOD;
    }
    bool ended_well = strcmp(c->state, "exited") == 0 && strncmp(c->status, "Exited (0)", 10) == 0;
    bool not_yet = strcmp(c->state, "created") == 0 || strcmp(c->state, "paused") == 0;
    return ended_well || not_yet ? MOOD_IDLE : MOOD_BAD;
}

static void put_verdict(const live_state *state, bool sysinfo, dstack_buf *out) {
    size_t running = 0, bad = 0;
    for (size_t i = 0; i < state->container_count; i++) {
        running += strcmp(state->containers[i].state, "running") == 0;
        bad += mood_of(&state->containers[i]) == MOOD_BAD;
    }
    bool silent = state->engine_error[0] != '\0';
    const char *class = silent || bad > 0 ? "bad" : running > 0 ? "ok" : "";
    buf_put_fmt(out, "<section class=\"card state %s\" aria-live=\"polite\">\n<h2>", class);
    if (silent) {
        buf_put_str(out, "The container engine does not answer");
    } else if (state->container_total == 0) {
        buf_put_str(out, "No containers yet");
    } else if (bad > 0) {
        buf_put_fmt(out, "%zu container%s in trouble", bad, bad == 1 ? " is" : "s are");
    } else {
        buf_put_str(out, running > 0 ? "All is well" : "Nothing is running");
    }
    buf_put_str(out, "</h2>\n<p>");
    if (silent) {
        html_text(out, state->engine_error);
    } else {
        buf_put_fmt(out, "%zu of %zu container%s running.", running, state->container_total,
                    state->container_total == 1 ? "" : "s");
    }
    if (sysinfo) {
        buf_put_str(out, " Up ");
        html_duration(out, state->system.uptime_s);
        buf_put_str(out, ".");
    }
    buf_put_str(out, "</p>\n");
    buf_put_str(out, "</section>\n");
}

/* Docker lets no other names through; where the engine gives one all the same, no link is made. */
static void put_name(const live_container *c, bool logs, dstack_buf *out) {
    bool linked = logs && log_name_valid(c->name);
    buf_put_str(out, linked ? "<a class=\"name\" href=\"/view/" : "<span class=\"name\">");
    if (linked) {
        html_text(out, c->name);
        buf_put_str(out, "\">");
    }
    html_text(out, c->name);
    buf_put_str(out, linked ? "</a>" : "</span>");
}

static void put_container(const live_container *c, bool logs, dstack_buf *out) {
    static const char *const classes[] = {"ok", "idle", "bad"};
    buf_put_fmt(out, "<li class=\"%s\"><span class=\"dot\"></span><div>", classes[mood_of(c)]);
    put_name(c, logs, out);
    buf_put_str(out, " <span class=\"status\">");
    html_text(out, c->status[0] != '\0' ? c->status : c->state);
    buf_put_str(out, "</span><div class=\"detail\">");
    if (c->service[0] != '\0') {
        buf_put_str(out, "service ");
        html_text(out, c->service);
        buf_put_str(out, " · ");
    }
    buf_put_str(out, "<span class=\"value\">");
    html_text(out, c->image);
    buf_put_str(out, "</span></div></div>");
    if (logs && log_name_valid(c->name)) {
        buf_put_str(out, "<a class=\"raw\" target=\"_blank\" rel=\"noopener\" href=\"/logs/");
        html_text(out, c->name);
        buf_put_str(out, "?text&amp;bare&amp;timestamps&amp;follow&amp;tail=20\">raw log</a>");
    }
    buf_put_str(out, "</li>\n");
}

static void put_containers(const live_state *state, bool logs, dstack_buf *out) {
    buf_put_str(out, "<section class=\"card\"><h2>Containers</h2>\n");
    if (state->container_count == 0) {
        buf_put_str(out, "<p class=\"hint\">None.</p>\n");
    }
    buf_put_str(out, "<ul class=\"containers\">\n");
    for (size_t i = 0; i < state->container_count; i++) {
        put_container(&state->containers[i], logs, out);
    }
    buf_put_str(out, "</ul>\n");
    if (state->container_total > state->container_count) {
        buf_put_fmt(out, "<p class=\"hint\">And %zu more.</p>\n",
                    state->container_total - state->container_count);
    }
    if (!logs) {
        buf_put_str(out, "<p class=\"hint\">The manifest keeps their logs private.</p>\n");
    }
    buf_put_str(out, "</section>\n");
}

static void put_meter(const char *name, double share, dstack_buf *out) {
    buf_put_fmt(out, "<dt>%s</dt><dd><meter min=\"0\" max=\"1\" high=\"0.9\" value=\"%.4f\" ", name,
                share);
    buf_put_fmt(out, "aria-label=\"%s\"></meter> ", name);
}

static void put_amount(const char *name, uint64_t used, uint64_t total, dstack_buf *out) {
    if (total == 0) {
        return;
    }
    put_meter(name, (double)used / (double)total, out);
    html_size(out, used);
    buf_put_str(out, " of ");
    html_size(out, total);
    buf_put_str(out, "</dd>\n");
}

static void put_disk(const system_disk *disk, dstack_buf *out) {
    if (disk->total == 0) {
        return;
    }
    /* What nobody can write to is always full. */
    if (disk->read_only) {
        buf_put_str(out, "<dt>Disk</dt><dd>");
        html_size(out, disk->total);
        buf_put_str(out, ", read-only");
    } else {
        uint64_t used = disk->total - disk->free;
        put_meter("Disk", (double)used / (double)disk->total, out);
        html_size(out, used);
        buf_put_str(out, " of ");
        html_size(out, disk->total);
    }
    buf_put_str(out, " <span class=\"detail\"><span class=\"value\">");
    html_text(out, disk->mount_point);
    buf_put_str(out, "</span> on <span class=\"value\">");
    html_text(out, disk->name);
    buf_put_str(out, "</span></span></dd>\n");
}

static void put_resources(const live_state *state, dstack_buf *out) {
    const system_info *s = &state->system;
    buf_put_str(out, "<section class=\"card\"><h2>Resources</h2>\n<dl class=\"facts meters\">\n");
    put_meter("CPU", state->cpu_busy, out);
    buf_put_fmt(out, "%.0f %% of %u CPU%s</dd>\n", 100 * state->cpu_busy, s->cpus,
                s->cpus == 1 ? "" : "s");
    put_amount("Memory", s->memory_total - s->memory_available, s->memory_total, out);
    put_amount("Swap", s->swap_total - s->swap_free, s->swap_total, out);
    for (size_t i = 0; i < s->disk_count; i++) {
        put_disk(&s->disks[i], out);
    }
    buf_put_fmt(out,
                "<dt>Load</dt><dd>%.2f, %.2f, %.2f <span class=\"detail\">in 1, 5, 15 "
                "minutes</span></dd>\n",
                s->load[0] / 100.0, s->load[1] / 100.0, s->load[2] / 100.0);
    DSTACK_AUTO(buf) dstack_buf os = {0};
    buf_put_fmt(&os, "%s %s", s->os_name, s->os_version);
    html_fact(out, "System", buf_text(&os));
    html_fact(out, "Kernel", s->kernel);
    html_fact(out, "Processor", s->cpu_model);
    buf_put_str(out, "</dl></section>\n");
}

void dashboard_live(const live_state *state, bool logs, bool sysinfo, dstack_buf *out) {
    put_verdict(state, sysinfo, out);
    put_containers(state, logs, out);
    if (sysinfo) {
        put_resources(state, out);
    }
}
