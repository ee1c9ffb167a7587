#define _GNU_SOURCE
#include "instructioncount.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

int instructioncount_read(uint64_t *count) {
  static _Thread_local int descriptor = -1, failure = 0;
  if (failure) return failure;
  if (descriptor < 0) {
    struct perf_event_attr attributes = {
      .type = PERF_TYPE_HARDWARE, .size = sizeof attributes, .config = PERF_COUNT_HW_INSTRUCTIONS,
      .exclude_kernel = 1, .exclude_hv = 1,
    };
    descriptor = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (descriptor < 0) return failure = -errno;
  }
  return read(descriptor, count, sizeof *count) == sizeof *count ? 0 : -EIO;
}
