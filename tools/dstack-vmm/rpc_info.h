/* What the VMM's answers say about a VM and about itself. */
#ifndef VMM_RPC_INFO_H
#define VMM_RPC_INFO_H

#include "registry.h"
#include "vmm.pb-c.h"

/* brief: without the configuration. Accepts NULL (no memory; the call fails by itself). */
void rpc_info_fill(Vmm__VmInfo *out, const struct vmm_settings *settings,
                   const struct vm_view *view, bool brief);
void rpc_info_meta(Vmm__GetMetaResponse *out, const struct vmm_settings *settings);
/* "1h 2m 3s"; "never" for a negative value. */
void rpc_info_duration(int64_t seconds, char *out, size_t size);
/* https://<instance>-<agent port>.<host>[:port]; gateway_url may be NULL. */
void rpc_info_app_url(const char *instance_id, const char *gateway_url, const char *base_domain,
                      uint16_t port, uint16_t agent_port, char *out, size_t size);

#endif
