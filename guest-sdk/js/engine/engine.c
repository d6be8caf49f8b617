// A guest of ABI 1 that runs a script in QuickJS.
//
// The script is an immediately invoked function that calls __weir.serve with a function for each event that it handles, see
// ../runtime.mjs. Such a function returns what its handler returned, perhaps a promise. Nothing of an event outlives it:
// the jobs of promises run until there are none, and a promise that is then still pending is an error.

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../c/weir_abi.h"
#include "alloc.h"
#include "json.h"
#include "quickjs.h"
#include "script.h"

enum {
    MIN_INBOUND = 4 << 10,  // so that small messages ask for room once
    MIN_SCRATCH = 1 << 10,  // attributes and states are usually smaller
    MAX_FILL = 1 << 20,     // random bytes at once, the host's bound
    MAX_EVENTS = 10,        // their numbers are less
    MAX_REJECTIONS = 8,     // promises that may be rejected before somebody looks; more count as looked at

    // How deep scripts may recurse, in bytes of the stack in memory, of which a call in a script takes some 300. The
    // same call takes some 16 KiB of what weir estimates the machine's stack with, and may have 1 MiB of that unless a
    // configuration says otherwise: a script shall get its RangeError before it is stopped.
    SCRIPT_STACK = 15 << 10,

    // The engine collects cycles when that much is allocated, and then again when that has grown by half.
    GC_THRESHOLD = 1 << 20,
};

static JSRuntime *runtime;
static JSContext *context;
static bool broken; // the script itself has failed

// Functions of the script; undefined ones are not there.
static JSValue handlers[MAX_EVENTS]; // by event: (conn, arg, payload) → what the handler has returned
static JSValue status_of;            // (event, result) → the status that a result other than undefined means
static JSValue failed;               // (event, thrown) → the status of a failure, which it logs

static int32_t current = -1; // the event that runs

// What the host writes results to. Between calls it holds nothing.
static struct {
    uint8_t *data;
    uint32_t size;
} scratch, inbound;

static bool reserve(uint32_t size) {
    if (size <= scratch.size) return true;
    uint8_t *data = realloc(scratch.data, size);
    if (!data) return false;
    scratch.data = data;
    scratch.size = size;
    return true;
}

// Bytes of a script's value for the duration of one call of the host.
struct lent {
    const void *data;
    size_t size;
    const char *string; // to be freed
};

static bool lend(JSContext *ctx, struct lent *l, JSValueConst value) {
    l->string = NULL;
    if (JS_IsString(value)) {
        l->string = JS_ToCStringLen(ctx, &l->size, value);
        l->data = l->string;
        return l->data != NULL;
    }
    size_t offset, length, whole;
    JSValue buffer = JS_GetTypedArrayBuffer(ctx, value, &offset, &length, NULL);
    if (JS_IsException(buffer)) return false;
    // The script's value keeps the buffer alive, and no script runs before the call is over.
    const uint8_t *data = JS_GetArrayBuffer(ctx, &whole, buffer);
    JS_FreeValue(ctx, buffer);
    if (!data && whole != 0) return false;
    l->data = data + offset;
    l->size = length;
    return true;
}

static void release(JSContext *ctx, struct lent *l) {
    if (l->string) JS_FreeCString(ctx, l->string);
}

static JSValue new_bytes(JSContext *ctx, const uint8_t *data, uint32_t size) {
    JSValue buffer = JS_NewArrayBufferCopy(ctx, data, size);
    if (JS_IsException(buffer)) return buffer;
    JSValue args[] = {buffer, JS_UNDEFINED, JS_UNDEFINED}; // all of the buffer
    JSValue array = JS_NewTypedArray(ctx, 3, args, JS_TYPED_ARRAY_UINT8);
    JS_FreeValue(ctx, buffer);
    return array;
}

// What a host function has written to scratch, or why it has not.
static JSValue result_text(JSContext *ctx, int32_t length) {
    if (length < 0) return JS_NewInt32(ctx, length);
    if (length > (int32_t)scratch.size) return JS_ThrowOutOfMemory(ctx);
    return JS_NewStringLen(ctx, (char *)scratch.data, length);
}

static JSValue result_bytes(JSContext *ctx, int32_t length) {
    if (length < 0) return JS_NewInt32(ctx, length);
    if (length > (int32_t)scratch.size) return JS_ThrowOutOfMemory(ctx);
    return new_bytes(ctx, scratch.data, length);
}

#include "bindings.h"

// What a script has beyond host functions.

// onFailure(failed) says who logs what is thrown.
static JSValue js_on_failure(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    JS_FreeValue(ctx, failed);
    failed = JS_DupValue(ctx, argv[0]);
    return JS_UNDEFINED;
}

// serve(handlers, statusOf) begins service.
static JSValue js_serve(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    for (int event = 0; event < MAX_EVENTS; event++) {
        JS_FreeValue(ctx, handlers[event]);
        handlers[event] = JS_GetPropertyUint32(ctx, argv[0], event);
        if (JS_IsException(handlers[event])) return JS_EXCEPTION;
    }
    JS_FreeValue(ctx, status_of);
    status_of = JS_DupValue(ctx, argv[1]);
    return JS_UNDEFINED;
}

// marks() says where the parts of the script come from (JSON, see internal/bundle/marks.go); empty if nobody knows.
static JSValue js_marks(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    uint32_t size = marks_bytes();
    char *text = js_malloc(ctx, size + 1);
    if (!text) return JS_EXCEPTION;
    script_copy(text, script_bytes(), size);
    JSValue marks = JS_NewStringLen(ctx, text, size);
    js_free(ctx, text);
    return marks;
}

static JSValue js_utf8_encode(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    struct lent text;
    if (!lend(ctx, &text, argv[0])) return JS_EXCEPTION;
    JSValue bytes = new_bytes(ctx, text.data, text.size);
    release(ctx, &text);
    return bytes;
}

static JSValue js_utf8_decode(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    struct lent bytes;
    if (!lend(ctx, &bytes, argv[0])) return JS_EXCEPTION;
    JSValue text = JS_NewStringLen(ctx, bytes.data, bytes.size);
    release(ctx, &bytes);
    return text;
}

// Math.random, from the host: a number from 0 to 1, in steps of 2^-53.
static JSValue js_math_random(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    uint64_t bits = 0;
    weir_random(&bits, sizeof bits);
    return JS_NewFloat64(ctx, (double)(bits >> 11) * 0x1p-53);
}

static const JSCFunctionListEntry services[] = {
    JS_CFUNC_DEF("onFailure", 1, js_on_failure),
    JS_CFUNC_DEF("serve", 2, js_serve),
    JS_CFUNC_DEF("marks", 0, js_marks),
    JS_CFUNC_DEF("utf8Encode", 1, js_utf8_encode),
    JS_CFUNC_DEF("utf8Decode", 1, js_utf8_decode),
};

// Failures.

static void log_error(const char *text) { weir_log(WEIR_LEVEL_ERROR, text, strlen(text)); }

// Logs what was thrown, takes it, and returns the status that it means. The script says how: it knows its sources. If it
// cannot, which is likely when memory or stack are used up, the value's own text must do.
static int32_t report(JSValue thrown) {
    int32_t status = 1;
    JSValue args[] = {JS_NewInt32(context, current), thrown};
    JSValue result = JS_IsUndefined(failed) ? JS_UNDEFINED : JS_Call(context, failed, JS_UNDEFINED, 2, args);
    if (JS_IsNumber(result)) {
        JS_ToInt32(context, &status, result);
    } else {
        if (JS_IsException(result)) JS_FreeValue(context, JS_GetException(context));
        size_t size;
        const char *text = JS_ToCStringLen(context, &size, thrown);
        if (text) {
            weir_log(WEIR_LEVEL_ERROR, text, size);
            JS_FreeCString(context, text);
        } else {
            JS_FreeValue(context, JS_GetException(context));
            log_error("the script has thrown something that has no text");
        }
    }
    JS_FreeValue(context, thrown);
    return status ? status : 1;
}

// Promises that were rejected while nobody looked.
static JSValue rejected[MAX_REJECTIONS];
static int rejections;

static void track(JSContext *ctx, JSValueConst promise, JSValueConst reason, JS_BOOL handled, void *opaque) {
    if (!handled) {
        if (rejections < MAX_REJECTIONS) rejected[rejections++] = JS_DupValue(ctx, promise);
        return;
    }
    for (int i = 0; i < rejections; i++) {
        if (JS_VALUE_GET_PTR(rejected[i]) != JS_VALUE_GET_PTR(promise)) continue;
        JSValue found = rejected[i];
        rejected[i] = rejected[--rejections];
        JS_FreeValue(ctx, found);
        return;
    }
}

// Runs what promises have left to do. It reports whether all went well; own is looked at by the caller.
static bool settle(JSValueConst own) {
    bool well = true;
    JSContext *ctx;
    for (int more; (more = JS_ExecutePendingJob(runtime, &ctx)) != 0;) {
        if (more > 0) continue;
        report(JS_GetException(ctx));
        well = false;
    }
    while (rejections > 0) {
        JSValue promise = rejected[--rejections];
        if (!JS_IsObject(own) || JS_VALUE_GET_PTR(promise) != JS_VALUE_GET_PTR(own)) {
            report(JS_PromiseResult(context, promise));
            well = false;
        }
        JS_FreeValue(context, promise);
    }
    return well;
}

// Life.

static bool start(void) {
    runtime = JS_NewRuntime2(&alloc_functions, NULL);
    if (!runtime) return false;
    JS_SetMaxStackSize(runtime, SCRIPT_STACK);
    JS_SetGCThreshold(runtime, GC_THRESHOLD);
    JS_SetHostPromiseRejectionTracker(runtime, track, NULL);
    context = JS_NewContext(runtime);
    if (!context || !json_install(context) || !reserve(MIN_SCRATCH)) return false;
    for (int event = 0; event < MAX_EVENTS; event++) handlers[event] = JS_UNDEFINED;
    status_of = failed = JS_UNDEFINED;

    JSValue global = JS_GetGlobalObject(context);
    JSValue own = JS_NewObject(context);
    JS_SetPropertyFunctionList(context, own, bindings, sizeof bindings / sizeof *bindings);
    JS_SetPropertyFunctionList(context, own, services, sizeof services / sizeof *services);
    JS_DefinePropertyValueStr(context, global, "__weir", own, 0);
    JSValue Math = JS_GetPropertyStr(context, global, "Math");
    JS_SetPropertyStr(context, Math, "random", JS_NewCFunction(context, js_math_random, "random", 0));
    JS_FreeValue(context, Math);
    JS_FreeValue(context, global);
    return true;
}

// Runs the script, which calls serve. It reports whether it went well.
static bool run_script(void) {
    uint32_t size = script_bytes();
    if (size == 0) {
        log_error("this is the engine without a script; weir build adds one");
        return false;
    }
    char *text = malloc(size + 1);
    if (!text) {
        log_error("the script does not fit into memory");
        return false;
    }
    script_copy(text, 0, size);
    text[size] = 0; // as JS_Eval wants it
    JSValue result = JS_Eval(context, text, size, "script", JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_STRICT);
    free(text);
    if (JS_IsException(result)) {
        report(JS_GetException(context));
        return false;
    }
    JS_FreeValue(context, result);
    return settle(JS_UNDEFINED);
}

__attribute__((export_name("weir_abi_1"))) int64_t weir_abi_1(void) {
    broken = !start() || !run_script();
    if (broken) return 1 << WEIR_EVENT_INIT; // where it is refused
    int64_t handles = 0;
    for (int event = 0; event < MAX_EVENTS; event++) {
        if (!JS_IsUndefined(handlers[event])) handles |= 1 << event;
    }
    return handles;
}

__attribute__((export_name("weir_inbound"))) void *weir_inbound(uint32_t size) {
    if (size > inbound.size) {
        // The next power of two, so that messages that get longer bit by bit do not each cost a buffer.
        uint32_t room = MIN_INBOUND;
        while (room < size) {
            if (room > UINT32_MAX / 2) return NULL;
            room *= 2;
        }
        free(inbound.data);
        inbound.data = malloc(room);
        inbound.size = inbound.data ? room : 0;
    }
    return inbound.data;
}

// The status of what a handler has returned at last, which is taken.
static int32_t status_from(JSValue result) {
    if (JS_IsUndefined(result)) return 0;
    int32_t status = 1;
    JSValue args[] = {JS_NewInt32(context, current), result};
    JSValue number = JS_Call(context, status_of, JS_UNDEFINED, 2, args);
    JS_FreeValue(context, result);
    if (JS_IsException(number)) return report(JS_GetException(context));
    JS_ToInt32(context, &status, number);
    JS_FreeValue(context, number);
    return status;
}

// The same of what may be a promise.
static int32_t status_after(JSValue result) {
    int32_t status = 1;
    switch ((int)JS_PromiseState(context, result)) {
    case JS_PROMISE_PENDING:
        log_error("the handler waits for something that does not come within its event: only what is there already can be "
                  "awaited, and timers come as events of their own");
        break;
    case JS_PROMISE_REJECTED:
        status = report(JS_PromiseResult(context, result));
        break;
    case JS_PROMISE_FULFILLED:
        status = status_from(JS_PromiseResult(context, result));
        break;
    default:
        return status_from(result);
    }
    JS_FreeValue(context, result);
    return status;
}

__attribute__((export_name("weir_event"))) int32_t weir_event(int32_t event, int64_t conn, int64_t arg, const uint8_t *data, uint32_t size) {
    if (broken || event < 0 || event >= MAX_EVENTS) return 1;
    current = event;
    JS_UpdateStackTop(runtime);
    bool binary = event == WEIR_EVENT_BINARY || event == WEIR_EVENT_RESTORE;
    JSValue args[] = {
        JS_NewBigInt64(context, conn),
        JS_NewInt64(context, arg),
        binary ? new_bytes(context, data, size) : JS_NewStringLen(context, (const char *)data, size),
    };
    JSValue result = JS_EXCEPTION;
    if (!JS_IsException(args[0]) && !JS_IsException(args[2])) result = JS_Call(context, handlers[event], JS_UNDEFINED, 3, args);
    JS_FreeValue(context, args[0]);
    JS_FreeValue(context, args[2]);
    if (JS_IsException(result)) {
        int32_t status = report(JS_GetException(context));
        settle(JS_UNDEFINED);
        return status;
    }
    bool well = settle(result);
    int32_t status = status_after(result);
    return well || status != 0 ? status : 1;
}
