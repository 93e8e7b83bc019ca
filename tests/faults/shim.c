/* Faults of a machine, worked from outside while a process runs: LD_PRELOADed into it by the tests.
 *
 * The first bytes of the file named by KENTONGAN_FAULTS are a `struct control`, mapped and read at
 * every call. It must never change what a process does while all of them are zero.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int64_t clock_offset_s; /* added to CLOCK_REALTIME */
    volatile int32_t sync_hangs;     /* fsync and fdatasync do not return while set */
    volatile int32_t write_errno;    /* pwrite, ftruncate and sync fail with it */
    volatile int32_t names_fail;     /* no host name resolves */
};

static struct control none;
static struct control *control = &none;

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("KENTONGAN_FAULTS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        control = page;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *at)
{
    static __typeof__(&clock_gettime) next;
    if (!next)
        next = NEXT(clock_gettime);
    int result = next(clock, at);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += control->clock_offset_s;
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    int result = NEXT(gettimeofday)(at, zone);
    if (result == 0)
        at->tv_sec += control->clock_offset_s;
    return result;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

static int sync_fault(void)
{
    while (control->sync_hangs)
        usleep(5000);
    if (!control->write_errno)
        return 0;
    errno = control->write_errno;
    return -1;
}

int fsync(int file) { return sync_fault() ? -1 : NEXT(fsync)(file); }
int fdatasync(int file) { return sync_fault() ? -1 : NEXT(fdatasync)(file); }

static int write_fault(void)
{
    if (!control->write_errno)
        return 0;
    errno = control->write_errno;
    return -1;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at)
{
    return write_fault() ? -1 : NEXT(pwrite64)(file, bytes, count, at);
}

int ftruncate64(int file, off64_t size)
{
    return write_fault() ? -1 : NEXT(ftruncate64)(file, size);
}

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    if (control->names_fail && name)
        return EAI_AGAIN;
    return NEXT(getaddrinfo)(name, service, hints, found);
}
