// Memory for QuickJS. Scripts make and drop small things all the time, so those come from lists of free blocks, one list
// a size; larger ones come from malloc. The sizes are counted exactly, which is what the collector of cycles goes by.
#ifndef WEIR_ALLOC_H
#define WEIR_ALLOC_H

#include "quickjs.h"

extern const JSMallocFunctions alloc_functions;

#endif
