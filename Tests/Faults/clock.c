// Gives a process a time of day of its own: LD_PRELOAD of this adds the milliseconds in the file that KEFU_CLOCK_FILE names. The monotonic clocks stay as they
// are, as on a machine whose clock is set. (Debian's libfaketime ends redis-server: it and jemalloc call each other.)
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *offset;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("KEFU_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *memory = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (memory != MAP_FAILED) offset = memory;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = (int)syscall(SYS_clock_gettime, clock, now);
    if (status != 0 || offset == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return status;
    long long milliseconds = *offset + now->tv_nsec / 1000000;
    now->tv_sec += milliseconds / 1000 - (milliseconds % 1000 < 0);
    now->tv_nsec = now->tv_nsec % 1000000 + (milliseconds % 1000 + (milliseconds % 1000 < 0) * 1000) * 1000000;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (result) *result = precise.tv_sec;
    return precise.tv_sec;
}
