#pragma once

// <sys/select.h> comes first: without it these headers and Glibc's module disagree over fd_set.
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
