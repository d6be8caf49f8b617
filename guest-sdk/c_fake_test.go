package guestsdk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheServerInMemoryForC covers what the conformance vectors do not say of c/weir_test.h.
func TestTheServerInMemoryForC(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("compiling takes seconds, and what the race detector looks for is elsewhere")
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs cc: make tools")
		}
		t.Skip("needs cc: make tools")
	}
	for _, tc := range []struct {
		name, program string
		says          string // on standard error; empty: the program succeeds
	}{
		{"an instance hands its state to the next generation", `
static int visitors, restored_by;
static int on_open(weir_conn conn) { return visitors++, weir_send_text(conn, WEIR_S("hello")); }
static int on_save(void) { return weir_save((weir_str){(const char *)&visitors, sizeof visitors}); }
static int on_restore(weir_str state, uint64_t saved_by) {
    memcpy(&visitors, state.ptr, state.len);
    restored_by = (int)saved_by;
    return 0;
}
WEIR_HANDLER(.open = on_open, .save = on_save, .restore = on_restore)
static void test(void) {
    weir_test_start((struct weir_test_options){0});
    weir_conn ann = weir_test_open("/");
    weir_test_open("/");
    WEIR_TEST_CHECK(weir_test_replace() && visitors == 2 && restored_by == 1);
    WEIR_TEST_CHECK(weir_test_replace() && restored_by == 2);
    WEIR_TEST_TEXT(ann, "hello");
    WEIR_TEST_CHECK(weir_test_closed(ann) == 0);
}`, ""},

		{"a refused restore leaves the old generation, without what the new one asked for", `
static int on_init(weir_str config) { (void)config; return weir_timer_set(0, (int64_t)weir_generation(), 1000, 1000); }
static int on_open(weir_conn conn) { return weir_join(conn, WEIR_S("ticks")); }
static int on_timer(weir_conn conn, int64_t id) {
    (void)conn;
    WEIR_BUF(tick, 32);
    weir_put_int(&tick, id);
    return weir_publish_buf(WEIR_S("ticks"), &tick, 0);
}
static int on_save(void) { return weir_save(WEIR_S("poison")); }
static int on_restore(weir_str state, uint64_t saved_by) { (void)saved_by; return weir_equal(state, WEIR_S("poison")); }
WEIR_HANDLER(.init = on_init, .open = on_open, .timer = on_timer, .save = on_save, .restore = on_restore)
static void test(void) {
    weir_test_start((struct weir_test_options){0});
    weir_conn ann = weir_test_open("/");
    WEIR_TEST_CHECK(!weir_test_replace());
    weir_test_advance(1000);
    WEIR_TEST_TEXT(ann, "1");
    WEIR_TEST_NOTHING(ann);
}`, ""},

		{"a state that nobody takes over keeps the old generation", `
static int on_save(void) { return weir_save(WEIR_S("treasure")); }
WEIR_HANDLER(.save = on_save)
static void test(void) {
    weir_test_start((struct weir_test_options){0});
    WEIR_TEST_CHECK(!weir_test_replace());
}`, ""},

		{"a request has as much in it as it likes", `
static int on_upgrade(weir_conn conn) {
    WEIR_BUF(cookies, 40000);
    weir_request_header("cookie", &cookies);
    WEIR_BUF(offers, 64);
    weir_request_header("sec-websocket-protocol", &offers);
    return cookies.len == 3 * 9000 + 4 && weir_equal(weir_view(&offers), WEIR_S("a, b")) ? weir_pick_protocol(WEIR_S("b")) : conn ? 400 : 500;
}
static int on_open(weir_conn conn) {
    WEIR_BUF(protocol, 8);
    weir_attr(conn, WEIR_ATTR_PROTOCOL, &protocol);
    return weir_send_buf(conn, &protocol);
}
WEIR_HANDLER(.upgrade = on_upgrade, .open = on_open)
static void test(void) {
    char cookie[9001];
    memset(cookie, 'x', 9000);
    cookie[9000] = 0;
    weir_test_start((struct weir_test_options){0});
    weir_conn ann = weir_test_dial((struct weir_test_request){
        .target = "/", .headers = {{"Cookie", cookie}, {"cookie", cookie}, {"COOKIE", cookie}}, .protocols = {"a", "b"}});
    WEIR_TEST_CHECK(weir_test_status() == 101);
    WEIR_TEST_TEXT(ann, "b");
    weir_test_open("/");
    WEIR_TEST_CHECK(weir_test_status() == 400);
}`, ""},

		{"a check that fails says where, and what came", echoInC + `
static void test(void) {
    weir_test_start((struct weir_test_options){0});
    weir_conn ann = weir_test_open("/");
    weir_test_send(ann, "hi");
#line 100 "lobby_test.c"
    WEIR_TEST_TEXT(ann, "hello");
}`, "lobby_test.c:100: got text hi, want hello"},

		{"a client that was closed cannot send", echoInC + `
static void test(void) {
    weir_test_start((struct weir_test_options){0});
    weir_conn ann = weir_test_open("/");
    weir_test_close(ann, 1000, "");
    weir_test_send(ann, "hi");
}`, "a client sends on a connection that was closed"},

		{"a sanitizer sees who reads beyond a message", `
static int on_message(weir_conn conn, int kind, weir_str data) { return weir_send(conn, kind, (weir_str){data.ptr, data.len + 1}); }
WEIR_HANDLER(.message = on_message)
static void test(void) {
    weir_test_start((struct weir_test_options){0});
    weir_test_send(weir_test_open("/"), "hi");
}`, "heap-buffer-overflow"},

		{"a sanitizer sees who keeps a message", `
static weir_str last;
static int on_message(weir_conn conn, int kind, weir_str data) {
    if (last.len) weir_send(conn, kind, last);
    last = data;
    return 0;
}
WEIR_HANDLER(.message = on_message)
static void test(void) {
    weir_test_start((struct weir_test_options){0});
    weir_conn ann = weir_test_open("/");
    weir_test_send(ann, "hi");
    weir_test_send(ann, "hi");
}`, "heap-use-after-free"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			source := filepath.Join(t.TempDir(), "test.c")
			program := strings.TrimSuffix(source, ".c")
			text := "#include \"weir_test.h\"\n" + tc.program + "\nint main(void) { test(); return weir_test_end(); }\n"
			if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(compiler, "-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
				"-I", "c", "-o", program, source).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := exec.Command(program).CombinedOutput()
			if (err != nil) != (tc.says != "") || !strings.Contains(string(out), tc.says) {
				t.Errorf("%v, want %q\n%s", err, tc.says, out)
			}
		})
	}
}

const echoInC = `
static int on_message(weir_conn conn, int kind, weir_str data) { return weir_send(conn, kind, data); }
WEIR_HANDLER(.message = on_message)
`
