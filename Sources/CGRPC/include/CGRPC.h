// The gRPC C core for Swift: one function per batch shape. No header of gRPC is included here.
//
// Ownership: every `_create` and `_accept` has its `_destroy`, named beside it. Bytes that go in are copied; bytes that
// come out as pointers live as long as the object they were asked of.
//
// Every function that starts a batch (or arms an accept, or begins a shutdown) returns true when exactly one event of the
// named kind follows on the queue, and false when the core refused it and no event follows. The event carries the owner
// that the object was given. At most one batch of a kind may be under way for one call, and batches of one call must be
// started one at a time.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cgrpc_queue cgrpc_queue;
typedef struct cgrpc_arguments cgrpc_arguments;
typedef struct cgrpc_server cgrpc_server;
typedef struct cgrpc_method cgrpc_method;
typedef struct cgrpc_channel cgrpc_channel;
typedef struct cgrpc_call cgrpc_call;

/// A time-out or a time left that has no end.
#define CGRPC_NO_DEADLINE INT64_MAX

/// What an event is about.
typedef enum cgrpc_kind {
    /// The queue is shut down, and this was its last event. No owner.
    CGRPC_QUEUE_SHUTDOWN = 0,
    /// There was no event, and the caller did not want to wait. No owner.
    CGRPC_QUEUE_EMPTY,
    /// `cgrpc_queue_wake` was called. No owner.
    CGRPC_QUEUE_WOKEN,
    /// An armed accept has its call; without success the server is shutting down.
    CGRPC_CALL_ACCEPTED,
    /// A server's call is over: finished, cancelled or broken.
    CGRPC_CALL_CLOSED,
    /// A server's status, with all before it, was sent.
    CGRPC_STATUS_SENT,
    /// A message was received, or none will come any more.
    CGRPC_MESSAGE_RECEIVED,
    /// The core took a message for sending.
    CGRPC_MESSAGE_SENT,
    /// A client's half-close was taken.
    CGRPC_CLOSE_SENT,
    /// A client's unary call is over.
    CGRPC_UNARY_FINISHED,
    /// A client's call has the server's initial metadata.
    CGRPC_CALL_STARTED,
    /// A client's call has its status.
    CGRPC_STATUS_RECEIVED,
    /// A server that was shut down has no call left.
    CGRPC_SERVER_STOPPED,
} cgrpc_kind;

/// How many kinds there are.
#define CGRPC_KIND_COUNT (CGRPC_SERVER_STOPPED + 1)

/// One event of a queue.
typedef struct cgrpc_event {
    cgrpc_kind kind;
    bool success;
    void *owner;
} cgrpc_event;

/// Bytes that belong to someone else.
typedef struct cgrpc_bytes {
    const uint8_t *start;
    size_t count;
} cgrpc_bytes;

/// One pair of metadata, as it was received.
typedef struct cgrpc_metadata_pair {
    cgrpc_bytes key;
    cgrpc_bytes value;
} cgrpc_metadata_pair;

/// Which metadata of a call is meant.
typedef enum cgrpc_metadata_side {
    /// Client: sent at the start. Server: received at the start. (Client received and server sent: see the other two.)
    CGRPC_METADATA_REQUEST = 0,
    /// From the server, before its messages.
    CGRPC_METADATA_INITIAL,
    /// From the server, with its status.
    CGRPC_METADATA_TRAILING,
} cgrpc_metadata_side;

/// Certificates and a key in PEM, as C strings; NULL: none.
typedef struct cgrpc_tls {
    /// Certificates of the authorities that the peer's certificate must come from.
    const char *authorities;
    const char *certificate_chain;
    const char *private_key;
} cgrpc_tls;

// MARK: Queue

/// Names the calling thread; the system keeps the first 15 bytes.
void cgrpc_name_thread(const char *name);
cgrpc_queue *cgrpc_queue_create(void);
/// Waits for the next event; without `wait` it returns at once. One thread at a time.
cgrpc_event cgrpc_queue_next(cgrpc_queue *queue, bool wait);
/// Posts one `CGRPC_QUEUE_WOKEN`. From any thread; at most one may be outstanding, and none after the shutdown began.
void cgrpc_queue_wake(cgrpc_queue *queue);
/// No more work may be started on the queue; `CGRPC_QUEUE_SHUTDOWN` comes last.
void cgrpc_queue_begin_shutdown(cgrpc_queue *queue);
/// After `CGRPC_QUEUE_SHUTDOWN`.
void cgrpc_queue_destroy(cgrpc_queue *queue);

// MARK: Arguments of servers and channels

cgrpc_arguments *cgrpc_arguments_create(void);
void cgrpc_arguments_add_integer(cgrpc_arguments *arguments, const char *key, int32_t value);
void cgrpc_arguments_add_string(cgrpc_arguments *arguments, const char *key, const char *value);
/// The memory that connections and what is received on them may use, all together; beyond it calls and connections are ended.
void cgrpc_arguments_add_memory_bound(cgrpc_arguments *arguments, size_t bytes);
void cgrpc_arguments_destroy(cgrpc_arguments *arguments);

// MARK: Server

cgrpc_server *cgrpc_server_create(cgrpc_queue *queue, const cgrpc_arguments *arguments);
/// Binds and listens. Returns the port (1 for a unix socket), or 0 with the core's reason, cut to `reason_capacity`, as a C string.
int32_t cgrpc_server_bind(cgrpc_server *server, const char *address, const cgrpc_tls *tls, char *reason, size_t reason_capacity);
/// Handshakes that begin from now on use these. From any thread; for a server that was bound with TLS, and whether clients are asked for certificates stays
/// as it was. What the core cannot use it leaves aside (`cgrpc_tls_check` tells before), and goes on with what it had.
void cgrpc_server_update_tls(cgrpc_server *server, const cgrpc_tls *tls);
/// Whether some process accepts connections on the unix socket at `path`. The core would take its place without a word.
bool cgrpc_unix_socket_is_served(const char *path);
/// Before the start. `path` is "/package.Service/Method". With `reads_request` the first message comes with the accepted
/// call. NULL where the path is registered already. Freed with the server.
cgrpc_method *cgrpc_server_register(cgrpc_server *server, const char *path, bool reads_request);
void cgrpc_server_start(cgrpc_server *server);
/// No new connections and calls. → `CGRPC_SERVER_STOPPED` for `owner`, when the last call is destroyed. Once.
void cgrpc_server_begin_shutdown(cgrpc_server *server, void *owner);
/// After the shutdown began.
void cgrpc_server_cancel_calls(cgrpc_server *server);
/// After `CGRPC_SERVER_STOPPED` and the events of all armed accepts; or without any if it was never bound.
void cgrpc_server_destroy(cgrpc_server *server);

// MARK: Call of a server

/// Arms one accept for a method, or with NULL for all that are not registered. → `CGRPC_CALL_ACCEPTED`, then the call may
/// be used. NULL: refused. Freed by `cgrpc_call_destroy`, with or without a call in it.
cgrpc_call *cgrpc_server_accept(cgrpc_server *server, cgrpc_method *method, void *owner);
/// Time left in nanoseconds, which may be negative; `CGRPC_NO_DEADLINE`: without end.
int64_t cgrpc_call_time_left(const cgrpc_call *call);
/// "/package.Service/Method" of a call that no method was registered for.
cgrpc_bytes cgrpc_call_path(const cgrpc_call *call);
/// The peer's address, such as "ipv4:127.0.0.1:40000". To be freed with `cgrpc_string_destroy`.
char *cgrpc_call_peer(cgrpc_call *call);
void cgrpc_string_destroy(char *string);
/// Visits the names of an authenticated peer.
void cgrpc_call_peer_identities(cgrpc_call *call, void *context, void (*visit)(void *context, const char *name, size_t count));
/// Frees what the client sent beside its messages: a stream may live for hours.
void cgrpc_call_forget_request_metadata(cgrpc_call *call);
/// → `CGRPC_CALL_CLOSED`.
bool cgrpc_call_watch_close(cgrpc_call *call);
/// At `CGRPC_CALL_CLOSED`: whether it was cancelled, broken or out of time.
bool cgrpc_call_was_cancelled(const cgrpc_call *call);
/// Initial metadata where not sent yet, `message` where `has_message`, trailing metadata, status. → `CGRPC_STATUS_SENT`.
bool cgrpc_call_send_status(
    cgrpc_call *call, bool has_message, cgrpc_bytes message, int32_t code, const char *text, size_t text_count);

// MARK: Call of a client

/// `tls` NULL: plaintext. NULL: the core refused.
cgrpc_channel *cgrpc_channel_create(const char *target, const cgrpc_arguments *arguments, const cgrpc_tls *tls);
void cgrpc_channel_destroy(cgrpc_channel *channel);
/// Whether all parts that are there can be read to their end, and certificate and key belong together; else what is wrong, cut to `reason_capacity`, as a
/// C string. The core itself finds out at a handshake only.
bool cgrpc_tls_check(const cgrpc_tls *tls, char *reason, size_t reason_capacity);

/// `timeout` in nanoseconds. NULL: the core refused.
cgrpc_call *cgrpc_channel_call(
    cgrpc_channel *channel, cgrpc_queue *queue, const char *path, size_t path_count, int64_t timeout, void *owner);
/// The whole of a unary call. → `CGRPC_UNARY_FINISHED`.
bool cgrpc_call_start_unary(cgrpc_call *call, cgrpc_bytes message, bool wait_for_ready);
/// Sends the request's metadata. → `CGRPC_CALL_STARTED`.
bool cgrpc_call_start(cgrpc_call *call, bool wait_for_ready);
/// → `CGRPC_STATUS_RECEIVED`.
bool cgrpc_call_watch_status(cgrpc_call *call);
/// No more messages. → `CGRPC_CLOSE_SENT`.
bool cgrpc_call_send_close(cgrpc_call *call);
/// At `CGRPC_UNARY_FINISHED` and `CGRPC_STATUS_RECEIVED`.
int32_t cgrpc_call_status_code(const cgrpc_call *call);
/// UTF-8, as sent by the peer: not checked.
cgrpc_bytes cgrpc_call_status_text(const cgrpc_call *call);

// MARK: Either call

/// Adds a pair to what will be sent: a client's request, a server's initial or trailing metadata. False: not legal.
bool cgrpc_call_add_metadata(cgrpc_call *call, cgrpc_metadata_side side, cgrpc_bytes key, cgrpc_bytes value);
/// How many pairs were received.
size_t cgrpc_call_metadata_count(const cgrpc_call *call, cgrpc_metadata_side side);
cgrpc_metadata_pair cgrpc_call_metadata(const cgrpc_call *call, cgrpc_metadata_side side, size_t index);
/// → `CGRPC_MESSAGE_RECEIVED`.
bool cgrpc_call_receive(cgrpc_call *call);
/// A server's first one sends the initial metadata too. → `CGRPC_MESSAGE_SENT`.
bool cgrpc_call_send(cgrpc_call *call, cgrpc_bytes message);
/// At `CGRPC_MESSAGE_SENT`: frees the message.
void cgrpc_call_forget_sent(cgrpc_call *call);
/// Bytes of the message received and not yet taken; -1: none, the stream is over.
int64_t cgrpc_call_message_size(const cgrpc_call *call);
/// Copies the message received to `destination`, which has room for it, and frees it.
void cgrpc_call_take_message(cgrpc_call *call, uint8_t *destination);
/// Whether the last receive ended without a message because the call failed, not because the peer was done.
bool cgrpc_call_receive_failed(const cgrpc_call *call);
/// From any thread before `cgrpc_call_destroy`. What is under way ends.
void cgrpc_call_cancel(cgrpc_call *call);
/// From any thread. No batch may be under way.
void cgrpc_call_destroy(cgrpc_call *call);
