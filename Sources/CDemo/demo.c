#include "CDemo.h"

static const unsigned char demo[] = {
#embed "demo.trace.dat"
};

const unsigned char *cdemo_bytes(void) { return demo; }
size_t cdemo_size(void) { return sizeof demo; }
