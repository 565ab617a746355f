/* Loaded into a run by a test: makes each fdatasync slow, so that kills come before it ends, and
 * notes in the file that YAGURA_SYNCED names how many bytes of which inode each one covered. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    struct stat before;
    int known = fstat(fd, &before);
    struct timespec slow = {0, 20 * 1000 * 1000};
    nanosleep(&slow, NULL);
    int answer = real(fd);
    const char *notes = getenv("YAGURA_SYNCED");
    if (answer == 0 && known == 0 && notes != NULL) {
        /* Before the caller knows: what it acknowledges is noted. */
        int out = open(notes, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (out >= 0) {
            char line[64];
            int length = snprintf(line, sizeof line, "%llu %llu\n", (unsigned long long)before.st_ino,
                                  (unsigned long long)before.st_size);
            if (write(out, line, (size_t)length) < 0) {
                abort();
            }
            close(out);
        }
    }
    return answer;
}
