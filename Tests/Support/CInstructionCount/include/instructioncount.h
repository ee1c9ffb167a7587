// The processor's own count of the instructions that this thread executed in user mode.
#pragma once
#include <stdint.h>

// Stores the count so far and returns 0, or returns -errno where it cannot be had (a virtual machine without a PMU,
// perf_event_paranoid).
int instructioncount_read(uint64_t *count);
