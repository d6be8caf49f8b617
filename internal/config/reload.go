package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"weir/host"
)

// Change is a key whose value differs between two configurations.
type Change struct {
	Key string
	// Class says when a server that runs takes the new value.
	Class Class
}

// Merge is what a server that runs with the configuration running can take of
// asked: all but what needs a restart. changes lists every key that differs, those
// that are left as they were included. Neither argument is changed.
//
// Modules cannot be added or removed, and routes are left as they were when they
// lead to such a module, or give a module the scope pool or take it away.
func Merge(running, asked *Config) (merged *Config, changes []Change) {
	changes = differences(nil, "", ClassRestart, reflect.ValueOf(running.WithDefaults()), reflect.ValueOf(asked.WithDefaults()))
	written := differences(nil, "", ClassRestart, reflect.ValueOf(*running), reflect.ValueOf(*asked))
	changes = slices.DeleteFunc(changes, func(c Change) bool { // a default that follows another key
		return !slices.Contains(written, c)
	})
	next := *asked
	next.Modules = maps.Clone(running.Modules)
	for name := range next.Modules {
		if m, ok := asked.Modules[name]; ok {
			next.Modules[name] = m
		}
	}
	if i := slices.IndexFunc(changes, func(c Change) bool { return c.Key == "routes" }); i >= 0 && !canLead(running, &next) {
		changes[i].Class = ClassRestart
		next.Routes = running.Routes
	}
	keep(ClassRestart, reflect.ValueOf(&next).Elem(), reflect.ValueOf(*running))
	return &next, changes
}

// canLead reports whether a server that runs can take next's routes.
func canLead(running, next *Config) bool {
	for _, r := range next.Routes {
		if _, known := next.Modules[r.Module]; r.Module != "" && !known {
			return false
		}
	}
	for name := range next.Modules {
		if host.ServesPool(running.Routes, name) != host.ServesPool(next.Routes, name) {
			return false
		}
	}
	return true
}

// InClass lists the keys of the changes that have one of these classes.
func InClass(changes []Change, classes ...Class) []string {
	var keys []string
	for _, c := range changes {
		if slices.Contains(classes, c.Class) {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// differences adds the keys in which a and b, of the same type, differ.
func differences(all []Change, prefix string, class Class, a, b reflect.Value) []Change {
	t := a.Type()
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, options, _ := strings.Cut(sf.Tag.Get("koanf"), ",")
		if options == "squash" {
			all = differences(all, prefix, class, a.Field(i), b.Field(i))
			continue
		}
		if tag == "" || tag == "-" || reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		key, own := prefix+tag, class
		if c := sf.Tag.Get("reload"); c != "" {
			own = Class(c)
		}
		switch {
		case sf.Type.Kind() == reflect.Struct:
			all = differences(all, key+".", own, a.Field(i), b.Field(i))
		case sf.Type.Kind() == reflect.Map && sf.Type.Elem().Kind() == reflect.Struct:
			all = differencesOfNamed(all, key+".", own, a.Field(i), b.Field(i))
		default:
			all = append(all, Change{key, own})
		}
	}
	return all
}

// differencesOfNamed is differences of two maps of structs. A module that only one
// of them has needs a restart.
func differencesOfNamed(all []Change, prefix string, class Class, a, b reflect.Value) []Change {
	names := map[string]bool{}
	for _, m := range []reflect.Value{a, b} {
		for _, name := range m.MapKeys() {
			names[name.String()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x, y := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
		if !x.IsValid() || !y.IsValid() {
			own := class
			if prefix == "modules." {
				own = ClassRestart
			}
			all = append(all, Change{prefix + name, own})
			continue
		}
		all = differences(all, prefix+name+".", class, x, y)
	}
	return all
}

// keep sets what needs a restart in next to what it is in running.
func keep(class Class, next, running reflect.Value) {
	t := next.Type()
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, options, _ := strings.Cut(sf.Tag.Get("koanf"), ",")
		if tag == "-" {
			continue
		}
		own := class
		if c := sf.Tag.Get("reload"); c != "" {
			own = Class(c)
		}
		a, b := next.Field(i), running.Field(i)
		switch {
		case options == "squash", sf.Type.Kind() == reflect.Struct:
			keep(own, a, b)
		case sf.Type.Kind() == reflect.Map && sf.Type.Elem().Kind() == reflect.Struct:
			if sf.Type == reflect.TypeFor[map[string]host.Metric]() {
				continue // nothing of it needs a restart, and it is asked's too
			}
			for _, name := range a.MapKeys() { // running has the same
				element := reflect.New(sf.Type.Elem()).Elem()
				element.Set(a.MapIndex(name))
				keep(own, element, b.MapIndex(name))
				a.SetMapIndex(name, element)
			}
		case own == ClassRestart:
			a.Set(b)
		}
	}
}
