package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const schemaFile = "../../docs/scenario.schema.json"

// docs/scenario.schema.json is made from the table that the loader uses, so that
// an editor and the loader say the same. -update writes it.
func TestTheSchemaIsCurrent(t *testing.T) {
	got := Schema()
	if *update {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/scenario.schema.json is not what the grammar says; write it with\n\tgo test ./internal/scenario -run TestTheSchemaIsCurrent -update")
	}
}

// judge holds a YAML document against the schema.
func judge(t *testing.T, document []byte) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(document, &value); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	for target, p := range map[any][]byte{&schema: Schema(), &value: asJSON} {
		if err := json.Unmarshal(p, target); err != nil {
			t.Fatal(err)
		}
	}
	return validator{t, schema["definitions"].(map[string]any)}.check("", schema, value)
}

// validator knows the keywords of draft-07 that Schema uses, and no others.
type validator struct {
	t           *testing.T
	definitions map[string]any
}

func (v validator) check(at string, schema map[string]any, value any) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{at}, args...)...)
	}
	text, isText := value.(string)
	number, isNumber := value.(float64)
	list, isList := value.([]any)
	object, isObject := value.(map[string]any)
	for keyword, k := range schema {
		switch keyword {
		case "$ref":
			if err := v.check(at, v.definitions[strings.TrimPrefix(k.(string), "#/definitions/")].(map[string]any), value); err != nil {
				return err
			}
		case "allOf", "anyOf", "oneOf":
			var fitting int
			var errs []error
			for _, one := range k.([]any) {
				if err := v.check(at, one.(map[string]any), value); err != nil {
					errs = append(errs, err)
				} else {
					fitting++
				}
			}
			if keyword == "oneOf" && fitting != 1 || keyword == "anyOf" && fitting == 0 || keyword == "allOf" && len(errs) > 0 {
				return bad("%d of %s fit: %w", fitting, keyword, errors.Join(errs...))
			}
		case "type":
			_, isBool := value.(bool)
			if !(map[string]bool{"string": isText, "integer": isNumber && number == math.Trunc(number), "array": isList, "object": isObject, "boolean": isBool})[k.(string)] {
				return bad("%v is no %s", value, k)
			}
		case "properties":
			for name, one := range k.(map[string]any) {
				if below, there := object[name]; there {
					if err := v.check(at+"."+name, one.(map[string]any), below); err != nil {
						return err
					}
				}
			}
		case "additionalProperties":
			known, _ := schema["properties"].(map[string]any)
			for name, below := range object {
				one, ok := k.(map[string]any)
				if _, listed := known[name]; listed {
					continue
				} else if !ok {
					return bad("%s is unknown", name)
				}
				if err := v.check(at+"."+name, one, below); err != nil {
					return err
				}
			}
		case "items":
			for i, below := range list {
				if err := v.check(fmt.Sprintf("%s[%d]", at, i), k.(map[string]any), below); err != nil {
					return err
				}
			}
		case "required":
			for _, name := range k.([]any) {
				if _, there := object[name.(string)]; isObject && !there {
					return bad("%s is missing", name)
				}
			}
		case "minItems":
			if isList && len(list) < int(k.(float64)) {
				return bad("too short")
			}
		case "minProperties":
			if isObject && len(object) < int(k.(float64)) {
				return bad("too short")
			}
		case "enum":
			if !slices.Contains(k.([]any), value) {
				return bad("%v is not one of %v", value, k)
			}
		case "const":
			if value != k {
				return bad("%v is not %v", value, k)
			}
		case "pattern":
			if isText && !regexp.MustCompile(k.(string)).MatchString(text) {
				return bad("%q does not fit %s", text, k)
			}
		case "minimum":
			if isNumber && number < k.(float64) {
				return bad("%v is too small", number)
			}
		case "maximum":
			if isNumber && number > k.(float64) {
				return bad("%v is too large", number)
			}
		case "$schema", "title", "definitions", "description":
		default:
			v.t.Fatalf("the schema uses %s, which the test does not know", keyword)
		}
	}
	return nil
}

func TestTheSchemaTakesEveryExample(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range files {
		document, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := judge(t, document); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheSchemaRefusesWhatTheLoaderRefuses(t *testing.T) {
	for name, steps := range map[string]string{
		"an unknown step":                `[{opne: [ann]}]`,
		"two steps in one":               `[{open: [ann], drain: true}]`,
		"a duration without a unit":      `[{advance: 5}]`,
		"a match that is a text":         `[{open: [ann]}, {expect: {ann: hello}}]`,
		"a message of two kinds":         `[{open: [ann]}, {send: {ann: {text: a, bytes: "00"}}}]`,
		"bytes that are not hexadecimal": `[{open: [ann]}, {send: {ann: {bytes: "0x00"}}}]`,
		"a fault that nobody knows":      `[{faults: [splat]}]`,
		"a repeat without a number":      `[{repeat: {steps: [{open: [ann]}]}}]`,
		"a close code out of range":      `[{open: [ann]}, {close: {ann: {code: 5000}}}]`,
		"a metric that is no number":     `[{assert: {metrics: {open: many}}}]`,
		"no steps":                       `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			document := "module: m.wasm\nscenarios: [{name: a, steps: " + steps + "}]"
			if _, err := load(document); err == nil {
				t.Error("the loader takes it")
			}
			if err := judge(t, []byte(document)); err == nil {
				t.Error("the schema takes it")
			}
		})
	}
}
