package bundle

import (
	"encoding/json"
	"fmt"
	"strings"
)

// marks say where the parts of a script come from, in a form that the engine reads quickly when something was thrown.
type marks struct {
	// Files are named relative to the handler's folder.
	Files []string `json:"files"`
	// Marks are five numbers each: line and column of the script, index of the file, line and column of it, all from 0.
	// A part reaches to the next mark. The file -1 is the SDK. They are in the order of the script.
	Marks []int `json:"marks"`
}

// marksOf reads a source map (ECMA-426). Names and the sources' contents are of no use.
func marksOf(sourceMap []byte) (marks, error) {
	var m struct {
		Sources  []string `json:"sources"`
		Mappings string   `json:"mappings"`
	}
	if err := json.Unmarshal(sourceMap, &m); err != nil {
		return marks{}, fmt.Errorf("source map: %w", err)
	}
	found := marks{Files: []string{}, Marks: []int{}}
	index := make([]int, len(m.Sources)) // in found.Files
	for i, name := range m.Sources {
		index[i] = -1
		if !strings.HasPrefix(strings.TrimPrefix(name, "./"), sdkSpace+":") {
			index[i] = len(found.Files)
			found.Files = append(found.Files, name)
		}
	}
	var source, line, column int // each is the difference to the one before
	inSDK := false
	for row, segments := range strings.Split(m.Mappings, ";") {
		at := 0
		for segment := range strings.SplitSeq(segments, ",") {
			n, err := numbers(segment)
			if err != nil {
				return marks{}, err
			}
			if len(n) < 4 { // empty, or belongs to no source
				if len(n) == 1 {
					at += n[0]
				}
				continue
			}
			at, source, line, column = at+n[0], source+n[1], line+n[2], column+n[3]
			if source < 0 || source >= len(index) {
				return marks{}, fmt.Errorf("source map: no source %d", source)
			}
			switch file := index[source]; {
			case file >= 0:
				found.Marks = append(found.Marks, row, at, file, line, column)
				inSDK = false
			case !inSDK:
				found.Marks = append(found.Marks, row, at, -1, 0, 0)
				inSDK = true
			}
		}
	}
	return found, nil
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// numbers reads a segment: five bits a digit, the lowest first, the lowest of all being the sign.
func numbers(segment string) ([]int, error) {
	var list []int
	value, shift := 0, 0
	for _, digit := range segment {
		bits := strings.IndexRune(base64Digits, digit)
		if bits < 0 || shift > 30 {
			return nil, fmt.Errorf("source map: %q is no segment", segment)
		}
		value |= bits & 31 << shift
		shift += 5
		if bits&32 != 0 {
			continue
		}
		if value&1 != 0 {
			value = -value
		}
		list = append(list, value/2)
		value, shift = 0, 0
	}
	if shift != 0 {
		return nil, fmt.Errorf("source map: %q is cut off", segment)
	}
	return list, nil
}
