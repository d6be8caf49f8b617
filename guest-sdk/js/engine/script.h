// The script that the engine runs. An engine as it is linked has none: weir build rewrites these two functions in a copy
// of it, and adds the script as a data segment.
#ifndef WEIR_SCRIPT_H
#define WEIR_SCRIPT_H

#include <stdint.h>

// script_bytes says how long the script is, 0 for an engine without one. What follows the script in the segment is not
// counted.
uint32_t script_bytes(void);

// script_copy copies size bytes of the segment from the offset at on to to.
void script_copy(void *to, uint32_t at, uint32_t size);

// marks_bytes says how long the text behind the script is that says where its parts come from.
uint32_t marks_bytes(void);

#endif
