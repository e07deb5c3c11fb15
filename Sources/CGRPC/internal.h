// What the parts of CGRPC share.
#pragma once

// Before gRPC's headers: they clash with Glibc over fd_set otherwise.
#include <pthread.h>
#include <sys/select.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "CGRPC.h"

/// What the core gives back with an event: the kind, and where the owner is.
typedef struct cgrpc_tag {
    cgrpc_kind kind;
    void *owner;
} cgrpc_tag;

/// A growing list of pairs to send; the list owns its slices.
typedef struct cgrpc_metadata_list {
    grpc_metadata *pairs;
    size_t count;
    size_t capacity;
} cgrpc_metadata_list;

struct cgrpc_queue {
    grpc_completion_queue *queue;
    /// A channel and a call that never connect: an empty batch on the call posts an event.
    grpc_channel *waker_channel;
    grpc_call *waker;
    cgrpc_tag woken;
};

struct cgrpc_arguments {
    grpc_arg *items;
    size_t count;
    size_t capacity;
};

struct cgrpc_server {
    grpc_server *server;
    grpc_completion_queue *queue;
    cgrpc_method *methods;
    cgrpc_tag stopped;
    pthread_mutex_t tls_lock;
    /// What handshakes use from the next one on; NULL: what they used before.
    grpc_ssl_server_certificate_config *next_tls;
};

struct cgrpc_method {
    void *registered;
    bool reads_request;
    cgrpc_method *next;
};

struct cgrpc_channel {
    grpc_channel *channel;
};

struct cgrpc_call {
    grpc_call *call;
    gpr_timespec deadline;
    /// Of a server's call that no method was registered for.
    grpc_call_details details;
    bool is_server;
    bool initial_metadata_sent;
    int cancelled;
    grpc_status_code status;
    grpc_slice status_text;
    grpc_byte_buffer *received;
    grpc_byte_buffer *to_send;
    grpc_byte_buffer *reply;
    /// Received, by `cgrpc_metadata_side`.
    grpc_metadata_array metadata[3];
    /// To send, by `cgrpc_metadata_side`.
    cgrpc_metadata_list to_send_metadata[3];
    /// By kind, so that a batch's tag is an address in here.
    cgrpc_tag tags[CGRPC_KIND_COUNT];
};

cgrpc_call *cgrpc_call_create(bool is_server, void *owner);
grpc_byte_buffer *cgrpc_byte_buffer(cgrpc_bytes bytes);
