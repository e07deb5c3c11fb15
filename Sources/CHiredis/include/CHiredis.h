#pragma once

// <sys/select.h> comes first: without it these headers and Glibc's module disagree over fd_set.
#include <stddef.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/time.h>

#include <event2/event.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

/// The text of the last error of a context ("" where there was none). Valid as long as the context.
const char *chiredis_error_text(const redisAsyncContext *context);

/// Whether the socket of a context is connected.
int chiredis_is_connected(const redisAsyncContext *context);

/// A non-blocking eventfd, or -1. (Swift's Glibc module does not have it.)
int chiredis_wake_descriptor(void);

// TLS: hiredis 0.14 has none. Its reader is fed from a connection of libevent over OpenSSL.

/// A connection over TLS. Opaque.
typedef struct chiredis_tls chiredis_tls;

/// What a connection over TLS tells. Called on the thread of its event base, never from within a call of a function below.
typedef struct {
    void *owner;
    /// The handshake is done, and the server's certificate is good.
    void (*connected)(void *owner);
    /// Bytes have come. They are valid during the call.
    void (*received)(void *owner, const char *bytes, size_t count);
    /// The connection is over; `reason` is valid during the call. Nothing is called after it.
    void (*ended)(void *owner, const char *reason);
} chiredis_tls_events;

/// Starts to connect to a numeric address. Files are PEM; NULL: the system's authorities, no certificate. `name` is the host name or the IP
/// address that the server's certificate must carry. Returns NULL with a reason of at most `reason_size` bytes where that fails at once.
chiredis_tls *chiredis_tls_connect(
    struct event_base *base, const char *host, uint16_t port, const char *name, const char *authority_file, const char *certificate_file,
    const char *key_file, const chiredis_tls_events *events, char *reason, size_t reason_size);

/// Whether the files can be used. Returns 0, or -1 with a reason.
int chiredis_tls_check(
    const char *authority_file, const char *certificate_file, const char *key_file, char *reason, size_t reason_size);

/// Writes bytes when the connection can take them. Returns 0, or -1 where there is no memory.
int chiredis_tls_write(chiredis_tls *tls, const void *bytes, size_t count);

/// Ends a connection and frees it. Nothing is called after it. It may be called from within an event.
void chiredis_tls_free(chiredis_tls *tls);

/// The text of the last error of a reader ("" where there was none). Valid as long as the reader.
const char *chiredis_reader_error(const redisReader *reader);

/// Makes a reader refuse arrays of more than 1,048,576 elements as if there were no memory: hiredis makes room for as many as the server announces.
void chiredis_limit_reader(redisReader *reader);
