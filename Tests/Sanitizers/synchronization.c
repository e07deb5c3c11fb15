// Tells Thread Sanitizer of synchronisation that it cannot see, because it happens in libraries that are not instrumented. Preloaded by .ci/sanitize.
//
// `Synchronization.Mutex` locks and unlocks by atomics in the caller's own code, which are seen, as long as nobody waits. A thread that waits does so in
// libswiftSynchronization, by a futex that the kernel hands over: without these functions everything behind such a lock looks like a race.
// The same goes for absl::Mutex, by which the gRPC C core is locked.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

// In programs that are run beside the tests there is no sanitizer.
__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

static void acquire(void *address) {
    if (__tsan_acquire) __tsan_acquire(address);
}

static void release(void *address) {
    if (__tsan_release) __tsan_release(address);
}

#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *

// The next function of that name: the library's own. Looking it up twice gives the same.
#define NEXT(name, type) ((type)dlsym(RTLD_NEXT, name))

#define LOCK_SLOW "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK_SLOW "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK_SLOW "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

typedef SWIFT void lock_function(uint32_t thread, SELF handle);
typedef SWIFT bool try_function(SELF handle);
typedef SWIFT void unlock_function(SELF handle);

SWIFT void lock_slow(uint32_t thread, SELF handle) __asm__(LOCK_SLOW);
SWIFT bool try_lock_slow(SELF handle) __asm__(TRY_LOCK_SLOW);
SWIFT void unlock_slow(SELF handle) __asm__(UNLOCK_SLOW);

SWIFT void lock_slow(uint32_t thread, SELF handle) {
    NEXT(LOCK_SLOW, lock_function *)(thread, handle);
    acquire(handle);
}

SWIFT bool try_lock_slow(SELF handle) {
    bool locked = NEXT(TRY_LOCK_SLOW, try_function *)(handle);
    if (locked) acquire(handle);
    return locked;
}

SWIFT void unlock_slow(SELF handle) {
    release(handle);
    NEXT(UNLOCK_SLOW, unlock_function *)(handle);
}

// absl::Mutex and absl::CondVar, of the version that Debian's gRPC is built with.
#define LOCK "_ZN4absl7debian35Mutex4LockEv"
#define UNLOCK "_ZN4absl7debian35Mutex6UnlockEv"
#define TRY_LOCK "_ZN4absl7debian35Mutex7TryLockEv"
#define WAIT "_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE"

void absl_lock(void *mutex) __asm__(LOCK);
void absl_unlock(void *mutex) __asm__(UNLOCK);
bool absl_try_lock(void *mutex) __asm__(TRY_LOCK);
void absl_wait(void *condition, void *mutex) __asm__(WAIT);

void absl_lock(void *mutex) {
    NEXT(LOCK, void (*)(void *))(mutex);
    acquire(mutex);
}

void absl_unlock(void *mutex) {
    release(mutex);
    NEXT(UNLOCK, void (*)(void *))(mutex);
}

bool absl_try_lock(void *mutex) {
    bool locked = NEXT(TRY_LOCK, bool (*)(void *))(mutex);
    if (locked) acquire(mutex);
    return locked;
}

void absl_wait(void *condition, void *mutex) {
    release(mutex);
    NEXT(WAIT, void (*)(void *, void *))(condition, mutex);
    acquire(mutex);
}

// gRPC promises that what was done before an operation was started is seen by whoever takes its event. It keeps that by queues without locks.
#include <grpc/grpc.h>

grpc_call_error grpc_call_start_batch(grpc_call *call, const grpc_op *ops, size_t count, void *tag, void *reserved) {
    release(tag);
    return NEXT("grpc_call_start_batch", grpc_call_error (*)(grpc_call *, const grpc_op *, size_t, void *, void *))(
        call, ops, count, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue *queue, gpr_timespec deadline, void *reserved) {
    grpc_event event =
        NEXT("grpc_completion_queue_next", grpc_event (*)(grpc_completion_queue *, gpr_timespec, void *))(queue, deadline, reserved);
    // Other events leave the tag as it was.
    if (event.type == GRPC_OP_COMPLETE) acquire(event.tag);
    return event;
}

grpc_call_error grpc_server_request_call(
    grpc_server *server, grpc_call **call, grpc_call_details *details, grpc_metadata_array *metadata, grpc_completion_queue *bound,
    grpc_completion_queue *queue, void *tag) {
    release(tag);
    return NEXT(
        "grpc_server_request_call", grpc_call_error (*)(
                                        grpc_server *, grpc_call **, grpc_call_details *, grpc_metadata_array *, grpc_completion_queue *,
                                        grpc_completion_queue *, void *))(server, call, details, metadata, bound, queue, tag);
}

grpc_call_error grpc_server_request_registered_call(
    grpc_server *server, void *method, grpc_call **call, gpr_timespec *deadline, grpc_metadata_array *metadata, grpc_byte_buffer **payload,
    grpc_completion_queue *bound, grpc_completion_queue *queue, void *tag) {
    release(tag);
    return NEXT(
        "grpc_server_request_registered_call",
        grpc_call_error (*)(
            grpc_server *, void *, grpc_call **, gpr_timespec *, grpc_metadata_array *, grpc_byte_buffer **, grpc_completion_queue *,
            grpc_completion_queue *, void *))(server, method, call, deadline, metadata, payload, bound, queue, tag);
}

void grpc_server_shutdown_and_notify(grpc_server *server, grpc_completion_queue *queue, void *tag) {
    release(tag);
    NEXT("grpc_server_shutdown_and_notify", void (*)(grpc_server *, grpc_completion_queue *, void *))(server, queue, tag);
}
