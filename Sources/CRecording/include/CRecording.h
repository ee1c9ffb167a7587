// What the recording needs of the system that no Swift source can ask for.
#pragma once

#include <stddef.h>
#include <stdint.h>

// CRC-32C (Castagnoli, RFC 3720 section 12.1), the checksum of a recording's chunks, by the instruction of x86-64 (SSE4.2) where
// there is one. The checksum of bytes that follow others: 0 to begin with, else what an earlier call returned.
uint32_t crecording_crc32c(uint32_t before, const void *bytes, size_t length);

// The same without the instruction, for processors that lack it, and to test the one against the other.
uint32_t crecording_crc32c_table(uint32_t before, const void *bytes, size_t length);

// Swaps two names of files in one step: renameat2(2), RENAME_EXCHANGE. Returns 0, or -1 with errno.
int crecording_exchange(const char *one, const char *other);

// Where bytes occur first in others: memmem(3), which is a GNU extension. Returns the offset, or -1.
long crecording_find(const void *bytes, size_t length, const void *wanted, size_t wanted_length);
