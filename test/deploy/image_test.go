package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/host"
)

// The image is built nowhere in the tests, for want of a container engine. What can be
// seen without one is held here.
func TestTheImage(t *testing.T) {
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	last := map[string]string{} // of the last stage
	var bases []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if word == "FROM" {
			bases = append(bases, regexp.MustCompile(`^(--\S+ )?`).ReplaceAllString(rest, ""))
			clear(last)
		}
		if word == "COPY" && !strings.Contains(rest, "--from=") {
			fields := strings.Fields(rest)
			for _, source := range fields[:len(fields)-1] {
				if _, err := os.Stat(filepath.Join(root, source)); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
		}
		last[word] = rest
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	if len(bases) != 2 || !strings.HasPrefix(bases[0], "golang:"+version+"-") || bases[1] != "scratch" {
		t.Errorf("it is made of %q, want golang:%s-… and scratch", bases, version)
	}
	if user := last["USER"]; !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("it runs as %q; Kubernetes sees that this is not root only by a number", user)
	}
	if want := strings.TrimPrefix(host.Options{}.WithDefaults().Server.Listen[0], ":"); last["EXPOSE"] != want {
		t.Errorf("it exposes %q, and the server listens on %s", last["EXPOSE"], want)
	}
	for _, word := range []string{"ENTRYPOINT", "CMD"} { // a shell form needs a shell
		var command []string
		if err := json.Unmarshal([]byte(last[word]), &command); err != nil {
			t.Errorf("%s %s is no list", word, last[word])
		}
	}
}
