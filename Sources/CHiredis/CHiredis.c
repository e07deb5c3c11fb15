#include "CHiredis.h"

#include <sys/eventfd.h>

const char *chiredis_error_text(const redisAsyncContext *context) {
    return context->c.errstr;
}

int chiredis_is_connected(const redisAsyncContext *context) {
    return (context->c.flags & REDIS_CONNECTED) != 0;
}

int chiredis_wake_descriptor(void) {
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}
