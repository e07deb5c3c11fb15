#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <grpc/support/log.h>

#include "internal.h"

// MARK: Server

cgrpc_server *cgrpc_server_create(cgrpc_queue *queue, const cgrpc_arguments *arguments) {
    grpc_init();
    cgrpc_server *server = calloc(1, sizeof *server);
    const grpc_channel_args list = {arguments->count, arguments->items};
    server->server = grpc_server_create(&list, NULL);
    server->queue = queue->queue;
    pthread_mutex_init(&server->tls_lock, NULL);
    grpc_server_register_completion_queue(server->server, queue->queue, NULL);
    return server;
}

void cgrpc_server_update_tls(cgrpc_server *server, const cgrpc_tls *tls) {
    grpc_ssl_pem_key_cert_pair pair = {tls->private_key, tls->certificate_chain};
    // The core wants some authorities here even where clients are not asked for certificates.
    const char *authorities = tls->authorities != NULL ? tls->authorities : tls->certificate_chain;
    grpc_ssl_server_certificate_config *next = grpc_ssl_server_certificate_config_create(authorities, &pair, 1);
    pthread_mutex_lock(&server->tls_lock);
    grpc_ssl_server_certificate_config *unused = server->next_tls;
    server->next_tls = next;
    pthread_mutex_unlock(&server->tls_lock);
    if (unused != NULL) grpc_ssl_server_certificate_config_destroy(unused);
}

/// The core asks this before each handshake; the server outlives its listener.
static grpc_ssl_certificate_config_reload_status next_tls(void *argument, grpc_ssl_server_certificate_config **config) {
    cgrpc_server *server = argument;
    pthread_mutex_lock(&server->tls_lock);
    *config = server->next_tls;
    server->next_tls = NULL;
    pthread_mutex_unlock(&server->tls_lock);
    return *config == NULL ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

static grpc_server_credentials *server_credentials(cgrpc_server *server, const cgrpc_tls *tls) {
    if (tls == NULL) return grpc_insecure_server_credentials_create();
    cgrpc_server_update_tls(server, tls);
    return grpc_ssl_server_credentials_create_with_options(grpc_ssl_server_credentials_create_options_using_config_fetcher(
        tls->authorities == NULL ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                 : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
        next_tls, server));
}

/// The core says why it cannot bind only in its log; this catches what the binding thread logs.
static _Thread_local struct {
    char *text;
    size_t capacity;
    size_t count;
} caught;

static void log_line(gpr_log_func_args *line) {
    if (caught.text == NULL) {
        fprintf(stderr, "%s %s:%d] %s\n", gpr_log_severity_string(line->severity), line->file, line->line, line->message);
        return;
    }
    size_t count = strlen(line->message);
    size_t room = caught.capacity - 1 - caught.count;
    if (count > room) count = room;
    memcpy(caught.text + caught.count, line->message, count);
    caught.count += count;
    caught.text[caught.count] = 0;
}

static pthread_once_t log_installed = PTHREAD_ONCE_INIT;
static void install_log(void) { gpr_set_log_function(log_line); }

int32_t cgrpc_server_bind(cgrpc_server *server, const char *address, const cgrpc_tls *tls, char *reason, size_t reason_capacity) {
    caught.text = reason;
    caught.capacity = reason_capacity;
    caught.count = 0;
    reason[0] = 0;
    pthread_once(&log_installed, install_log);
    int port = 0;
    grpc_server_credentials *credentials = server_credentials(server, tls);
    if (credentials != NULL) {
        port = grpc_server_add_http2_port(server->server, address, credentials);
        grpc_server_credentials_release(credentials);
    }
    caught.text = NULL;
    return port;
}

bool cgrpc_unix_socket_is_served(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return false;
    strcpy(address.sun_path, path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return false;
    bool served = connect(descriptor, (const struct sockaddr *)&address, sizeof address) == 0;
    close(descriptor);
    return served;
}

cgrpc_method *cgrpc_server_register(cgrpc_server *server, const char *path, bool reads_request) {
    void *registered = grpc_server_register_method(
        server->server, path, NULL, reads_request ? GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER : GRPC_SRM_PAYLOAD_NONE, 0);
    if (registered == NULL) return NULL;
    cgrpc_method *method = calloc(1, sizeof *method);
    method->registered = registered;
    method->reads_request = reads_request;
    method->next = server->methods;
    server->methods = method;
    return method;
}

void cgrpc_server_start(cgrpc_server *server) { grpc_server_start(server->server); }

void cgrpc_server_begin_shutdown(cgrpc_server *server, void *owner) {
    server->stopped = (cgrpc_tag){CGRPC_SERVER_STOPPED, owner};
    grpc_server_shutdown_and_notify(server->server, server->queue, &server->stopped);
}

void cgrpc_server_cancel_calls(cgrpc_server *server) { grpc_server_cancel_all_calls(server->server); }

void cgrpc_server_destroy(cgrpc_server *server) {
    grpc_server_destroy(server->server);
    for (cgrpc_method *method = server->methods; method != NULL;) {
        cgrpc_method *next = method->next;
        free(method);
        method = next;
    }
    if (server->next_tls != NULL) grpc_ssl_server_certificate_config_destroy(server->next_tls);
    pthread_mutex_destroy(&server->tls_lock);
    free(server);
    grpc_shutdown();
}

cgrpc_call *cgrpc_server_accept(cgrpc_server *server, cgrpc_method *method, void *owner) {
    cgrpc_call *call = cgrpc_call_create(true, owner);
    void *tag = &call->tags[CGRPC_CALL_ACCEPTED];
    grpc_metadata_array *metadata = &call->metadata[CGRPC_METADATA_REQUEST];
    grpc_call_error error;
    if (method == NULL) {
        error = grpc_server_request_call(
            server->server, &call->call, &call->details, metadata, server->queue, server->queue, tag);
    } else {
        error = grpc_server_request_registered_call(
            server->server, method->registered, &call->call, &call->deadline, metadata,
            method->reads_request ? &call->received : NULL, server->queue, server->queue, tag);
    }
    if (error == GRPC_CALL_OK) return call;
    cgrpc_call_destroy(call);
    return NULL;
}

void cgrpc_call_peer_identities(cgrpc_call *call, void *context, void (*visit)(void *context, const char *name, size_t count)) {
    grpc_auth_context *authentication = grpc_call_auth_context(call->call);
    if (authentication == NULL) return;
    grpc_auth_property_iterator iterator = grpc_auth_context_peer_identity(authentication);
    const grpc_auth_property *property;
    while ((property = grpc_auth_property_iterator_next(&iterator)) != NULL) {
        visit(context, property->value, property->value_length);
    }
    grpc_auth_context_release(authentication);
}

// MARK: Channel

static grpc_channel_credentials *channel_credentials(const cgrpc_tls *tls) {
    if (tls == NULL) return grpc_insecure_credentials_create();
    grpc_ssl_pem_key_cert_pair pair = {tls->private_key, tls->certificate_chain};
    return grpc_ssl_credentials_create_ex(tls->authorities, tls->private_key == NULL ? NULL : &pair, NULL, NULL);
}

cgrpc_channel *cgrpc_channel_create(const char *target, const cgrpc_arguments *arguments, const cgrpc_tls *tls) {
    grpc_init();
    grpc_channel *created = NULL;
    grpc_channel_credentials *credentials = channel_credentials(tls);
    if (credentials != NULL) {
        const grpc_channel_args list = {arguments->count, arguments->items};
        created = grpc_channel_create(target, credentials, &list);
        grpc_channel_credentials_release(credentials);
    }
    // A channel that can never work is created all the same, but a good one has not failed before its first attempt to connect.
    if (created != NULL && grpc_channel_check_connectivity_state(created, 0) != GRPC_CHANNEL_IDLE) {
        grpc_channel_destroy(created);
        created = NULL;
    }
    if (created == NULL) {
        grpc_shutdown();
        return NULL;
    }
    cgrpc_channel *channel = calloc(1, sizeof *channel);
    channel->channel = created;
    return channel;
}

void cgrpc_channel_destroy(cgrpc_channel *channel) {
    grpc_channel_destroy(channel->channel);
    free(channel);
    grpc_shutdown();
}
