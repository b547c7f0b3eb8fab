/* Storage that fails, for LD_PRELOAD.

   Reads of files whose path contains FAULT_PATH take FAULT_SLOW_US longer, and
   those of number FAULT_FROM to FAULT_TO (from 0, not included) fail as
   FAULT_ERRNO. Reads made to open a file (with read) are not counted. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long count;

static long number(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

static int is_meant(int fd) {
  char link[64], path[4096];
  const char *wanted = getenv("FAULT_PATH");
  if (wanted == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, wanted) != NULL;
}

static int fails(int fd) {
  if (!is_meant(fd)) return 0;
  usleep((useconds_t)number("FAULT_SLOW_US"));
  long n = atomic_fetch_add(&count, 1);
  if (n < number("FAULT_FROM") || n >= number("FAULT_TO")) return 0;
  errno = (int)number("FAULT_ERRNO");
  return 1;
}

typedef ssize_t (*pread_function)(int, void *, size_t, off_t);

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
  pread_function next = (pread_function)dlsym(RTLD_NEXT, "pread");
  return fails(fd) ? -1 : next(fd, data, size, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset) {
  pread_function next = (pread_function)dlsym(RTLD_NEXT, "pread64");
  return fails(fd) ? -1 : next(fd, data, size, offset);
}
