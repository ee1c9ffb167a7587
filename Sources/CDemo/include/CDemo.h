#ifndef CDEMO_H
#define CDEMO_H
#include <stddef.h>

/* The bundled demo recording (trace.dat version 7, zstd): a QEMU guest booting on a kvm_intel host, Linux 6.1.
   It is part of the binary, so that one file is all there is to install. */
const unsigned char *cdemo_bytes(void);
size_t cdemo_size(void);
#endif
