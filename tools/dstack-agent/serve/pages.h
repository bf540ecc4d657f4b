/* The public pages beside the RPCs: what a browser and a metrics collector read. */
#ifndef AGENT_SERVE_PAGES_H
#define AGENT_SERVE_PAGES_H

#include "serve/agent.h"
#include "serve/live.h"

/* GET /: always served. */
http_handler page_dashboard;
/* GET /page/live: the part of the dashboard that changes, for the page to ask for again. */
http_handler page_live;
/* GET /page/<file>: style, scripts and icon. */
http_handler page_file;
/* GET /view/<container>: the log viewer; 404 unless the manifest says public_logs. */
http_handler page_viewer;
/* GET /metrics: 404 unless the manifest says public_sysinfo. */
http_handler page_metrics;
/* GET /logs/<container>: 404 unless the manifest says public_logs. */
http_handler page_logs;

/* Answers with HTML that may load what this listener has, and nothing else. */
void page_html(http_response *response, int status, dstack_bytes html);

/* The parts of the dashboard; pure. `logs` and `sysinfo` are the manifest's switches. */
void dashboard_live(const live_state *state, bool logs, bool sysinfo, dstack_buf *out);
void dashboard_identity(const dstack_identity *identity, const char *machine, dstack_buf *out);
/* Registers, event log and manifest from the text of tcb_info. */
void dashboard_measurements(const char *tcb_info, dstack_buf *out);
/* Each certificate of PEM text. */
void dashboard_certificates(const char *pem, dstack_buf *out);

/* Prometheus text form of one reading; pure. */
void metrics_text(const live_state *state, dstack_buf *out);

#endif
