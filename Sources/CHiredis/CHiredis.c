#include "CHiredis.h"

#include <pthread.h>
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

enum { longest_array = 1 << 20 };

// hiredis's own functions, with another one for arrays. It gives every reader the same.
static redisReplyObjectFunctions limited;
static void *(*create_any_array)(const redisReadTask *, int);
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void *create_array(const redisReadTask *task, int elements) {
    return elements > longest_array ? NULL : create_any_array(task, elements);
}

static void make_limited(void) {
    redisReader *reader = redisReaderCreate();
    if (!reader) return;
    limited = *reader->fn;
    create_any_array = limited.createArray;
    limited.createArray = create_array;
    redisReaderFree(reader);
}

void chiredis_limit_reader(redisReader *reader) {
    pthread_once(&once, make_limited);
    if (create_any_array) reader->fn = &limited;
}
