package config

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestARunningConfigurationIsShownWithoutSecrets(t *testing.T) {
	read := func(text string) *Reading {
		t.Helper()
		r := Read(Source{
			Files:    []string{"weir.yaml"},
			ReadFile: files(map[string]string{"weir.yaml": text, "key": "planted-in-a-file"}),
			Environ:  []string{"PLANTED=planted-in-a-variable"},
		})
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		return r
	}
	const modules = "modules: {chat.v2: {path: x.wasm, config: {%s}}}\nroutes: [{path: '/{room}', module: chat.v2}]\n"
	first := read("admin: {listen: '127.0.0.1:0', token: planted-and-long-enough-to-be-one}\n" + strings.Replace(modules, "%s", "key: '${file:key}', open: yes, list: ['${env:PLANTED}', b]", 1))
	second := read(strings.Replace(modules, "%s", "", 1)) // which no longer tells what is secret in the first
	text, err := first.Config.Shown(second.Secrets().With(first.Secrets()))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "planted") {
		t.Errorf("a secret is shown: %s", text)
	}
	var got struct {
		Admin   struct{ Token string }
		Modules map[string]struct{ Config map[string]any }
		Routes  []struct{ Path, Scope string }
		Log     struct{ Level string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	chat := got.Modules["chat.v2"].Config
	if got.Admin.Token != "(secret)" || chat["key"] != "(secret)" || chat["open"] != "yes" || got.Routes[0].Path != "/{room}" || got.Log.Level != "info" {
		t.Errorf("it says %s", text)
	}
	if text, err = second.Config.Shown(nil); err != nil || strings.Contains(string(text), "(secret)") {
		t.Errorf("a token that is not set is shown as one: %s, %v", text, err)
	}
}

func TestMistakesOfTheAdminListener(t *testing.T) {
	for text, want := range map[string]string{
		"{listen: 'unix:'}":   "admin.listen",
		"{listen: localhost}": "admin.listen",
		"{token: short}":      "admin.token: it has 5 bytes and must have 32",
		"{token: 'with a space in it: planted-with-a-lot-of-bytes'}": "admin.token: it has characters",
		"{tls_cert: a.pem}":             "admin.tls_key: is missing",
		"{tls_key: a.pem}":              "admin.tls_cert: is missing",
		"{allowed_hosts: ['a.test:1']}": "admin.allowed_hosts[0]",
		"{allowed_hosts: ['*']}":        "admin.allowed_hosts[0]",
	} {
		_, err := Load(Source{Files: []string{"weir.yaml"}, ReadFile: files(map[string]string{"weir.yaml": "admin: " + text})})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v", text, err)
		}
	}
	c, err := Load(Source{Files: []string{"etc/weir.yaml"}, ReadFile: files(map[string]string{
		"etc/weir.yaml": "admin: {listen: 'unix:/run/weir.sock', tls_cert: a.pem, tls_key: b.pem, allowed_hosts: [admin.test, '::1']}",
	})})
	if err != nil || c.Admin.TLSCert != "etc/a.pem" {
		t.Errorf("%+v, %v", c, err)
	}
}
