package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"

	"weir/host"
)

// decode fills c from the merged tree. Every value of the wrong type and every
// key that c does not have is a mistake; what is right is filled in all the same.
func decode(k *koanf.Koanf, c *Config, at origins) []Mistake {
	err := k.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		DecodeHook: readValue,
		MatchName:  func(key, field string) bool { return key == field }, // the library ignores case
	}})
	mistakes := unknownKeys(nil, "", "", k.Raw(), at)
	for _, err := range decodeErrors(err) {
		key := plainKey(err.Name())
		mistakes = append(mistakes, Mistake{at.find(key), key, err.Unwrap().Error()})
	}
	return mistakes
}

// unknownKeys adds a mistake for every key in v that its section does not have. The
// library tells of them only where all values are of the right type.
func unknownKeys(all []Mistake, section, prefix string, v any, at origins) []Mistake {
	m, ok := v.(map[string]any)
	if !ok {
		return all // of the wrong type, as somebody else says
	}
	known := map[string]field{}
	for _, f := range fieldsIn(section) {
		known[f.path[strings.LastIndexByte(f.path, '.')+1:]] = f
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key := prefix + name
		f, ok := known[name]
		if !ok {
			why := "unknown key" + hintKey(key)
			if outer, _, dotted := strings.Cut(name, "."); dotted && known[outer].path != "" {
				why = "sections are nested in a file: " + strings.ReplaceAll(name, ".", ": {") + ": …" + strings.Repeat("}", strings.Count(name, "."))
			}
			all = append(all, Mistake{at.find(key), key, why})
			continue
		}
		switch below := m[name].(type) {
		case map[string]any:
			switch {
			case f.typ.Kind() == reflect.Struct:
				all = unknownKeys(all, f.path, key+".", below, at)
			case f.typ.Kind() == reflect.Map && !f.free():
				for _, name := range slices.Sorted(maps.Keys(below)) {
					all = unknownKeys(all, f.path, key+"."+name+".", below[name], at)
				}
			}
		case []any:
			if f.leaf() {
				continue
			}
			for i, item := range below {
				all = unknownKeys(all, f.path, fmt.Sprintf("%s[%d].", key, i), item, at)
			}
		}
	}
	return all
}

// decodeErrors finds the library's errors in what it returns: a wrapped tree of
// joins.
func decodeErrors(err error) []*mapstructure.DecodeError {
	for err != nil {
		if one, ok := err.(*mapstructure.DecodeError); ok {
			return []*mapstructure.DecodeError{one}
		}
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			var all []*mapstructure.DecodeError
			for _, e := range many.Unwrap() {
				all = append(all, decodeErrors(e)...)
			}
			return all
		}
		err = errors.Unwrap(err)
	}
	return nil
}

var (
	moduleIndex = regexp.MustCompile(`^modules\[([^\]]*)\]`)
	metricIndex = regexp.MustCompile(`^(modules\..*\.metrics)\[([^\]]*)\]`)
)

// plainKey turns the library's way to name a mapping's entry into ours.
func plainKey(key string) string {
	return metricIndex.ReplaceAllString(moduleIndex.ReplaceAllString(key, "modules.$1"), "$1.$2")
}

// readValue is the decoder's hook: it sees every value before it is stored, reads
// durations and sizes, and refuses what does not fit in words that help.
func readValue(from, to reflect.Value) (any, error) {
	value, t := from.Interface(), to.Type()
	text, isText := value.(string)
	switch {
	case t == reflect.TypeFor[time.Duration]():
		if isZero(from) || text == "0" {
			return time.Duration(0), nil
		}
		if n := describe(from); isNumber(from) {
			return nil, fmt.Errorf("%s is not a duration; write it with its unit, such as \"%ss\" or \"%sms\"", n, n, n)
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("%s is not a duration; write one such as \"30s\" or \"1m30s\"", describe(from))
		}
		return d, nil
	case t == reflect.TypeFor[host.Size]():
		if isZero(from) {
			return host.Size(0), nil
		}
		if n := describe(from); isNumber(from) {
			return nil, fmt.Errorf("%s is not a size; write it with its unit, such as \"%sKiB\"", n, n)
		}
		if !isText {
			return nil, fmt.Errorf("%s is not a size; write one such as \"64KiB\"", describe(from))
		}
		var s host.Size
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		return s, nil
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		if n, ok := wholeNumber(from); ok {
			return n, nil
		}
		return nil, fmt.Errorf("%s is not a whole number", describe(from))
	case reflect.String:
		if !isText {
			return nil, fmt.Errorf("%s is not text; put it in quotes if it is meant so", describe(from))
		}
	case reflect.Bool:
		if from.Kind() != reflect.Bool {
			return nil, fmt.Errorf("%s is neither true nor false", describe(from))
		}
	case reflect.Slice:
		if isText && t.Elem().Kind() == reflect.String {
			return nil, fmt.Errorf("%q is not a list; write [%q]", text, text)
		}
		if from.Kind() != reflect.Slice {
			return nil, fmt.Errorf("%s is not a list", describe(from))
		}
	case reflect.Struct, reflect.Map:
		if from.Kind() != reflect.Map {
			return nil, fmt.Errorf("%s is not a mapping of keys to values", describe(from))
		}
	}
	return value, nil
}

func isZero(v reflect.Value) bool {
	n, ok := wholeNumber(v)
	return ok && n == 0
}

func isNumber(v reflect.Value) bool { return v.CanInt() || v.CanUint() || v.CanFloat() }

// wholeNumber reads a number of any kind that has no fraction and fits.
func wholeNumber(v reflect.Value) (int64, bool) {
	switch {
	case v.CanInt():
		return v.Int(), true
	case v.CanUint():
		return int64(v.Uint()), v.Uint() <= math.MaxInt64
	case v.CanFloat():
		f := v.Float()
		return int64(f), f == math.Trunc(f) && math.Abs(f) < 1<<53
	}
	return 0, false
}

// describe names a value of the wrong type.
func describe(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	case reflect.Map, reflect.Struct:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	}
	return strings.TrimSpace(fmt.Sprint(v.Interface()))
}
