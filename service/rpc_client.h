/* Calls a method of an RPC service over an http_client or a link, with typed messages. */
#ifndef SERVICE_RPC_CLIENT_H
#define SERVICE_RPC_CLIENT_H

#include "client/http_client.h"
#include "service/link.h"
#include "service/rpc.h"

/* POST {mount}/{method}?json. `request` may be NULL (sent as `null`). On success *response is owned
 * by the caller (rpc_free_message) unless response_descriptor is NULL. A status other than 200 is
 * DSTACK_E_PEER with the server's own text as message. */
int rpc_client_call(http_client *client, const char *mount, const char *method,
                    const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *response_descriptor,
                    ProtobufCMessage **response, dstack_error *err);
/* The same through a link. */
int rpc_link_call(service_link *link, const char *mount, const char *method,
                  const ProtobufCMessage *request,
                  const ProtobufCMessageDescriptor *response_descriptor,
                  ProtobufCMessage **response, int timeout_ms, dstack_error *err);

#endif
