// JSON.parse and JSON.stringify of what messages are like, some two to three times as fast as those of QuickJS, which do
// all the rest.
#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include "quickjs.h"

// json_install puts them in the place of those of QuickJS. It reports whether there was memory for it.
int json_install(JSContext *ctx);

#endif
