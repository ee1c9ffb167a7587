#define _GNU_SOURCE
#include "CRecording.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int crecording_exchange(const char *one, const char *other) {
  return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

long crecording_find(const void *bytes, size_t length, const void *wanted, size_t wanted_length) {
  const char *found = memmem(bytes, length, wanted, wanted_length);
  return found ? found - (const char *)bytes : -1;
}
