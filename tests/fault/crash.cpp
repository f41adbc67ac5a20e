// Kills the whole process group, by SIGKILL, at a chosen file operation: LD_PRELOAD of the programs that tests/fault and benchmarks/chaos.py start.
//   CRASH_CALL   open, write, fsync, mkdir, rename or unlink
//   CRASH_PATH   part of the path (of a rename: of "from -> to")
//   CRASH_COUNT  at which such call (1: the first)
//   CRASH_SIGNAL instead: send this signal to the calling process alone, and go on
//   CRASH_SLEEP  instead: let the call hang for so many seconds
//   CRASH_LOG    instead: append "call path" of every such call of any kind to this file, and kill nothing
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

static std::atomic<int> seen{0};

static std::string path_of(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return std::string(path, length < 0 ? 0 : length);
}

template <class Function> static Function real(const char *name) { return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name)); }

static void at(const char *call, const std::string &path) {
    const char *part = getenv("CRASH_PATH");
    if (!part || path.find(part) == std::string::npos) return;
    if (const char *log = getenv("CRASH_LOG")) {
        std::string line = std::string(call) + " " + path + "\n";
        int fd = real<int (*)(const char *, int, ...)>("open")(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        real<ssize_t (*)(int, const void *, size_t)>("write")(fd, line.data(), line.size());
        close(fd);
        return;
    }
    const char *wanted = getenv("CRASH_CALL"), *count = getenv("CRASH_COUNT");
    if (!wanted || strcmp(wanted, call) || ++seen != (count ? atoi(count) : 1)) return;
    if (const char *number = getenv("CRASH_SIGNAL")) {
        kill(getpid(), atoi(number));
        return;
    }
    if (const char *seconds = getenv("CRASH_SLEEP")) {
        for (unsigned left = atoi(seconds); left; left = sleep(left)) {} // a signal ends it early
        return;
    }
    // So that a death of another kind is not taken for this one.
    std::string said = std::string("crash.cpp: SIGKILL at ") + call + " " + path + "\n";
    real<ssize_t (*)(int, const void *, size_t)>("write")(2, said.data(), said.size());
    kill(0, SIGKILL);
    pause();
}

#define OPEN(name)                                                                   \
    extern "C" int name(const char *path, int flags, ...) {                          \
        va_list rest;                                                                \
        va_start(rest, flags);                                                       \
        mode_t mode = va_arg(rest, mode_t);                                          \
        va_end(rest);                                                                \
        if (flags & (O_WRONLY | O_RDWR)) at("open", path);                           \
        return real<int (*)(const char *, int, ...)>(#name)(path, flags, mode);      \
    }
OPEN(open)
OPEN(open64)

extern "C" int openat64(int folder, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (flags & (O_WRONLY | O_RDWR)) at("open", path);
    return real<int (*)(int, const char *, int, ...)>("openat64")(folder, path, flags, mode);
}

extern "C" ssize_t write(int fd, const void *data, size_t size) {
    if (getenv("CRASH_PATH")) at("write", path_of(fd));
    return real<ssize_t (*)(int, const void *, size_t)>("write")(fd, data, size);
}

extern "C" int fsync(int fd) {
    at("fsync", path_of(fd));
    return real<int (*)(int)>("fsync")(fd);
}

extern "C" int mkdir(const char *path, mode_t mode) {
    at("mkdir", path);
    return real<int (*)(const char *, mode_t)>("mkdir")(path, mode);
}

extern "C" int rename(const char *from, const char *to) {
    at("rename", std::string(from) + " -> " + to);
    return real<int (*)(const char *, const char *)>("rename")(from, to);
}

extern "C" int unlinkat(int folder, const char *path, int flags) {
    at("unlink", (path[0] == '/' ? "" : path_of(folder) + "/") + path);
    return real<int (*)(int, const char *, int)>("unlinkat")(folder, path, flags);
}

extern "C" int unlink(const char *path) {
    at("unlink", path);
    return real<int (*)(const char *)>("unlink")(path);
}

extern "C" int rmdir(const char *path) {
    at("unlink", path);
    return real<int (*)(const char *)>("rmdir")(path);
}
