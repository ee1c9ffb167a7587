#pragma once
/// Asks the processor to have the line at `address` in its cache soon. Never faults, whatever the address.
static inline void prefetch_line(const void *address) { __builtin_prefetch(address); }
