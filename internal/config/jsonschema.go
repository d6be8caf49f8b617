package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// object is a JSON object.
type object = map[string]any

// JSONSchema describes configuration files for editors (JSON Schema draft-07). It
// knows every key and type, not every bound: that is for Load.
func JSONSchema() []byte {
	top := objectSchema("")
	top["type"] = []string{"object", "null"}
	top["$schema"] = "http://json-schema.org/draft-07/schema#"
	top["title"] = "weir.yaml, the configuration of a weir server"
	top["definitions"] = object{
		"duration": object{
			"description": "A time with its unit, such as 500ms, 30s or 1m30s; 0 means the default.",
			"anyOf":       []any{object{"const": 0}, object{"type": "string", "pattern": `^([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h))+$|^0$`}, reference},
		},
		"size": object{
			"description": "A number of bytes with its unit, such as 512B, 64KiB or 1MiB; 0 means the default.",
			"anyOf":       []any{object{"const": 0}, object{"type": "string", "pattern": `^[0-9]+ *(B|KiB|MiB|GiB)$|^0$`}, reference},
		},
	}
	return encodeJSON(top, "  ")
}

// reference is the schema of a text that stands for another.
var reference = object{"type": "string", "pattern": `\$\{(file|env):`}

// objectSchema is the schema of the section of that path; "" is the whole file.
func objectSchema(section string) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsIn(section) {
		name := f.path[strings.LastIndexByte(f.path, '.')+1:]
		properties[name] = f.schema()
		if f.required() {
			required = append(required, name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func (f field) schema() object {
	s := object{}
	switch kind := f.kind(); kind {
	case "duration", "size":
		s["allOf"] = []any{object{"$ref": "#/definitions/" + kind}} // what stands beside $ref alone is ignored
	case "text":
		s["type"] = "string"
		if f.oneOf != nil {
			s = object{"anyOf": []any{object{"enum": f.oneOf}, reference}}
		}
	case "whole number":
		s["type"] = "integer"
	case "true or false":
		s["type"] = "boolean"
	case "list of text":
		item := object{"type": "string"}
		if f.oneOf != nil {
			item = object{"enum": f.oneOf}
		}
		s["type"], s["items"] = "array", item
	case "list of mappings":
		s["type"], s["items"] = []string{"array", "null"}, objectSchema(f.path)
	case "mapping of names to mappings":
		each := objectSchema(f.path)
		if each["required"] == nil {
			each["type"] = []string{"object", "null"}
		}
		s["type"], s["additionalProperties"] = []string{"object", "null"}, each
		if f.path == "modules" {
			s["propertyNames"] = object{"pattern": moduleName.String()}
		}
	default:
		if !f.free() {
			s = objectSchema(f.path)
		}
		s["type"] = []string{"object", "null"}
	}
	s["description"] = unquoted(f.text())
	if d := f.fixedDefault(); d != nil {
		if _, ok := d.(fmt.Stringer); ok {
			d = f.defaultText()
		}
		s["default"] = d
	}
	return s
}

// unquoted is a text of one paragraph, without the marks of Markdown.
func unquoted(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "`", "")
}

// encodeJSON writes v, which has a form in JSON, and a newline.
func encodeJSON(v any, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		panic("config: " + err.Error())
	}
	return b.Bytes()
}
