// Holds weir_test.h to what a real server does: plays ../vectors.txt, which README.md describes, against the guest.

#include "weir_test.h"
#include "guest.c"

static char line_bytes[1 << 20], words[8][1 << 18];
static const char *at_file;
static int at_line, scenarios;

// What the server that comes next is configured with.
static struct weir_test_options options;
static struct weir_test_request request;
static bool started;

static struct {
    char name[32];
    weir_conn conn;
} clients[32];
static int client_count;

static void fail(const char *what) {
    fprintf(stderr, "%s:%d: %s\n", at_file, at_line, what);
    exit(1);
}

static weir_conn *client(const char *name) {
    for (int i = 0; i < client_count; i++)
        if (strcmp(clients[i].name, name) == 0) return &clients[i].conn;
    if (strlen(name) >= sizeof clients[0].name || client_count == 32) fail("too many clients, or too long a name");
    strcpy(clients[client_count].name, name);
    return &clients[client_count++].conn;
}

// What a word stands for, kept until the program ends.
static weir_str data(const char *word) {
    weir_str b = bytes(weir_cstr(word), 0);
    char *copy = malloc(b.len + 1);
    if (!copy) abort();
    memcpy(copy, b.ptr, b.len);
    copy[b.len] = 0;
    return (weir_str){copy, b.len};
}

static char *text(const char *word) { return (char *)data(word).ptr; }

static void add(const char **list, char *word) {
    while (*list) list++;
    *list = word;
}

static void expect(int n) {
    int k;
    weir_str got;
    weir_conn conn = *client(words[1]);
    bool any = weir_test_next(conn, &k, &got);
    if (strcmp(words[2], "close") != 0) {
        if (!any || k != kind(weir_cstr(words[2])) || !weir_equal(got, data(words[3]))) {
            fprintf(stderr, "got %.*s\n", any ? (int)got.len : 7, any ? got.ptr : "nothing");
            fail("another message was expected");
        }
        return;
    }
    if (any || weir_test_closed(conn) != atoi(words[3])) fail("another close was expected");
    if (n > 4 && strcmp(weir_test_reason(conn), text(words[4])) != 0) fail("another reason was expected");
}

static void step(int n) {
    char *verb = words[0];
    if (strcmp(verb, "config") == 0) { options.config = text(words[1]); return; }
    if (strcmp(verb, "keep") == 0) { add(options.keep_headers, text(words[1])); return; }
    if (strcmp(verb, "route") == 0) { options.route = text(words[1]); return; }
    if (strcmp(verb, "key") == 0) { options.key = text(words[1]); return; }
    if (strcmp(verb, "deny") == 0) {
        add(options.deny, text(words[1]));
        if (strcmp(words[1], "metrics") == 0) options.metrics[0] = NULL;
        return;
    }
    if (!started) {
        started = true;
        if (!weir_test_start(options)) fail("the configuration is refused");
    }
    if (strcmp(verb, "header") == 0) {
        int i = 0;
        while (request.headers[i].name) i++;
        request.headers[i].name = text(words[1]);
        request.headers[i].value = text(words[2]);
    } else if (strcmp(verb, "offer") == 0) {
        add(request.protocols, text(words[1]));
    } else if (strcmp(verb, "open") == 0 || strcmp(verb, "refused") == 0) {
        request.target = words[2];
        *client(words[1]) = weir_test_dial(request);
        if (weir_test_status() != (strcmp(verb, "open") == 0 ? 101 : atoi(words[3]))) fail("another status was expected");
        request = (struct weir_test_request){0};
    } else if (strcmp(verb, "send") == 0) {
        weir_test_send_bytes(*client(words[1]), kind(weir_cstr(words[2])), data(words[3]));
    } else if (strcmp(verb, "expect") == 0) {
        expect(n);
    } else if (strcmp(verb, "silence") == 0) {
        for (int i = 0; i < client_count; i++)
            if ((n == 1 || strcmp(words[1], clients[i].name) == 0) && clients[i].conn) WEIR_TEST_NOTHING(clients[i].conn);
    } else if (strcmp(verb, "close") == 0) {
        weir_test_close(*client(words[1]), atoi(words[2]), text(words[3]));
    } else if (strcmp(verb, "abort") == 0) {
        weir_test_abort(*client(words[1]));
    } else if (strcmp(verb, "advance") == 0) {
        weir_test_advance(atoll(words[1]));
    } else if (strcmp(verb, "drain") == 0) {
        weir_test_drain(atoll(words[1]));
    } else if (strcmp(verb, "replace") == 0) {
        if (!weir_test_replace()) fail("the new version is not taken");
    } else {
        fail("unknown step");
    }
}

int main(int argc, char **argv) {
    at_file = argc > 1 ? argv[1] : "vectors.txt";
    FILE *file = fopen(at_file, "r");
    if (!file) fail("cannot be read");
    while (fgets(line_bytes, sizeof line_bytes, file)) {
        at_line++;
        line_bytes[strcspn(line_bytes, "\n")] = 0;
        if (!*line_bytes || *line_bytes == '#') continue;
        if (strncmp(line_bytes, "scenario ", 9) == 0) {
            scenarios++;
            started = false;
            client_count = 0;
            options = (struct weir_test_options){.metrics = {"declared"}};
            kept.len = 0;
            keeps = false;
            continue;
        }
        int n = 0;
        for (char *word = strtok(line_bytes, " "); word && n < 8; word = strtok(NULL, " ")) strcpy(words[n++], word);
        step(n);
    }
    fclose(file);
    printf("%d scenarios\n", scenarios);
    return weir_test_end();
}
