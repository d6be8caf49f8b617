package config

import (
	"slices"
	"strings"
	"testing"
)

func TestReferences(t *testing.T) {
	r := Read(Source{
		Files: []string{"etc/weir.yaml"},
		ReadFile: files(map[string]string{
			"etc/weir.yaml": `
modules:
  chat:
    path: chat.wasm
    keep_headers: ["${env:HEADER}"]
    config:
      key: ${file:secret/key}
      url: "https://${env:USER}:${env:PASSWORD}@example.com/"
      list: [plain, "${env:USER}"]
      template: "hello ${name}, that is $${env:USER}"
websocket: {ping_interval: "${env:PING}"}
`,
			"etc/secret/key": "s3cret\r\n",
			"level":          "warn\n",
		}),
		Environ: []string{"HEADER=X-User", "USER=ann", "PASSWORD=hunter2", "PING=7s", "WEIR_LOG_LEVEL_FILE=level"},
	})
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	settings, err := r.Config.Modules["chat"].JSON()
	want := `{"key":"s3cret","list":["plain","ann"],"template":"hello ${name}, that is ${env:USER}","url":"https://ann:hunter2@example.com/"}`
	if err != nil || string(settings) != want {
		t.Errorf("config is %s, %v", settings, err)
	}
	if c := r.Config; c.WebSocket.PingInterval.String() != "7s" || c.Log.Level != "warn" || c.Modules["chat"].KeepHeaders[0] != "X-User" {
		t.Errorf("got %+v", c)
	}
	if want := []string{"etc/weir.yaml", "level", "etc/secret/key"}; !slices.Equal(slices.Sorted(slices.Values(r.Files)), slices.Sorted(slices.Values(want))) {
		t.Errorf("files %q, want %q", r.Files, want)
	}

	shown := string(YAML(r.Settings(), true))
	for _, secret := range []string{"s3cret", "hunter2", "ann:", "X-User", "7s"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q is shown:\n%s", secret, shown)
		}
	}
	for _, written := range []string{`level: "${file:level}"`, `ping_interval: "${env:PING}"`, `"key":"${file:secret/key}"`} {
		if !strings.Contains(shown, written) {
			t.Errorf("%s is not shown:\n%s", written, shown)
		}
	}
}

func TestMistakesOfReferences(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		environ    []string
		want       string
	}{
		{"a file that is not there", "log: {level: '${file:/no/such}'}", nil,
			"a.yaml:1:7: log.level: ${file:/no/such}: file does not exist"},
		{"a variable that is not there", "log: {level: '${env:NONE}'}", nil,
			"a.yaml:1:7: log.level: ${env:NONE}: there is no such variable in the environment"},
		{"a brace that is not closed", "log: {level: '${env:NONE'}", nil,
			"a.yaml:1:7: log.level: ${env:… has no closing brace"},
		{"a value that is wrong is not quoted", "log: {level: '${env:LEVEL}', format: '${env:SECRET}'}", []string{"LEVEL=inf", `SECRET=a"b`},
			"a.yaml:1:7: log.level: what ${env:LEVEL} stands for is not right\n" +
				"a.yaml:1:30: log.format: what ${env:SECRET} stands for is not right"},
		{"a variable and its file", "", []string{"WEIR_LOG_LEVEL=info", "WEIR_LOG_LEVEL_FILE=level"},
			"WEIR_LOG_LEVEL_FILE: WEIR_LOG_LEVEL is set too; set one of them"},
		{"a number from a file", "", []string{"WEIR_POOL_WORKERS_FILE=level"},
			"WEIR_POOL_WORKERS_FILE: only a text can be read from a file; set WEIR_POOL_WORKERS"},
		{"an unknown variable with a file", "", []string{"WEIR_LOG_LEVLE_FILE=level"},
			"WEIR_LOG_LEVLE_FILE: unknown variable; did you mean \"WEIR_LOG_LEVEL\"?"},
		{"a file that is too long", "log: {level: '${file:/long}'}", nil,
			"a.yaml:1:7: log.level: ${file:/long}: the file is longer than 65536 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			read := files(map[string]string{"a.yaml": tc.text, "level": "info"})
			_, err := Load(Source{Files: []string{"a.yaml"}, Environ: tc.environ, ReadFile: func(name string) ([]byte, error) {
				if name == "/long" {
					return make([]byte, maxReferenced+1), nil
				}
				return read(strings.TrimPrefix(name, "/"))
			}})
			if err == nil || err.Error() != tc.want {
				t.Errorf("got\n%v\nwant\n%s", err, tc.want)
			}
		})
	}
}

func TestAnOverriddenReferenceIsNotLookedUp(t *testing.T) {
	c, err := Load(Source{
		Files:    []string{"a.yaml"},
		ReadFile: files(map[string]string{"a.yaml": "log: {level: '${file:/no/such}'}"}),
		Environ:  []string{"WEIR_LOG_LEVEL=warn"},
	})
	if err != nil || c.Log.Level != "warn" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestExcerpts(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"the place is marked", "log:\n  colour: true\n", "2 |   colour: true\n  |   ^"},
		{"behind others on the line", "log: {level: loud}", "1 | log: {level: loud}\n  |       ^"},
		{"columns count characters", "modules: {é: {path: x}}", "1 | modules: {é: {path: x}}\n  |           ^"},
		{"a tab takes one column", "log:\n\tlevel: info", "2 |  level: info\n  | ^"},
		{"a long line is cut", "log: {level: " + strings.Repeat("x", 200) + "}", "1 | log: {level: " + strings.Repeat("x", maxExcerpt-13) + "\n  |       ^"},
		{"far behind", "server: {allowed_origins: ['" + strings.Repeat("x", 200) + "'], max_header: 1}", "1 | " + strings.Repeat("x", 16) + "'], max_header: 1}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := Read(Source{Files: []string{"a.yaml"}, ReadFile: files(map[string]string{"a.yaml": tc.text})})
			if len(r.Mistakes) == 0 {
				t.Fatal("was accepted")
			}
			got := r.Mistakes[len(r.Mistakes)-1].Excerpt()
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("%v: got\n%s\nwant\n%s", r.Mistakes, got, tc.want)
			}
		})
	}
}

func TestAnExcerptHidesSecrets(t *testing.T) {
	s := &sourceText{text: "admin: {token: hunter2, listen: 7}", hidden: []string{"hunter2"}}
	m := Mistake{Origin: Origin{Name: "a.yaml", Line: 1, Column: 25, source: s}}
	if want := "1 | admin: {token: *******, listen: 7}\n  |                         ^"; m.Excerpt() != want {
		t.Errorf("got\n%s\nwant\n%s", m.Excerpt(), want)
	}
}
