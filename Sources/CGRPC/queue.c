#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "internal.h"

void cgrpc_name_thread(const char *name) { prctl(PR_SET_NAME, name); }

cgrpc_queue *cgrpc_queue_create(void) {
    grpc_init();
    cgrpc_queue *queue = calloc(1, sizeof *queue);
    queue->queue = grpc_completion_queue_create_for_next(NULL);
    queue->woken = (cgrpc_tag){CGRPC_QUEUE_WOKEN, NULL};
    queue->waker_channel = grpc_lame_client_channel_create("waker", GRPC_STATUS_UNAVAILABLE, "wakes the queue");
    queue->waker = grpc_channel_create_call(
        queue->waker_channel, NULL, 0, queue->queue, grpc_slice_from_static_string("/wake"), NULL,
        gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return queue;
}

cgrpc_event cgrpc_queue_next(cgrpc_queue *queue, bool wait) {
    gpr_timespec until = wait ? gpr_inf_future(GPR_CLOCK_MONOTONIC) : gpr_inf_past(GPR_CLOCK_MONOTONIC);
    grpc_event event = grpc_completion_queue_next(queue->queue, until, NULL);
    switch (event.type) {
    case GRPC_QUEUE_SHUTDOWN:
        return (cgrpc_event){CGRPC_QUEUE_SHUTDOWN, true, NULL};
    case GRPC_QUEUE_TIMEOUT:
        return (cgrpc_event){CGRPC_QUEUE_EMPTY, true, NULL};
    case GRPC_OP_COMPLETE:
        break;
    }
    const cgrpc_tag *tag = event.tag;
    return (cgrpc_event){tag->kind, event.success != 0, tag->owner};
}

void cgrpc_queue_wake(cgrpc_queue *queue) { grpc_call_start_batch(queue->waker, NULL, 0, &queue->woken, NULL); }

void cgrpc_queue_begin_shutdown(cgrpc_queue *queue) {
    grpc_call_unref(queue->waker);
    grpc_channel_destroy(queue->waker_channel);
    grpc_completion_queue_shutdown(queue->queue);
}

void cgrpc_queue_destroy(cgrpc_queue *queue) {
    grpc_completion_queue_destroy(queue->queue);
    free(queue);
    grpc_shutdown();
}

cgrpc_arguments *cgrpc_arguments_create(void) { return calloc(1, sizeof(cgrpc_arguments)); }

static grpc_arg *next_argument(cgrpc_arguments *arguments, const char *key) {
    if (arguments->count == arguments->capacity) {
        arguments->capacity = arguments->capacity == 0 ? 16 : arguments->capacity * 2;
        arguments->items = realloc(arguments->items, arguments->capacity * sizeof *arguments->items);
    }
    grpc_arg *argument = &arguments->items[arguments->count++];
    memset(argument, 0, sizeof *argument);
    argument->key = strdup(key);
    return argument;
}

void cgrpc_arguments_add_integer(cgrpc_arguments *arguments, const char *key, int32_t value) {
    grpc_arg *argument = next_argument(arguments, key);
    argument->type = GRPC_ARG_INTEGER;
    argument->value.integer = value;
}

void cgrpc_arguments_add_string(cgrpc_arguments *arguments, const char *key, const char *value) {
    grpc_arg *argument = next_argument(arguments, key);
    argument->type = GRPC_ARG_STRING;
    argument->value.string = strdup(value);
}

void cgrpc_arguments_add_memory_bound(cgrpc_arguments *arguments, size_t bytes) {
    grpc_arg *argument = next_argument(arguments, GRPC_ARG_RESOURCE_QUOTA);
    grpc_resource_quota *quota = grpc_resource_quota_create("bound");
    grpc_resource_quota_resize(quota, bytes);
    argument->type = GRPC_ARG_POINTER;
    argument->value.pointer.p = quota;
    argument->value.pointer.vtable = grpc_resource_quota_arg_vtable();
}

void cgrpc_arguments_destroy(cgrpc_arguments *arguments) {
    for (size_t i = 0; i < arguments->count; i++) {
        free(arguments->items[i].key);
        if (arguments->items[i].type == GRPC_ARG_STRING) free(arguments->items[i].value.string);
        if (arguments->items[i].type == GRPC_ARG_POINTER) grpc_resource_quota_unref(arguments->items[i].value.pointer.p);
    }
    free(arguments->items);
    free(arguments);
}
