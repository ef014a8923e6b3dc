/* Loaded before libc (LD_PRELOAD): records what a program does to its SQLite files, in the order in which it does it, so
 * that a test can build the files that a power cut at any moment would have left behind.
 *
 * RECORDER_LOG names the file to append to, RECORDER_DATABASE the database. Recorded are writes, truncations and flushes of
 * the database, its WAL and its rollback journal; that one of them was created or unlinked, and flushes of their folder, by
 * which that lasts; and each answer "HTTP/1.1 2xx" before it is sent. The -shm file is memory: it is not recorded.
 *
 * A write is recorded before it is done and a flush after, under one lock with what it records: where the program is killed
 * in between, the record has a write too many or a flush too few, and never promises what the disk has not done.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* As many bytes of an answer are kept as its head and a short body need. */
#define ANSWER 2048

struct entry {
    uint8_t kind; /* w t f c u d a: write, truncate, flush, create, unlink, flush of the folder, answer */
    uint8_t file; /* 0 database, 1 WAL, 2 rollback journal */
    uint8_t unused[2];
    uint32_t length;
    uint64_t offset;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record = -1;
static char database[4096];
static char folder[4096];
static const char *const suffixes[] = {"", "-wal", "-journal"};

/* What libc would do. */
#define REAL(type, name, ...)                                   \
    static type (*real)(__VA_ARGS__);                           \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void start(void) {
    const char *log = getenv("RECORDER_LOG"), *name = getenv("RECORDER_DATABASE");
    if (!log || !name || strlen(name) >= sizeof database) abort();
    strcpy(database, name);
    strcpy(folder, name);
    *strrchr(folder, '/') = 0;
    record = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (record < 0) abort();
}

static void append(uint8_t kind, int file, uint64_t offset, const void *bytes, size_t length) {
    struct entry entry = {.kind = kind, .file = (uint8_t)file, .length = (uint32_t)length, .offset = offset};
    char *all = malloc(sizeof entry + length);
    if (!all) abort();
    memcpy(all, &entry, sizeof entry);
    if (length) memcpy(all + sizeof entry, bytes, length);
    ssize_t size = (ssize_t)(sizeof entry + length);
    if (syscall(SYS_write, record, all, size) != size) abort();
    free(all);
}

/* Which of the files this path names, or -1. */
static int file_of_path(const char *path) {
    size_t length = strlen(database);
    if (record < 0 || strncmp(path, database, length) != 0) return -1;
    for (int file = 0; file < 3; file++)
        if (strcmp(path + length, suffixes[file]) == 0) return file;
    return -1;
}

static int path_of_fd(int fd, char *path, size_t room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, room - 1);
    if (length < 0) return -1;
    path[length] = 0;
    return 0;
}

static int file_of_fd(int fd) {
    char path[4096];
    return path_of_fd(fd, path, sizeof path) ? -1 : file_of_path(path);
}

static ssize_t write_at(int fd, const void *bytes, size_t length, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    int file = file_of_fd(fd);
    if (file < 0) return real(fd, bytes, length, offset);
    pthread_mutex_lock(&lock);
    append('w', file, (uint64_t)offset, bytes, length);
    ssize_t written = real(fd, bytes, length, offset);
    /* A disk that is full is another test's. */
    if (written != (ssize_t)length) abort();
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return write_at(fd, bytes, length, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return write_at(fd, bytes, length, offset); }

static int truncate_at(int fd, off64_t length) {
    REAL(int, "ftruncate64", int, off64_t);
    int file = file_of_fd(fd);
    if (file < 0) return real(fd, length);
    pthread_mutex_lock(&lock);
    append('t', file, (uint64_t)length, NULL, 0);
    int result = real(fd, length);
    if (result) abort();
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) { return truncate_at(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncate_at(fd, length); }

static int flush(int fd, int (*real)(int)) {
    char path[4096];
    if (path_of_fd(fd, path, sizeof path)) return real(fd);
    int file = file_of_path(path);
    int is_folder = strcmp(path, folder) == 0;
    if (file < 0 && !is_folder) return real(fd);
    pthread_mutex_lock(&lock);
    int result = real(fd);
    if (result == 0) append(is_folder ? 'd' : 'f', is_folder ? 0 : file, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return flush(fd, real);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return flush(fd, real);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    int file = file_of_path(path);
    if (file < 0) return real(path);
    pthread_mutex_lock(&lock);
    int result = real(path);
    if (result == 0) append('u', file, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
    REAL(int, "openat64", int, const char *, int, ...);
    int file = flags & O_CREAT ? file_of_path(path) : -1;
    if (file < 0) return real(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = access(path, F_OK) != 0;
    int fd = real(at, path, flags, mode);
    if (fd >= 0 && is_new) append('c', file, 0, NULL, 0);
    if (fd >= 0 && !is_new && flags & O_TRUNC) append('t', file, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

/* The mode is there only where a file may be created. */
#define OPEN(name, first, at)                                        \
    int name(first const char *path, int flags, ...) {               \
        mode_t mode = 0;                                             \
        if (flags & (O_CREAT | O_TMPFILE)) {                         \
            va_list rest;                                            \
            va_start(rest, flags);                                   \
            mode = va_arg(rest, mode_t);                             \
            va_end(rest);                                            \
        }                                                            \
        return open_at(at, path, flags, mode);                       \
    }
#define NOTHING
#define FOLDER int at,
OPEN(open, NOTHING, AT_FDCWD)
OPEN(open64, NOTHING, AT_FDCWD)
OPEN(openat, FOLDER, at)
OPEN(openat64, FOLDER, at)

static void note_answer(const void *bytes, size_t length) {
    if (record < 0 || length < 12 || memcmp(bytes, "HTTP/1.1 2", 10) != 0) return;
    pthread_mutex_lock(&lock);
    append('a', 0, 0, bytes, length < ANSWER ? length : ANSWER);
    pthread_mutex_unlock(&lock);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    REAL(ssize_t, "send", int, const void *, size_t, int);
    note_answer(bytes, length);
    return real(fd, bytes, length, flags);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    note_answer(bytes, length);
    return real(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (number > 0) note_answer(parts[0].iov_base, parts[0].iov_len);
    return real(fd, parts, number);
}
