#include "CRecording.h"

#include <pthread.h>
#include <string.h>

// Slicing by eight: table[k][b] is the checksum of byte b followed by k zero bytes.
static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int has_instruction;

static void prepare(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0x82f63b78u : 0);
    table[0][byte] = value;
  }
  for (int slice = 1; slice < 8; slice++)
    for (int byte = 0; byte < 256; byte++)
      table[slice][byte] = table[slice - 1][byte] >> 8 ^ table[0][table[slice - 1][byte] & 255];
#if defined(__x86_64__)
  __builtin_cpu_init();
  has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

uint32_t crecording_crc32c_table(uint32_t before, const void *bytes, size_t length) {
  pthread_once(&once, prepare);
  const unsigned char *next = bytes;
  uint32_t value = ~before;
  for (; length >= 8; length -= 8, next += 8) {
    uint32_t low = value ^ ((uint32_t)next[0] | (uint32_t)next[1] << 8 | (uint32_t)next[2] << 16 | (uint32_t)next[3] << 24);
    value = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24]
          ^ table[3][next[4]] ^ table[2][next[5]] ^ table[1][next[6]] ^ table[0][next[7]];
  }
  for (; length > 0; length--) value = value >> 8 ^ table[0][(value ^ *next++) & 255];
  return ~value;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t with_instruction(uint32_t before, const unsigned char *next, size_t length) {
  uint64_t value = (uint32_t)~before;
  for (; length >= 8; length -= 8, next += 8) {
    uint64_t word;
    memcpy(&word, next, 8);
    value = __builtin_ia32_crc32di(value, word);
  }
  uint32_t rest = (uint32_t)value;
  for (; length > 0; length--) rest = __builtin_ia32_crc32qi(rest, *next++);
  return ~rest;
}
#endif

uint32_t crecording_crc32c(uint32_t before, const void *bytes, size_t length) {
  pthread_once(&once, prepare);
#if defined(__x86_64__)
  if (has_instruction) return with_instruction(before, bytes, length);
#endif
  return crecording_crc32c_table(before, bytes, length);
}
