/* Loaded into a run beside libfaketime, which does not know C11's cnd_timedwait: waits until a point
 * of the wall clock as the kernel does, so that a clock that is set ends a wait early or late. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

static const long long SLICE = 20 * 1000 * 1000;
static const long long SECOND = 1000 * 1000 * 1000;

int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until) {
    for (;;) {
        struct timeval now;
        gettimeofday(&now, NULL);
        long long left = (until->tv_sec - now.tv_sec) * SECOND + until->tv_nsec - now.tv_usec * 1000LL;
        if (left <= 0) {
            return thrd_timedout;
        }
        struct timespec slice;
        clock_gettime(CLOCK_MONOTONIC, &slice);
        long long end = slice.tv_nsec + (left < SLICE ? left : SLICE);
        slice.tv_sec += end / SECOND;
        slice.tv_nsec = end % SECOND;
        if (pthread_cond_clockwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, CLOCK_MONOTONIC, &slice) == 0) {
            return thrd_success;
        }
    }
}
