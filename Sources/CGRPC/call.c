#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>

#include "internal.h"

cgrpc_call *cgrpc_call_create(bool is_server, void *owner) {
    cgrpc_call *call = calloc(1, sizeof *call);
    call->is_server = is_server;
    call->status_text = grpc_empty_slice();
    grpc_call_details_init(&call->details);
    for (int side = 0; side < 3; side++) grpc_metadata_array_init(&call->metadata[side]);
    for (int kind = 0; kind < CGRPC_KIND_COUNT; kind++) call->tags[kind] = (cgrpc_tag){(cgrpc_kind)kind, owner};
    return call;
}

void cgrpc_call_destroy(cgrpc_call *call) {
    if (call->call != NULL) grpc_call_unref(call->call);
    grpc_call_details_destroy(&call->details);
    grpc_slice_unref(call->status_text);
    if (call->received != NULL) grpc_byte_buffer_destroy(call->received);
    if (call->to_send != NULL) grpc_byte_buffer_destroy(call->to_send);
    if (call->reply != NULL) grpc_byte_buffer_destroy(call->reply);
    for (int side = 0; side < 3; side++) {
        grpc_metadata_array_destroy(&call->metadata[side]);
        cgrpc_metadata_list *list = &call->to_send_metadata[side];
        for (size_t i = 0; i < list->count; i++) {
            grpc_slice_unref(list->pairs[i].key);
            grpc_slice_unref(list->pairs[i].value);
        }
        free(list->pairs);
    }
    free(call);
}

grpc_byte_buffer *cgrpc_byte_buffer(cgrpc_bytes bytes) {
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes.start, bytes.count);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static bool start_batch(cgrpc_call *call, const grpc_op *operations, size_t count, cgrpc_kind kind) {
    return grpc_call_start_batch(call->call, operations, count, &call->tags[kind], NULL) == GRPC_CALL_OK;
}

static grpc_op send_initial_metadata(const cgrpc_metadata_list *list, uint32_t flags) {
    grpc_op operation;
    memset(&operation, 0, sizeof operation);
    operation.op = GRPC_OP_SEND_INITIAL_METADATA;
    operation.flags = flags;
    operation.data.send_initial_metadata.count = list->count;
    operation.data.send_initial_metadata.metadata = list->pairs;
    return operation;
}

static grpc_op send_message(grpc_byte_buffer *message) {
    grpc_op operation;
    memset(&operation, 0, sizeof operation);
    operation.op = GRPC_OP_SEND_MESSAGE;
    operation.data.send_message.send_message = message;
    return operation;
}

static grpc_op send_close(void) {
    grpc_op operation;
    memset(&operation, 0, sizeof operation);
    operation.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    return operation;
}

static grpc_op receive_initial_metadata(cgrpc_call *call) {
    grpc_op operation;
    memset(&operation, 0, sizeof operation);
    operation.op = GRPC_OP_RECV_INITIAL_METADATA;
    operation.data.recv_initial_metadata.recv_initial_metadata = &call->metadata[CGRPC_METADATA_INITIAL];
    return operation;
}

static grpc_op receive_message(cgrpc_call *call) {
    grpc_op operation;
    memset(&operation, 0, sizeof operation);
    operation.op = GRPC_OP_RECV_MESSAGE;
    operation.data.recv_message.recv_message = &call->received;
    return operation;
}

static grpc_op receive_status(cgrpc_call *call) {
    grpc_op operation;
    memset(&operation, 0, sizeof operation);
    operation.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    operation.data.recv_status_on_client.trailing_metadata = &call->metadata[CGRPC_METADATA_TRAILING];
    operation.data.recv_status_on_client.status = &call->status;
    operation.data.recv_status_on_client.status_details = &call->status_text;
    return operation;
}

static uint32_t start_flags(bool wait_for_ready) {
    return GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET | (wait_for_ready ? GRPC_INITIAL_METADATA_WAIT_FOR_READY : 0);
}

// MARK: Call of a server

int64_t cgrpc_call_time_left(const cgrpc_call *call) {
    gpr_timespec infinity = gpr_inf_future(call->deadline.clock_type);
    if (gpr_time_cmp(call->deadline, infinity) == 0) return CGRPC_NO_DEADLINE;
    gpr_timespec left = gpr_time_sub(call->deadline, gpr_now(call->deadline.clock_type));
    // Some 292 years fit into 64 bits of nanoseconds.
    if (left.tv_sec > 9000000000) return CGRPC_NO_DEADLINE;
    if (left.tv_sec < -9000000000) return INT64_MIN;
    return left.tv_sec * 1000000000 + left.tv_nsec;
}

cgrpc_bytes cgrpc_call_path(const cgrpc_call *call) {
    return (cgrpc_bytes){GRPC_SLICE_START_PTR(call->details.method), GRPC_SLICE_LENGTH(call->details.method)};
}

void cgrpc_call_forget_request_metadata(cgrpc_call *call) {
    grpc_metadata_array_destroy(&call->metadata[CGRPC_METADATA_REQUEST]);
    grpc_metadata_array_init(&call->metadata[CGRPC_METADATA_REQUEST]);
}

char *cgrpc_call_peer(cgrpc_call *call) { return grpc_call_get_peer(call->call); }

void cgrpc_string_destroy(char *string) { gpr_free(string); }

bool cgrpc_call_watch_close(cgrpc_call *call) {
    grpc_op operation;
    memset(&operation, 0, sizeof operation);
    operation.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    operation.data.recv_close_on_server.cancelled = &call->cancelled;
    return start_batch(call, &operation, 1, CGRPC_CALL_CLOSED);
}

bool cgrpc_call_was_cancelled(const cgrpc_call *call) { return call->cancelled != 0; }

bool cgrpc_call_send_status(
    cgrpc_call *call, bool has_message, cgrpc_bytes message, int32_t code, const char *text, size_t text_count) {
    grpc_op operations[3];
    size_t count = 0;
    bool sends_initial_metadata = !call->initial_metadata_sent;
    if (sends_initial_metadata) {
        operations[count++] = send_initial_metadata(&call->to_send_metadata[CGRPC_METADATA_INITIAL], 0);
    }
    if (has_message) {
        call->reply = cgrpc_byte_buffer(message);
        operations[count++] = send_message(call->reply);
    }
    grpc_slice details = grpc_slice_from_copied_buffer(text, text_count);
    grpc_op *status = &operations[count++];
    memset(status, 0, sizeof *status);
    status->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    status->data.send_status_from_server.trailing_metadata_count = call->to_send_metadata[CGRPC_METADATA_TRAILING].count;
    status->data.send_status_from_server.trailing_metadata = call->to_send_metadata[CGRPC_METADATA_TRAILING].pairs;
    status->data.send_status_from_server.status = (grpc_status_code)code;
    status->data.send_status_from_server.status_details = text_count > 0 ? &details : NULL;
    bool started = start_batch(call, operations, count, CGRPC_STATUS_SENT);
    grpc_slice_unref(details);
    if (started) call->initial_metadata_sent = true;
    return started;
}

// MARK: Call of a client

cgrpc_call *cgrpc_channel_call(
    cgrpc_channel *channel, cgrpc_queue *queue, const char *path, size_t path_count, int64_t timeout, void *owner) {
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout != CGRPC_NO_DEADLINE) {
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(timeout, GPR_TIMESPAN));
    }
    grpc_slice method = grpc_slice_from_copied_buffer(path, path_count);
    grpc_call *created =
        grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue->queue, method, NULL, deadline, NULL);
    grpc_slice_unref(method);
    if (created == NULL) return NULL;
    cgrpc_call *call = cgrpc_call_create(false, owner);
    call->call = created;
    call->deadline = deadline;
    return call;
}

bool cgrpc_call_start_unary(cgrpc_call *call, cgrpc_bytes message, bool wait_for_ready) {
    call->to_send = cgrpc_byte_buffer(message);
    const grpc_op operations[] = {
        send_initial_metadata(&call->to_send_metadata[CGRPC_METADATA_REQUEST], start_flags(wait_for_ready)),
        send_message(call->to_send),
        send_close(),
        receive_initial_metadata(call),
        receive_message(call),
        receive_status(call),
    };
    call->initial_metadata_sent = true;
    return start_batch(call, operations, sizeof operations / sizeof operations[0], CGRPC_UNARY_FINISHED);
}

bool cgrpc_call_start(cgrpc_call *call, bool wait_for_ready) {
    const grpc_op operations[] = {
        send_initial_metadata(&call->to_send_metadata[CGRPC_METADATA_REQUEST], start_flags(wait_for_ready)),
        receive_initial_metadata(call),
    };
    call->initial_metadata_sent = true;
    return start_batch(call, operations, 2, CGRPC_CALL_STARTED);
}

bool cgrpc_call_watch_status(cgrpc_call *call) {
    grpc_op operation = receive_status(call);
    return start_batch(call, &operation, 1, CGRPC_STATUS_RECEIVED);
}

bool cgrpc_call_send_close(cgrpc_call *call) {
    grpc_op operation = send_close();
    return start_batch(call, &operation, 1, CGRPC_CLOSE_SENT);
}

int32_t cgrpc_call_status_code(const cgrpc_call *call) { return (int32_t)call->status; }

cgrpc_bytes cgrpc_call_status_text(const cgrpc_call *call) {
    return (cgrpc_bytes){GRPC_SLICE_START_PTR(call->status_text), GRPC_SLICE_LENGTH(call->status_text)};
}

// MARK: Either call

bool cgrpc_call_add_metadata(cgrpc_call *call, cgrpc_metadata_side side, cgrpc_bytes key, cgrpc_bytes value) {
    grpc_metadata pair;
    memset(&pair, 0, sizeof pair);
    pair.key = grpc_slice_from_copied_buffer((const char *)key.start, key.count);
    pair.value = grpc_slice_from_copied_buffer((const char *)value.start, value.count);
    bool legal = grpc_header_key_is_legal(pair.key) && (grpc_is_binary_header(pair.key) || grpc_header_nonbin_value_is_legal(pair.value));
    if (!legal) {
        grpc_slice_unref(pair.key);
        grpc_slice_unref(pair.value);
        return false;
    }
    cgrpc_metadata_list *list = &call->to_send_metadata[side];
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 4 : list->capacity * 2;
        list->pairs = realloc(list->pairs, list->capacity * sizeof *list->pairs);
    }
    list->pairs[list->count++] = pair;
    return true;
}

size_t cgrpc_call_metadata_count(const cgrpc_call *call, cgrpc_metadata_side side) { return call->metadata[side].count; }

cgrpc_metadata_pair cgrpc_call_metadata(const cgrpc_call *call, cgrpc_metadata_side side, size_t index) {
    const grpc_metadata *pair = &call->metadata[side].metadata[index];
    return (cgrpc_metadata_pair){
        {GRPC_SLICE_START_PTR(pair->key), GRPC_SLICE_LENGTH(pair->key)},
        {GRPC_SLICE_START_PTR(pair->value), GRPC_SLICE_LENGTH(pair->value)},
    };
}

bool cgrpc_call_receive(cgrpc_call *call) {
    grpc_op operation = receive_message(call);
    return start_batch(call, &operation, 1, CGRPC_MESSAGE_RECEIVED);
}

bool cgrpc_call_send(cgrpc_call *call, cgrpc_bytes message) {
    grpc_op operations[2];
    size_t count = 0;
    bool sends_initial_metadata = call->is_server && !call->initial_metadata_sent;
    if (sends_initial_metadata) {
        operations[count++] = send_initial_metadata(&call->to_send_metadata[CGRPC_METADATA_INITIAL], 0);
    }
    cgrpc_call_forget_sent(call);
    call->to_send = cgrpc_byte_buffer(message);
    operations[count++] = send_message(call->to_send);
    bool started = start_batch(call, operations, count, CGRPC_MESSAGE_SENT);
    if (started && sends_initial_metadata) call->initial_metadata_sent = true;
    return started;
}

void cgrpc_call_forget_sent(cgrpc_call *call) {
    if (call->to_send == NULL) return;
    grpc_byte_buffer_destroy(call->to_send);
    call->to_send = NULL;
}

int64_t cgrpc_call_message_size(const cgrpc_call *call) {
    return call->received == NULL ? -1 : (int64_t)grpc_byte_buffer_length(call->received);
}

void cgrpc_call_take_message(cgrpc_call *call, uint8_t *destination) {
    grpc_byte_buffer_reader reader;
    if (grpc_byte_buffer_reader_init(&reader, call->received)) {
        grpc_slice *slice;
        while (grpc_byte_buffer_reader_peek(&reader, &slice)) {
            size_t count = GRPC_SLICE_LENGTH(*slice);
            memcpy(destination, GRPC_SLICE_START_PTR(*slice), count);
            destination += count;
        }
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(call->received);
    call->received = NULL;
}

bool cgrpc_call_receive_failed(const cgrpc_call *call) { return grpc_call_failed_before_recv_message(call->call) != 0; }

void cgrpc_call_cancel(cgrpc_call *call) { grpc_call_cancel(call->call, NULL); }
