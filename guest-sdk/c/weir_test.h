// weir_test.h - a server in memory for tests of a handler: no sockets, no sandbox, virtual time.
//
//     #include "weir_test.h"
//     #include "handler.c"
//
//     int main(void) {
//         weir_test_start((struct weir_test_options){0});
//         weir_conn ann = weir_test_open("/lobby?name=ann");
//         weir_test_send(ann, "hello");
//         WEIR_TEST_TEXT(ann, "hello");
//         return weir_test_end();
//     }
//
//     cc -Isdk -o handler_test handler_test.c && ./handler_test
//
// It is built with the machine's own compiler, so that a debugger, sanitizers and coverage work. It keeps the promises of
// a real server: an event's effects take hold only if the handler returns 0, and a connection whose handler fails is closed
// with 1011. A test has one server; weir_test_start makes the next one. The handler's static variables stay.

#ifndef WEIR_TEST_H
#define WEIR_TEST_H

#ifdef __wasm__
#error "weir_test.h is for a native build"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir.h"

// The limits of a real server, at their defaults, and the room that a test has.
enum {
    WEIR_TEST_STATE = 16 << 10,
    WEIR_TEST_SAVED = 1 << 20,
    WEIR_TEST_REASON = 123,
    WEIR_TEST_TOPIC = 255,
    WEIR_TEST_TOPICS_PER_CONN = 128,
    WEIR_TEST_TIMERS_PER_CONN = 64,
    WEIR_TEST_MESSAGE = 1 << 20,
    WEIR_TEST_EFFECTS = 1000,
    WEIR_TEST_CONNS = 1024,
    WEIR_TEST_MEMBERS = 4096,
    WEIR_TEST_TIMERS = 1024,
    WEIR_TEST_LIST = 16,
};

// What the server's operator would have configured. Zero has one route for every path and grants topics and timers. The
// strings must outlive the server.
struct weir_test_options {
    const char *route;                         // pattern that paths must match, such as /chat/{room}
    const char *config;                        // the module's configuration (JSON); NULL is {}
    const char *keep_headers[WEIR_TEST_LIST];  // headers that the attribute header:NAME knows
    const char *deny[WEIR_TEST_LIST];          // capabilities that are not granted: topics, timers
    const char *metrics[WEIR_TEST_LIST];       // that the configuration declares; none: the capability is not granted
    const char *key;                           // what the instance is for, under the scope key
};

// A header of a request or of a response.
struct weir_test_header {
    const char *name, *value;
};

// A request to connect.
struct weir_test_request {
    const char *target; // path and query
    struct weir_test_header headers[WEIR_TEST_LIST];
    const char *protocols[WEIR_TEST_LIST]; // that the client offers, those it prefers first
};

// Starts a server and delivers the init event. False if the handler refuses its configuration.
static bool weir_test_start(struct weir_test_options options);

// Frees the server. Returns what main should: 0, or 1 if a check has failed.
static int weir_test_end(void);

// Connects a client to a target. 0 if it is rejected, which weir_test_status then explains.
static weir_conn weir_test_open(const char *target);
static weir_conn weir_test_dial(struct weir_test_request request);

// The HTTP status of the last request: 101 if it was accepted.
static int weir_test_status(void);

// A header that the handler added to the answer to the last request; NULL if there is none.
static const char *weir_test_answer(const char *name);

// Sends a message to the handler.
static void weir_test_send(weir_conn conn, const char *text);
static void weir_test_send_bytes(weir_conn conn, int kind, weir_str data);

// Takes the oldest message that the client has not taken yet; false if there is none.
static bool weir_test_next(weir_conn conn, int *kind, weir_str *data);

// The code that the connection was closed with, 0 if it is open; and the reason.
static int weir_test_closed(weir_conn conn);
static const char *weir_test_reason(weir_conn conn);

// Closes the connection from the client's side, with close frames both ways; or breaks it.
static void weir_test_close(weir_conn conn, int code, const char *reason);
static void weir_test_abort(weir_conn conn);

// Lets time pass. Timers that come due fire in their order, each at its own time.
static void weir_test_advance(int64_t ms);

// Announces that the server goes down in that time: to each connection, and to the module.
static void weir_test_drain(int64_t ms);

// Plays what happens to an instance of the scope connection, key or singleton when a new version of its module comes:
// save, then init and restore. False if one of them is refused. The handler's static variables stay as they are.
static bool weir_test_replace(void);

// How many connections are in a topic; what was added to a metric.
static int weir_test_members(const char *topic);
static int64_t weir_test_metric(const char *name);

// Fails the test, unless the condition holds. The test goes on.
#define WEIR_TEST_CHECK(condition) weir_test_check_((condition), __FILE__, __LINE__, #condition)

// Fails the test, unless the client's next message is this text.
#define WEIR_TEST_TEXT(conn, text) weir_test_text_((conn), (text), __FILE__, __LINE__)

// Fails the test, unless the client has taken all that came; unless the connection was closed with this code.
#define WEIR_TEST_NOTHING(conn) weir_test_nothing_((conn), __FILE__, __LINE__)
#define WEIR_TEST_CLOSED(conn, code) weir_test_closed_((conn), (code), __FILE__, __LINE__)

// The rest is the server.

#define WEIR_TEST_FUNC static __attribute__((unused))

struct weir_test_message_ {
    weir_conn to;
    int kind;
    weir_str data;
};

struct weir_test_attr_ {
    const char *name, *value;
    const struct weir_test_attr_ *next;
};

struct weir_test_client_ {
    weir_conn id; // its place, counted from 1
    const struct weir_test_attr_ *attrs;
    weir_str state;
    int seen;     // so many of all messages were looked through
    bool closing; // a close was asked for
    bool left;    // the close event runs, or has run
    bool gone;    // it has run, or the request was rejected
    int code;
    bool clean;
    const char *reason;
};

struct weir_test_member_ {
    weir_str topic;
    weir_conn conn;
};

struct weir_test_timer_ {
    weir_conn conn;
    int64_t id, due, every; // every 0: once
    int order;              // timers due together fire in the order in which they were set
    bool set;
};

// All that an event can change: a copy of it takes everything back. What pointers lead to stays until the end.
struct weir_test_server_ {
    struct weir_test_client_ clients[WEIR_TEST_CONNS];
    int client_count;
    int message_count; // to all clients, in their order
    struct weir_test_member_ members[WEIR_TEST_MEMBERS];
    int member_count;
    struct weir_test_timer_ timers[WEIR_TEST_TIMERS];
    int timers_set;
    int64_t metrics[WEIR_TEST_LIST];
    weir_str saved;
    const char *protocol; // of the request that is decided about
};

static struct {
    struct weir_test_server_ now, before;
    struct weir_test_options options;
    struct weir_test_message_ *messages;
    int message_room;
    const struct weir_test_request *asked; // in an upgrade event
    struct weir_test_header answer[WEIR_TEST_LIST];
    int answer_count;
    int64_t start_ms, now_ms, generation;
    uint64_t random;
    weir_conn conn; // of the event that runs
    int event, effects, status, failures;
    void **kept; // what was allocated
    int kept_count;
} weir_test_;

static uint64_t weir_abi_1(void);
static int32_t weir_event(int32_t event, weir_conn conn, int64_t arg, const char *ptr, uint32_t len);

// Ends the program unless the test can go on.
WEIR_TEST_FUNC void weir_test_must_(bool can, const char *reason) {
    if (can) return;
    fprintf(stderr, "weir_test: %s\n", reason);
    abort();
}

// Allocates memory that is freed at the end.
WEIR_TEST_FUNC void *weir_test_new_(size_t len) {
    void *room = malloc(len);
    weir_test_.kept = realloc(weir_test_.kept, (size_t)(weir_test_.kept_count + 1) * sizeof *weir_test_.kept);
    weir_test_must_(room && weir_test_.kept, "out of memory");
    return weir_test_.kept[weir_test_.kept_count++] = room;
}

// Copies bytes, with a 0 behind them.
WEIR_TEST_FUNC char *weir_test_keep_(const void *data, size_t len) {
    char *copy = weir_test_new_(len + 1);
    if (len) memcpy(copy, data, len);
    copy[len] = 0;
    return copy;
}

// Puts one string behind another.
WEIR_TEST_FUNC char *weir_test_concat_(const char *a, const char *b) {
    size_t head = strlen(a), tail = strlen(b);
    char *both = weir_test_new_(head + tail + 1);
    memcpy(both, a, head);
    memcpy(both + head, b, tail + 1);
    return both;
}

WEIR_TEST_FUNC weir_str weir_test_str_(const void *data, uint32_t len) { return (weir_str){weir_test_keep_(data, len), len}; }

WEIR_TEST_FUNC bool weir_test_listed_(const char *const *list, const char *word) {
    for (int i = 0; i < WEIR_TEST_LIST && list[i]; i++)
        if (strcmp(list[i], word) == 0) return true;
    return false;
}

WEIR_TEST_FUNC bool weir_test_same_name_(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if ((*a >= 'A' && *a <= 'Z' ? *a | 0x20 : *a) != (*b >= 'A' && *b <= 'Z' ? *b | 0x20 : *b)) return false;
    return *a == *b;
}

// The client of a connection, also of one that is gone.
WEIR_TEST_FUNC struct weir_test_client_ *weir_test_client_(weir_conn conn) {
    weir_test_must_(conn > 0 && conn <= (weir_conn)weir_test_.now.client_count, "there is no such connection");
    return &weir_test_.now.clients[conn - 1];
}

WEIR_TEST_FUNC void weir_test_leave_(struct weir_test_client_ *c, int code, const char *reason, bool clean) {
    c->closing = true;
    c->code = code;
    c->reason = weir_test_keep_(reason, strlen(reason));
    c->clean = clean;
}

// Runs one event, and takes everything back if the handler does not return 0.
WEIR_TEST_FUNC int weir_test_run_(int event, weir_conn conn, int64_t arg, weir_str payload) {
    if (!(weir_abi_1() >> event & 1)) return 0;
    char *lent = calloc(payload.len ? payload.len : 1, 1); // of its own: a sanitizer sees who reads beyond it or keeps it
    weir_test_must_(lent, "out of memory");
    if (payload.len) memcpy(lent, payload.ptr, payload.len);
    weir_test_.before = weir_test_.now;
    weir_test_.event = event;
    weir_test_.conn = conn;
    weir_test_.effects = 0;
    int status = weir_event(event, conn, arg, lent, payload.len);
    weir_test_.event = -1;
    free(lent);
    if (status) weir_test_.now = weir_test_.before;
    return status;
}

WEIR_TEST_FUNC void weir_test_deliver_(int event, weir_conn conn, int64_t arg, weir_str payload);

// Takes a connection off the books, and tells the handler.
WEIR_TEST_FUNC void weir_test_gone_(struct weir_test_client_ *c) {
    struct weir_test_server_ *s = &weir_test_.now;
    for (int i = 0; i < s->member_count; i++)
        if (s->members[i].conn == c->id) s->members[i--] = s->members[--s->member_count];
    for (int i = 0; i < WEIR_TEST_TIMERS; i++)
        if (s->timers[i].conn == c->id) s->timers[i].set = false;
    c->closing = false; // the close event finds it still there
    c->left = true;
    weir_test_deliver_(WEIR_EVENT_CLOSE, c->id, c->code | (int64_t)c->clean << 16, weir_cstr(c->reason));
    c->gone = true;
}

// Delivers an event, and closes the connection if it fails, and then whatever is to be closed.
WEIR_TEST_FUNC void weir_test_deliver_(int event, weir_conn conn, int64_t arg, weir_str payload) {
    if (weir_test_run_(event, conn, arg, payload) && conn && event != WEIR_EVENT_CLOSE)
        weir_test_leave_(weir_test_client_(conn), 1011, "handler failed", true);
    for (int i = 0; i < weir_test_.now.client_count; i++)
        if (weir_test_.now.clients[i].closing) weir_test_gone_(&weir_test_.now.clients[i]);
}

static __attribute__((unused)) bool weir_test_start(struct weir_test_options options) {
    int failures = weir_test_.failures;
    weir_test_end();
    memset(&weir_test_, 0, sizeof weir_test_);
    weir_test_.failures = failures;
    weir_test_.options = options;
    weir_test_.start_ms = weir_test_.now_ms = 1767225600000;
    weir_test_.generation = 1;
    weir_test_.random = 1;
    weir_test_.event = -1;
    return weir_test_run_(WEIR_EVENT_INIT, 0, 1, weir_cstr(options.config ? options.config : "{}")) == 0;
}

static __attribute__((unused)) int weir_test_end(void) {
    while (weir_test_.kept_count) free(weir_test_.kept[--weir_test_.kept_count]);
    free(weir_test_.kept);
    free(weir_test_.messages);
    weir_test_.kept = NULL;
    weir_test_.messages = NULL;
    return weir_test_.failures > 0;
}

// Notes an attribute.
WEIR_TEST_FUNC void weir_test_attr_(struct weir_test_client_ *c, const char *family, const char *name, const char *value) {
    struct weir_test_attr_ *attr = weir_test_new_(sizeof *attr);
    *attr = (struct weir_test_attr_){weir_test_concat_(family, name), value, c->attrs};
    c->attrs = attr;
}

// Compares a path with the route, part by part, and notes what stands for the route's names.
WEIR_TEST_FUNC bool weir_test_match_(struct weir_test_client_ *c, const char *path) {
    const char *route = weir_test_.options.route;
    if (!route) return true;
    for (;;) {
        size_t want = strcspn(route, "/"), have = strcspn(path, "/");
        if (*route == '{' && have > 0) {
            weir_test_attr_(c, WEIR_ATTR_PARAM, weir_test_keep_(route + 1, want - 2), weir_test_keep_(path, have));
        } else if (want != have || memcmp(route, path, want)) {
            return false;
        }
        route += want, path += have;
        if (!*route || !*path) return *route == *path;
        route++, path++;
    }
}

static __attribute__((unused)) weir_conn weir_test_open(const char *target) {
    return weir_test_dial((struct weir_test_request){.target = target});
}

// The values of a header of the request, joined as RFC 9110 §5.3 allows; NULL if there is none.
WEIR_TEST_FUNC const char *weir_test_joined_(const char *name) {
    const char *all = NULL;
    for (int i = 0; i < WEIR_TEST_LIST && weir_test_.asked->headers[i].name; i++)
        if (weir_test_same_name_(weir_test_.asked->headers[i].name, name))
            all = weir_test_concat_(all ? weir_test_concat_(all, ", ") : "", weir_test_.asked->headers[i].value);
    if (!weir_test_same_name_(name, "Sec-WebSocket-Protocol")) return all;
    for (int i = 0; i < WEIR_TEST_LIST && weir_test_.asked->protocols[i]; i++)
        all = weir_test_concat_(all ? weir_test_concat_(all, ", ") : "", weir_test_.asked->protocols[i]);
    return all;
}

static __attribute__((unused)) weir_conn weir_test_dial(struct weir_test_request request) {
    struct weir_test_server_ *s = &weir_test_.now;
    weir_test_must_(s->client_count < WEIR_TEST_CONNS, "too many connections");
    struct weir_test_client_ *c = &s->clients[s->client_count];
    *c = (struct weir_test_client_){.id = (weir_conn)s->client_count + 1, .seen = s->message_count};
    size_t len = strcspn(request.target, "?");
    char *target = weir_test_concat_(request.target, ""), *path = weir_test_keep_(target, len);
    weir_test_.answer_count = 0;
    if (!weir_test_match_(c, path)) {
        weir_test_.status = 404;
        return 0;
    }
    s->client_count++;
    s->protocol = "";
    weir_test_.asked = &request;
    weir_test_attr_(c, WEIR_ATTR_REMOTE_ADDR, "", "192.0.2.1:1234");
    weir_test_attr_(c, WEIR_ATTR_PATH, "", path);
    weir_test_attr_(c, WEIR_ATTR_QUERY, "", target[len] ? target + len + 1 : "");
    for (int i = 0; i < WEIR_TEST_LIST && weir_test_.options.keep_headers[i]; i++) {
        const char *name = weir_test_.options.keep_headers[i], *value = weir_test_joined_(name);
        if (value) weir_test_attr_(c, WEIR_ATTR_HEADER, name, value);
    }
    int status = weir_test_run_(WEIR_EVENT_UPGRADE, c->id, 0, WEIR_S(""));
    weir_test_.asked = NULL;
    if (status) {
        c->gone = true;
        weir_test_.status = status >= 400 && status <= 599 ? status : 500;
        return 0;
    }
    weir_test_.status = 101;
    weir_test_attr_(c, WEIR_ATTR_PROTOCOL, "", s->protocol);
    weir_conn conn = c->id;
    weir_test_deliver_(WEIR_EVENT_OPEN, conn, 0, WEIR_S(""));
    return conn;
}

static __attribute__((unused)) int weir_test_status(void) { return weir_test_.status; }

static __attribute__((unused)) const char *weir_test_answer(const char *name) {
    for (int i = 0; i < weir_test_.answer_count; i++)
        if (weir_test_same_name_(weir_test_.answer[i].name, name)) return weir_test_.answer[i].value;
    return NULL;
}

static __attribute__((unused)) void weir_test_send(weir_conn conn, const char *text) {
    weir_test_send_bytes(conn, WEIR_KIND_TEXT, weir_cstr(text));
}

static __attribute__((unused)) void weir_test_send_bytes(weir_conn conn, int kind, weir_str data) {
    weir_test_must_(!weir_test_client_(conn)->left, "a client sends on a connection that was closed");
    weir_test_deliver_(kind == WEIR_KIND_TEXT ? WEIR_EVENT_TEXT : WEIR_EVENT_BINARY, conn, 0, data);
}

static __attribute__((unused)) bool weir_test_next(weir_conn conn, int *kind, weir_str *data) {
    struct weir_test_client_ *c = weir_test_client_(conn);
    while (c->seen < weir_test_.now.message_count) {
        struct weir_test_message_ *m = &weir_test_.messages[c->seen++];
        if (m->to != conn) continue;
        *kind = m->kind;
        *data = m->data;
        return true;
    }
    return false;
}

static __attribute__((unused)) int weir_test_closed(weir_conn conn) {
    struct weir_test_client_ *c = weir_test_client_(conn);
    return c->left ? c->code : 0;
}

static __attribute__((unused)) const char *weir_test_reason(weir_conn conn) {
    struct weir_test_client_ *c = weir_test_client_(conn);
    return c->reason ? c->reason : "";
}

WEIR_TEST_FUNC void weir_test_end_(weir_conn conn, int code, const char *reason, bool clean) {
    struct weir_test_client_ *c = weir_test_client_(conn);
    if (c->left) return;
    weir_test_leave_(c, code, reason, clean);
    weir_test_gone_(c);
}

static __attribute__((unused)) void weir_test_close(weir_conn conn, int code, const char *reason) {
    weir_test_end_(conn, code, reason, true);
}

static __attribute__((unused)) void weir_test_abort(weir_conn conn) { weir_test_end_(conn, 1006, "", false); }

static __attribute__((unused)) void weir_test_advance(int64_t ms) {
    int64_t until = weir_test_.now_ms + ms;
    for (;;) {
        struct weir_test_timer_ *next = NULL;
        for (int i = 0; i < WEIR_TEST_TIMERS; i++) {
            struct weir_test_timer_ *t = &weir_test_.now.timers[i];
            if (t->set && (!next || t->due < next->due || (t->due == next->due && t->order < next->order))) next = t;
        }
        if (!next || next->due > until) break;
        if (next->due > weir_test_.now_ms) weir_test_.now_ms = next->due;
        weir_conn conn = next->conn;
        int64_t id = next->id;
        if (next->every) next->due += next->every;
        else next->set = false;
        weir_test_deliver_(WEIR_EVENT_TIMER, conn, id, WEIR_S(""));
    }
    weir_test_.now_ms = until;
}

static __attribute__((unused)) void weir_test_drain(int64_t ms) {
    for (int i = 0; i < weir_test_.now.client_count; i++)
        if (!weir_test_.now.clients[i].gone) weir_test_deliver_(WEIR_EVENT_DRAIN, weir_test_.now.clients[i].id, ms, WEIR_S(""));
    weir_test_deliver_(WEIR_EVENT_DRAIN, 0, ms, WEIR_S(""));
}

static __attribute__((unused)) bool weir_test_replace(void) {
    const char *config = weir_test_.options.config ? weir_test_.options.config : "{}";
    weir_test_.now.saved = (weir_str){NULL, 0};
    if (weir_test_run_(WEIR_EVENT_SAVE, 0, weir_test_.generation, WEIR_S(""))) return false;
    weir_str saved = weir_test_.now.saved;
    if (saved.ptr && !(weir_abi_1() >> WEIR_EVENT_RESTORE & 1)) return false; // the state would be lost
    if (weir_test_run_(WEIR_EVENT_INIT, 0, weir_test_.generation + 1, weir_cstr(config))) return false;
    struct weir_test_server_ *old = weir_test_new_(sizeof *old); // without what init has asked for
    *old = weir_test_.before;
    if (saved.ptr && weir_test_run_(WEIR_EVENT_RESTORE, 0, weir_test_.generation, saved)) {
        weir_test_.now = *old;
        return false;
    }
    weir_test_.generation++;
    return true;
}

static __attribute__((unused)) int weir_test_members(const char *topic) {
    int n = 0;
    for (int i = 0; i < weir_test_.now.member_count; i++) n += weir_equal(weir_test_.now.members[i].topic, weir_cstr(topic));
    return n;
}

static __attribute__((unused)) int64_t weir_test_metric(const char *name) {
    for (int i = 0; i < WEIR_TEST_LIST && weir_test_.options.metrics[i]; i++)
        if (strcmp(weir_test_.options.metrics[i], name) == 0) return weir_test_.now.metrics[i];
    return 0;
}

WEIR_TEST_FUNC void weir_test_fail_(const char *file, int line) {
    weir_test_.failures++;
    fprintf(stderr, "%s:%d: ", file, line);
}

WEIR_TEST_FUNC void weir_test_check_(bool holds, const char *file, int line, const char *condition) {
    if (holds) return;
    weir_test_fail_(file, line);
    fprintf(stderr, "%s does not hold\n", condition);
}

WEIR_TEST_FUNC void weir_test_text_(weir_conn conn, const char *text, const char *file, int line) {
    int kind;
    weir_str data;
    if (!weir_test_next(conn, &kind, &data)) {
        weir_test_fail_(file, line);
        fprintf(stderr, "got no message, want %s\n", text);
    } else if (kind != WEIR_KIND_TEXT || !weir_equal(data, weir_cstr(text))) {
        weir_test_fail_(file, line);
        fprintf(stderr, "got %s %.*s, want %s\n", kind == WEIR_KIND_TEXT ? "text" : "binary", (int)data.len, data.ptr, text);
    }
}

WEIR_TEST_FUNC void weir_test_nothing_(weir_conn conn, const char *file, int line) {
    int kind;
    weir_str data;
    while (weir_test_next(conn, &kind, &data)) {
        weir_test_fail_(file, line);
        fprintf(stderr, "got %.*s, want no message\n", (int)data.len, data.ptr);
    }
}

WEIR_TEST_FUNC void weir_test_closed_(weir_conn conn, int code, const char *file, int line) {
    if (weir_test_closed(conn) == code) return;
    weir_test_fail_(file, line);
    fprintf(stderr, "the connection was closed with %d (0: it is open), want %d\n", weir_test_closed(conn), code);
}

// -------------------------------------------------------------------------------------------------- the host functions

WEIR_TEST_FUNC bool weir_test_granted_(const char *capability) { return !weir_test_listed_(weir_test_.options.deny, capability); }

// Counts one effect of the event.
WEIR_TEST_FUNC int32_t weir_test_effect_(void) {
    if (weir_test_.event == -1) return WEIR_UNAVAILABLE;
    if (weir_test_.event == WEIR_EVENT_SAVE || weir_test_.event == WEIR_EVENT_RESTORE) return WEIR_DENIED;
    return ++weir_test_.effects > WEIR_TEST_EFFECTS ? WEIR_TOO_MANY : WEIR_OK;
}

// Finds a connection that is there; NULL if none is.
WEIR_TEST_FUNC struct weir_test_client_ *weir_test_find_(weir_conn conn) {
    if (conn == 0 || conn > (weir_conn)weir_test_.now.client_count) return NULL;
    struct weir_test_client_ *c = &weir_test_.now.clients[conn - 1];
    return c->gone ? NULL : c;
}

// Says whether the event may do something about a connection.
WEIR_TEST_FUNC int32_t weir_test_reach_(weir_conn conn) {
    if (!weir_test_find_(conn)) return WEIR_UNKNOWN_CONNECTION;
    bool denied = weir_test_.event == WEIR_EVENT_CLOSE || (weir_test_.event == WEIR_EVENT_UPGRADE && conn == weir_test_.conn);
    return denied ? WEIR_DENIED : WEIR_OK;
}

// Says whether it can be sent to.
WEIR_TEST_FUNC int32_t weir_test_reach_open_(weir_conn conn) {
    int32_t status = weir_test_reach_(conn);
    if (status) return status;
    return weir_test_find_(conn)->closing ? WEIR_CLOSED : weir_test_effect_();
}

WEIR_TEST_FUNC int32_t weir_test_message_ok_(int32_t kind, const void *data, uint32_t len) {
    if (kind != WEIR_KIND_TEXT && kind != WEIR_KIND_BINARY) return WEIR_INVALID;
    if (kind == WEIR_KIND_TEXT && !weir_utf8_valid((weir_str){data, len})) return WEIR_INVALID;
    return len > WEIR_TEST_MESSAGE ? WEIR_TOO_BIG : WEIR_OK;
}

WEIR_TEST_FUNC bool weir_test_topic_ok_(const void *topic, uint32_t len) {
    return len > 0 && len <= WEIR_TEST_TOPIC && weir_utf8_valid((weir_str){topic, len});
}

WEIR_TEST_FUNC void weir_test_arrive_(weir_conn to, int32_t kind, weir_str data) {
    if (weir_test_.now.message_count == weir_test_.message_room) {
        weir_test_.message_room = 2 * weir_test_.message_room + 64;
        weir_test_.messages = realloc(weir_test_.messages, (size_t)weir_test_.message_room * sizeof *weir_test_.messages);
        weir_test_must_(weir_test_.messages, "out of memory");
    }
    weir_test_.messages[weir_test_.now.message_count++] = (struct weir_test_message_){to, kind, data};
}

// Writes a result if all of it fits.
WEIR_TEST_FUNC int32_t weir_test_fill_(void *buf, uint32_t cap, const void *value, size_t len) {
    if (len && len <= cap) memcpy(buf, value, len);
    return (int32_t)len;
}

int32_t weir_conn_send(weir_conn conn, int32_t kind, const void *data, uint32_t len) {
    if (!weir_test_find_(conn)) return WEIR_UNKNOWN_CONNECTION;
    int32_t status = weir_test_message_ok_(kind, data, len);
    if (!status) status = weir_test_reach_open_(conn);
    if (!status) weir_test_arrive_(conn, kind, weir_test_str_(data, len));
    return status;
}

int32_t weir_conn_close(weir_conn conn, int32_t code, const void *reason, uint32_t len) {
    if (!weir_test_find_(conn)) return WEIR_UNKNOWN_CONNECTION;
    bool known = code == 1000 || code == 1001 || code == 1008 || (code >= 1011 && code <= 1013) || (code >= 3000 && code <= 4999);
    if (!known) return WEIR_INVALID;
    if (len > WEIR_TEST_REASON) return WEIR_TOO_BIG;
    if (!weir_utf8_valid((weir_str){reason, len})) return WEIR_INVALID;
    int32_t status = weir_test_reach_open_(conn);
    if (!status) weir_test_leave_(weir_test_find_(conn), code, weir_test_keep_(reason, len), true);
    return status;
}

int32_t weir_conn_attr(weir_conn conn, const void *name, uint32_t len, void *value, uint32_t cap) {
    struct weir_test_client_ *c = weir_test_find_(conn);
    if (!c) return WEIR_UNKNOWN_CONNECTION;
    const char *wanted = weir_test_keep_(name, len);
    bool header = strncmp(wanted, WEIR_ATTR_HEADER, strlen(WEIR_ATTR_HEADER)) == 0;
    for (const struct weir_test_attr_ *a = strlen(wanted) == len ? c->attrs : NULL; a; a = a->next)
        if (header ? weir_test_same_name_(a->name, wanted) : strcmp(a->name, wanted) == 0)
            return weir_test_fill_(value, cap, a->value, strlen(a->value));
    return WEIR_NOT_FOUND;
}

int32_t weir_conn_state_get(weir_conn conn, void *state, uint32_t cap) {
    struct weir_test_client_ *c = weir_test_find_(conn);
    return c ? weir_test_fill_(state, cap, c->state.ptr, c->state.len) : WEIR_UNKNOWN_CONNECTION;
}

int32_t weir_conn_state_set(weir_conn conn, const void *state, uint32_t len) {
    struct weir_test_client_ *c = weir_test_find_(conn);
    if (!c) return WEIR_UNKNOWN_CONNECTION;
    if (len > WEIR_TEST_STATE) return WEIR_TOO_BIG;
    int32_t status = weir_test_effect_();
    if (!status) c->state = weir_test_str_(state, len);
    return status;
}

// A test's client reads at once.
int64_t weir_conn_queued(weir_conn conn) { return weir_test_find_(conn) ? 0 : WEIR_UNKNOWN_CONNECTION; }

// The place of a membership; -1 if there is none.
WEIR_TEST_FUNC int weir_test_member_(weir_conn conn, const void *topic, uint32_t len) {
    for (int i = 0; i < weir_test_.now.member_count; i++)
        if (weir_test_.now.members[i].conn == conn && weir_equal(weir_test_.now.members[i].topic, (weir_str){topic, len})) return i;
    return -1;
}

int32_t weir_topic_join(weir_conn conn, const void *topic, uint32_t len) {
    if (!weir_test_granted_("topics")) return WEIR_DENIED;
    if (!weir_test_topic_ok_(topic, len)) return WEIR_INVALID;
    int32_t status = weir_test_reach_open_(conn);
    if (status || weir_test_member_(conn, topic, len) >= 0) return status;
    int joined = 0;
    for (int i = 0; i < weir_test_.now.member_count; i++) joined += weir_test_.now.members[i].conn == conn;
    if (joined >= WEIR_TEST_TOPICS_PER_CONN || weir_test_.now.member_count == WEIR_TEST_MEMBERS) return WEIR_TOO_MANY;
    weir_test_.now.members[weir_test_.now.member_count++] = (struct weir_test_member_){weir_test_str_(topic, len), conn};
    return WEIR_OK;
}

int32_t weir_topic_leave(weir_conn conn, const void *topic, uint32_t len) {
    if (!weir_test_granted_("topics")) return WEIR_DENIED;
    if (!weir_test_topic_ok_(topic, len)) return WEIR_INVALID;
    int32_t status = weir_test_reach_(conn);
    if (!status) status = weir_test_effect_();
    if (status) return status;
    int at = weir_test_member_(conn, topic, len);
    if (at < 0) return WEIR_NOT_FOUND;
    weir_test_.now.members[at] = weir_test_.now.members[--weir_test_.now.member_count];
    return WEIR_OK;
}

int32_t weir_topic_publish(const void *topic, uint32_t topic_len, int32_t kind, const void *data, uint32_t len, weir_conn except) {
    if (!weir_test_granted_("topics")) return WEIR_DENIED;
    if (!weir_test_topic_ok_(topic, topic_len)) return WEIR_INVALID;
    int32_t status = weir_test_message_ok_(kind, data, len);
    if (!status) status = weir_test_effect_();
    if (status) return status;
    weir_str message = weir_test_str_(data, len);
    for (int i = 0; i < weir_test_.now.client_count; i++) {
        struct weir_test_client_ *c = &weir_test_.now.clients[i];
        if (c->id != except && !c->closing && !c->gone && weir_test_member_(c->id, topic, topic_len) >= 0)
            weir_test_arrive_(c->id, kind, message);
    }
    return WEIR_OK;
}

int32_t weir_topic_count(const void *topic, uint32_t len) {
    if (!weir_test_granted_("topics")) return WEIR_DENIED;
    if (!weir_test_topic_ok_(topic, len)) return WEIR_INVALID;
    int n = 0;
    for (int i = 0; i < weir_test_.now.member_count; i++) n += weir_equal(weir_test_.now.members[i].topic, (weir_str){topic, len});
    return n;
}

// Says whether the event may touch a timer.
WEIR_TEST_FUNC int32_t weir_test_timer_ok_(weir_conn conn) {
    if (!weir_test_granted_("timers")) return WEIR_DENIED;
    if (conn) return weir_test_reach_(conn);
    return weir_test_.event == WEIR_EVENT_CLOSE ? WEIR_DENIED : WEIR_OK;
}

// The timer of that name; NULL if it is not set.
WEIR_TEST_FUNC struct weir_test_timer_ *weir_test_timer_of_(weir_conn conn, int64_t id) {
    for (int i = 0; i < WEIR_TEST_TIMERS; i++) {
        struct weir_test_timer_ *t = &weir_test_.now.timers[i];
        if (t->set && t->conn == conn && t->id == id) return t;
    }
    return NULL;
}

int32_t weir_timer_set(weir_conn conn, int64_t id, int64_t after_ms, int64_t every_ms) {
    const int64_t most = INT64_C(10) * 365 * 24 * 3600 * 1000, least = 10;
    int32_t status = weir_test_timer_ok_(conn);
    if (status) return status;
    if (after_ms < 0 || every_ms < 0 || after_ms > most || every_ms > most) return WEIR_INVALID;
    if (conn && weir_test_find_(conn)->closing) return WEIR_CLOSED;
    if ((status = weir_test_effect_())) return status;
    struct weir_test_timer_ *t = weir_test_timer_of_(conn, id);
    if (!t) {
        int of = 0;
        for (int i = 0; i < WEIR_TEST_TIMERS; i++) {
            struct weir_test_timer_ *other = &weir_test_.now.timers[i];
            if (!other->set) t = other;
            else of += other->conn == conn;
        }
        if (!t || (conn && of >= WEIR_TEST_TIMERS_PER_CONN)) return WEIR_TOO_MANY;
    }
    if (after_ms < least) after_ms = least;
    if (every_ms && every_ms < least) every_ms = least;
    *t = (struct weir_test_timer_){conn, id, weir_test_.now_ms + after_ms, every_ms, ++weir_test_.now.timers_set, true};
    return WEIR_OK;
}

int32_t weir_timer_cancel(weir_conn conn, int64_t id) {
    int32_t status = weir_test_timer_ok_(conn);
    if (!status) status = weir_test_effect_();
    if (status) return status;
    struct weir_test_timer_ *t = weir_test_timer_of_(conn, id);
    if (!t) return WEIR_NOT_FOUND;
    t->set = false;
    return WEIR_OK;
}

int64_t weir_time_unix_ms(void) { return weir_test_.now_ms; }

int64_t weir_time_mono_ns(void) { return (weir_test_.now_ms - weir_test_.start_ms) * 1000000; }

// A small generator (Marsaglia's xorshift64): tests repeat.
int32_t weir_random(void *data, uint32_t len) {
    if (len > 1 << 20) return WEIR_TOO_BIG;
    for (uint32_t i = 0; i < len; i++) {
        weir_test_.random ^= weir_test_.random << 13;
        weir_test_.random ^= weir_test_.random >> 7;
        weir_test_.random ^= weir_test_.random << 17;
        ((uint8_t *)data)[i] = (uint8_t)(weir_test_.random >> 32);
    }
    return WEIR_OK;
}

int32_t weir_log(int32_t level, const void *text, uint32_t len) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < 0 || level > 3) return WEIR_INVALID;
    fprintf(stderr, "%s %.*s\n", names[level], (int)len, (const char *)text);
    return WEIR_OK;
}

int32_t weir_metric_add(const void *name, uint32_t len, int64_t delta) {
    if (!weir_test_.options.metrics[0]) return WEIR_DENIED;
    for (int i = 0; i < WEIR_TEST_LIST && weir_test_.options.metrics[i]; i++) {
        if (!weir_equal(weir_cstr(weir_test_.options.metrics[i]), (weir_str){name, len})) continue;
        int32_t status = weir_test_effect_();
        if (!status) weir_test_.now.metrics[i] += delta;
        return status;
    }
    return WEIR_NOT_FOUND;
}

int32_t weir_abi_has(const void *name, uint32_t len) {
#define WEIR_TEST_IS_(known) if (weir_equal(WEIR_S(known), (weir_str){name, len})) return 1;
    WEIR_FUNCTIONS(WEIR_TEST_IS_)
    return 0;
}

int32_t weir_upgrade_uri(void *uri, uint32_t cap) {
    if (!weir_test_.asked) return WEIR_UNAVAILABLE;
    return weir_test_fill_(uri, cap, weir_test_.asked->target, strlen(weir_test_.asked->target));
}

int32_t weir_upgrade_header(const void *name, uint32_t len, void *value, uint32_t cap) {
    if (!weir_test_.asked) return WEIR_UNAVAILABLE;
    const char *found = weir_test_joined_(weir_test_keep_(name, len));
    return found ? weir_test_fill_(value, cap, found, strlen(found)) : WEIR_NOT_FOUND;
}

// Whether a name can be that of a header (RFC 9110 §5.6.2).
WEIR_TEST_FUNC bool weir_test_token_(const char *name, uint32_t len) {
    for (uint32_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", name[i])) return false;
    return len > 0;
}

int32_t weir_upgrade_protocol(const void *name, uint32_t len) {
    if (!weir_test_.asked) return WEIR_UNAVAILABLE;
    if (!weir_test_token_(name, len)) return WEIR_INVALID;
    const char *picked = weir_test_keep_(name, len);
    if (!weir_test_listed_(weir_test_.asked->protocols, picked)) return WEIR_NOT_FOUND;
    weir_test_.now.protocol = picked;
    return WEIR_OK;
}

int32_t weir_upgrade_respond_header(const void *name, uint32_t len, const void *value, uint32_t value_len) {
    static const char *const own[] = {"Connection", "Upgrade", "Content-Length", "Transfer-Encoding"};
    if (!weir_test_.asked) return WEIR_UNAVAILABLE;
    if (!weir_test_token_(name, len)) return WEIR_INVALID;
    for (uint32_t i = 0; i < value_len; i++) {
        uint8_t c = ((const uint8_t *)value)[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) return WEIR_INVALID;
    }
    const char *header = weir_test_keep_(name, len);
    for (int i = 0; i < 4; i++)
        if (weir_test_same_name_(header, own[i])) return WEIR_DENIED;
    char *family = weir_test_keep_(name, len < 14 ? len : 14);
    if (weir_test_same_name_(family, "Sec-WebSocket-")) return WEIR_DENIED;
    if (weir_test_.answer_count == WEIR_TEST_LIST) return WEIR_TOO_BIG;
    weir_test_.answer[weir_test_.answer_count++] = (struct weir_test_header){header, weir_test_keep_(value, value_len)};
    return WEIR_OK;
}

int32_t weir_state_save(const void *data, uint32_t len) {
    if (weir_test_.event != WEIR_EVENT_SAVE) return WEIR_UNAVAILABLE;
    if (len > WEIR_TEST_SAVED) return WEIR_TOO_BIG;
    weir_test_.now.saved = weir_test_str_(data, len);
    return WEIR_OK;
}

int32_t weir_instance_key(void *key, uint32_t cap) {
    const char *k = weir_test_.options.key ? weir_test_.options.key : "";
    return weir_test_fill_(key, cap, k, strlen(k));
}

#endif
