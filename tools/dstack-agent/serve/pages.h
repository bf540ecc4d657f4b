/* The public pages beside the RPCs: what a browser and a metrics collector read. */
#ifndef AGENT_SERVE_PAGES_H
#define AGENT_SERVE_PAGES_H

#include "serve/agent.h"
#include "serve/system_info.h"

/* GET /: always served. */
http_handler page_dashboard;
/* GET /metrics: 404 unless the manifest says public_sysinfo. */
http_handler page_metrics;
/* GET /logs/<container>: 404 unless the manifest says public_logs. */
http_handler page_logs;

/* Prometheus text form of one reading; pure. */
void metrics_text(const system_info *info, dstack_buf *out);
/* Appends text with the characters that HTML gives a meaning to escaped. */
void html_text(dstack_buf *out, const char *text);

#endif
