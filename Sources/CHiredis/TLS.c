#include "CHiredis.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chiredis_tls {
    struct bufferevent *stream;
    chiredis_tls_events events;
};

/// Writes what failed, and why OpenSSL says it did.
static void explain(char *reason, size_t size, const char *what, const char *file) {
    unsigned long error = ERR_peek_last_error();
    const char *why = error ? ERR_reason_error_string(error) : NULL;
    snprintf(reason, size, "%s%s%s%s%s", what, file ? " " : "", file ? file : "", why ? ": " : "", why ? why : "");
    ERR_clear_error();
}

static SSL_CTX *make_context(const char *authority, const char *certificate, const char *key, char *reason, size_t size) {
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context) {
        explain(reason, size, "OpenSSL had no memory for TLS", NULL);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    // Writes of libevent may be repeated from another place in memory.
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    if (authority ? SSL_CTX_load_verify_file(context, authority) != 1 : SSL_CTX_set_default_verify_paths(context) != 1) {
        explain(reason, size, "the certificates of the authority cannot be read from", authority ? authority : "the system");
    } else if (certificate && SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        explain(reason, size, "the client's certificate cannot be read from", certificate);
    } else if (key && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        explain(reason, size, "the client's key cannot be read from, or does not belong to the certificate:", key);
    } else if ((certificate != NULL) != (key != NULL)) {
        snprintf(reason, size, "a client's certificate and its key belong together, and one is missing");
    } else {
        return context;
    }
    SSL_CTX_free(context);
    return NULL;
}

int chiredis_tls_check(const char *authority, const char *certificate, const char *key, char *reason, size_t size) {
    SSL_CTX *context = make_context(authority, certificate, key, reason, size);
    if (!context) return -1;
    SSL_CTX_free(context);
    return 0;
}

/// Tells the connection which name or IP address the server must prove. Only a name is sent along (SNI).
static int expect(SSL *ssl, const char *name) {
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1) return 0;
    ERR_clear_error();
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1 ? 0 : -1;
}

/// Why a connection has ended.
static void say_why(struct bufferevent *stream, short what, char *reason, size_t size) {
    SSL *ssl = bufferevent_openssl_get_ssl(stream);
    long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
    unsigned long error = bufferevent_get_openssl_error(stream);
    if (verdict != X509_V_OK) {
        snprintf(reason, size, "the server's certificate is refused: %s", X509_verify_cert_error_string(verdict));
    } else if (error) {
        const char *text = ERR_reason_error_string(error);
        snprintf(reason, size, "TLS: %s", text ? text : "an error without a name");
    } else if (what & BEV_EVENT_EOF) {
        snprintf(reason, size, "Server closed the connection");
    } else {
        snprintf(reason, size, "%s", evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    }
}

static void on_read(struct bufferevent *stream, void *argument) {
    chiredis_tls *tls = argument;
    struct evbuffer *input = bufferevent_get_input(stream);
    size_t length = evbuffer_get_length(input);
    // In one piece: the reader copies it anyway.
    unsigned char *bytes = evbuffer_pullup(input, -1);
    if (!bytes) return;
    // The owner may free the connection while it reads; the reference keeps the bytes.
    bufferevent_incref(stream);
    tls->events.received(tls->events.owner, (const char *)bytes, length);
    evbuffer_drain(input, length);
    bufferevent_decref(stream);
}

static void on_event(struct bufferevent *stream, short what, void *argument) {
    chiredis_tls *tls = argument;
    if (what & BEV_EVENT_CONNECTED) {
        tls->events.connected(tls->events.owner);
        return;
    }
    char reason[256];
    say_why(stream, what, reason, sizeof reason);
    bufferevent_setcb(stream, NULL, NULL, NULL, NULL);
    tls->events.ended(tls->events.owner, reason);
}

chiredis_tls *chiredis_tls_connect(
    struct event_base *base, const char *host, uint16_t port, const char *name, const char *authority, const char *certificate,
    const char *key, const chiredis_tls_events *events, char *reason, size_t size) {
    SSL_CTX *context = make_context(authority, certificate, key, reason, size);
    if (!context) return NULL;
    SSL *ssl = SSL_new(context);
    SSL_CTX_free(context);
    if (!ssl || expect(ssl, name) != 0) {
        explain(reason, size, "TLS cannot check the name", name);
        SSL_free(ssl);
        return NULL;
    }
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *address = NULL;
    if (getaddrinfo(host, service, &hints, &address) != 0) {
        snprintf(reason, size, "%s is not a numeric address", host);
        SSL_free(ssl);
        return NULL;
    }
    chiredis_tls *tls = calloc(1, sizeof *tls);
    // The stream owns `ssl` from here on.
    struct bufferevent *stream =
        tls ? bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS) : NULL;
    if (!stream) {
        snprintf(reason, size, "there was no memory for a connection");
        if (!tls) SSL_free(ssl);
        free(tls);
        freeaddrinfo(address);
        return NULL;
    }
    tls->stream = stream;
    tls->events = *events;
    bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    bufferevent_setcb(stream, on_read, NULL, on_event, tls);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
    int status = bufferevent_socket_connect(stream, address->ai_addr, (int)address->ai_addrlen);
    freeaddrinfo(address);
    if (status != 0) {
        snprintf(reason, size, "%s", evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
        chiredis_tls_free(tls);
        return NULL;
    }
    return tls;
}

int chiredis_tls_write(chiredis_tls *tls, const void *bytes, size_t count) {
    return bufferevent_write(tls->stream, bytes, count);
}

void chiredis_tls_free(chiredis_tls *tls) {
    bufferevent_setcb(tls->stream, NULL, NULL, NULL, NULL);
    bufferevent_free(tls->stream);
    free(tls);
}

const char *chiredis_reader_error(const redisReader *reader) {
    return reader->errstr;
}
