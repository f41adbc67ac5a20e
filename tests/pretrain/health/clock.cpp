// LD_PRELOAD: the wall clock is CLOCK_SKEW seconds ahead.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <cstdlib>
#include <dlfcn.h>
#include <time.h>

extern "C" int clock_gettime(clockid_t clock, struct timespec *now) noexcept {
    static auto real = reinterpret_cast<int (*)(clockid_t, struct timespec *)>(dlsym(RTLD_NEXT, "clock_gettime"));
    int code = real(clock, now);
    const char *skew = getenv("CLOCK_SKEW");
    if (!code && clock == CLOCK_REALTIME && skew) now->tv_sec += atol(skew);
    return code;
}
