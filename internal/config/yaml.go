package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// yamlFile is a configuration file as koanf sees it: provider and parser. While
// it is read it tells at where every key stands.
type yamlFile struct {
	name   string // as the user gave it
	rank   int
	source *sourceText
	at     origins
}

func (f yamlFile) ReadBytes() ([]byte, error)           { return []byte(f.source.text), nil }
func (f yamlFile) Read() (map[string]any, error)        { return f.Unmarshal([]byte(f.source.text)) }
func (yamlFile) Marshal(map[string]any) ([]byte, error) { return nil, errors.New("not needed") }

// Unmarshal parses text. Relative paths in the result are relative to the
// working directory, no longer to the file. An error is a Mistake.
func (f yamlFile) Unmarshal(text []byte) (map[string]any, error) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, f.mistake(err)
	}
	if len(file.Docs) > 1 {
		return nil, Mistake{Origin: f.placeOf(file.Docs[1].Start), Problem: "one document is enough; remove \"---\" and what follows"}
	}
	tree := map[string]any{}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return tree, nil
	}
	body := file.Docs[0].Body
	switch body.Type() {
	case ast.NullType:
		return tree, nil
	case ast.MappingType, ast.MappingValueType, ast.AnchorType:
	default:
		return nil, Mistake{Origin: f.place(body), Problem: "a configuration file is a mapping of keys to values"}
	}
	if (&yamlMeasure{anchors: map[string]int{}}).of(body) > maxValues {
		return nil, Mistake{Origin: f.place(body), Problem: fmt.Sprintf("the file has more than %d values, aliases counted as often as they stand for something", maxValues)}
	}
	if err := yaml.NodeToValue(body, &tree); err != nil {
		return nil, f.mistake(err)
	}
	f.locate("", body)
	f.resolvePaths(tree)
	return tree, nil
}

// maxValues bounds a configuration file, so that a few aliases of aliases do not
// become gigabytes.
const maxValues = 1 << 16

// yamlMeasure counts the values of a document before they are made.
type yamlMeasure struct{ anchors map[string]int }

// of is how many values n stands for, at most a little more than maxValues.
func (m *yamlMeasure) of(n ast.Node) (values int) {
	add := func(below ast.Node) { values = min(values+m.of(below), maxValues+1) }
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			add(v)
		}
	case *ast.MappingValueNode:
		add(n.Key)
		add(n.Value)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			add(v)
		}
	case *ast.AnchorNode:
		add(n.Value)
		m.anchors[n.Name.GetToken().Value] = values
	case *ast.TagNode:
		add(n.Value)
	case *ast.AliasNode:
		values = m.anchors[n.Value.GetToken().Value]
	}
	return values + 1
}

// mistake gives the library's error our form.
func (f yamlFile) mistake(err error) Mistake {
	var at yaml.Error
	if errors.As(err, &at) {
		return Mistake{Origin: f.placeOf(at.GetToken()), Problem: at.GetMessage()}
	}
	return Mistake{Origin: f.placeOf(nil), Problem: err.Error()}
}

// place is where n begins.
func (f yamlFile) place(n ast.Node) Origin {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return f.place(n.Values[0])
		}
	case *ast.MappingValueNode:
		return f.place(n.Key) // its own token is the colon
	}
	return f.placeOf(n.GetToken())
}

func (f yamlFile) placeOf(t *token.Token) Origin {
	o := Origin{Name: f.name, rank: f.rank, source: f.source}
	if t != nil && t.Position != nil {
		o.Line, o.Column = t.Position.Line, t.Position.Column
	}
	return o
}

// locate notes the place of every key and list item below n, whose own key is
// given.
func (f yamlFile) locate(key string, n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			f.locate(key, v)
		}
	case *ast.MappingValueNode:
		if n.Key.IsMergeKey() {
			f.locate(key, n.Value)
			return
		}
		name := n.Key.GetToken().Value
		if key != "" {
			name = key + "." + name
		}
		f.at[name] = f.place(n.Key)
		f.locate(name, n.Value)
	case *ast.SequenceNode:
		for i, v := range n.Values {
			item := fmt.Sprintf("%s[%d]", key, i)
			f.at[item] = f.place(v)
			f.locate(item, v)
		}
	case *ast.AnchorNode:
		f.locate(key, n.Value)
	case *ast.TagNode:
		f.locate(key, n.Value)
	}
}

// resolvePaths makes the file's relative paths relative to the working
// directory. What has the wrong type is left for the decoder to report.
func (f yamlFile) resolvePaths(tree map[string]any) {
	resolve := func(section any, key string) {
		if m, ok := section.(map[string]any); ok {
			if p, ok := m[key].(string); ok && p != "" && !filepath.IsAbs(p) && !hasReference(p) {
				m[key] = filepath.Join(filepath.Dir(f.name), p)
			}
		}
	}
	if server, ok := tree["server"].(map[string]any); ok {
		for _, key := range []string{"cert", "key", "client_ca"} {
			resolve(server["tls"], key)
		}
		if tls, ok := server["tls"].(map[string]any); ok {
			resolve(tls["autocert"], "cache_dir")
		}
	}
	if modules, ok := tree["modules"].(map[string]any); ok {
		for _, m := range modules {
			resolve(m, "path")
			resolve(m, "self_test")
		}
	}
	resolve(tree["admin"], "tls_cert")
	resolve(tree["admin"], "tls_key")
	if routes, ok := tree["routes"].([]any); ok {
		for _, r := range routes {
			resolve(r, "static")
		}
	}
	if section, ok := tree["runtime"].(map[string]any); ok {
		if section["cache_dir"] != "none" {
			resolve(section, "cache_dir")
		}
		resolve(section, "tape_dir")
	}
}

// parseYAML reads one value from the command line, such as 50 or [a, b].
func parseYAML(text string) (any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		var at yaml.Error
		if errors.As(err, &at) {
			err = errors.New(at.GetMessage())
		}
		return nil, fmt.Errorf("%q is not YAML: %w", strings.TrimSpace(text), err)
	}
	return v, nil
}
