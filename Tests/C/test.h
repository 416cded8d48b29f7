/* A small harness: counts checks, prints those that fail, knows how a plp call should fail. */
#ifndef TEST_H
#define TEST_H

#include <plp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Atomic int checks, failures;

/* Relaxed, or one thread's checks would come before another's, and the thread sanitizer would take no race for one. */
static void count(_Atomic int *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

#define CHECK(condition) check(condition, #condition, __FILE__, __LINE__)

static void check(bool holds, const char *condition, const char *file, int line)
{
    count(&checks);
    if (holds)
        return;
    count(&failures);
    fprintf(stderr, "%s:%d: %s\n", file, line, condition);
}

/* The call succeeds. */
#define OK(call) expect(call, PLP_OK, NULL, #call, __LINE__)

/* The call fails with this status, and a message that contains `text`. */
#define FAILS(call, status, text) expect(call, status, text, #call, __LINE__)
#define INVALID(call, text) FAILS(call, PLP_ERROR_INVALID_ARGUMENT, text)

static void expect(plp_status found, plp_status expected, const char *text, const char *call, int line)
{
    const char *message = plp_last_error_message();
    count(&checks);
    if (found == expected && (!text || strstr(message, text)))
        return;
    count(&failures);
    fprintf(stderr, "line %d: %s\n    status %d, expected %d; message \"%s\"", line, call, found, expected, message);
    fprintf(stderr, text ? ", expected to name \"%s\"\n" : "\n", text);
}

#endif
