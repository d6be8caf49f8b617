package scenario

import (
	"bytes"
	"encoding/json"
	"maps"
)

// Schema is the grammar as a JSON Schema (draft-07), for editors. It is made
// from the table that Load checks files against; what a schema cannot say, such
// as that a client was opened before, only Load finds.
func Schema() []byte {
	w := schemaWriter{definitions: map[string]any{}}
	root := w.write(documentShape)
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "weir scenario file"
	root["definitions"] = w.definitions
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		panic("scenario: the grammar has no form in JSON: " + err.Error())
	}
	return out.Bytes()
}

type schemaWriter struct{ definitions map[string]any }

// of is a shape, or a reference to it when it has a name.
func (w *schemaWriter) of(s *shape) map[string]any {
	if s.name == "" {
		return w.write(s)
	}
	if _, known := w.definitions[s.name]; !known {
		w.definitions[s.name] = nil // it may hold itself
		w.definitions[s.name] = w.write(s)
	}
	return map[string]any{"$ref": "#/definitions/" + s.name}
}

func (w *schemaWriter) write(s *shape) map[string]any {
	switch {
	case s.either != nil:
		var all []any
		for _, alternative := range s.either {
			all = append(all, w.of(alternative))
		}
		return map[string]any{"anyOf": all}
	case s.leaf != nil:
		return maps.Clone(s.leaf.schema)
	case s.item != nil:
		return map[string]any{"type": "array", "items": w.of(s.item), "minItems": s.least}
	case s.value != nil:
		return map[string]any{"type": "object", "additionalProperties": w.of(s.value), "minProperties": s.least}
	}
	properties := map[string]any{}
	var required []string
	for _, f := range s.fields {
		p := w.of(f.shape)
		if _, reference := p["$ref"]; reference {
			p = map[string]any{"allOf": []any{p}} // beside $ref nothing counts
		}
		p["description"] = f.doc
		properties[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	o := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		o["required"] = required
	}
	if s.exactly != nil {
		var one []any
		for _, name := range s.exactly {
			one = append(one, map[string]any{"required": []string{name}})
		}
		o["oneOf"] = one
	}
	return o
}
