package model

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
)

// A record is the same as a copy, and another one if any field of it is.
func TestSame(t *testing.T) {
	n := Network{ID: "1", Routes: []Route{{Destination: netip.MustParsePrefix("10.0.0.0/8")}}, Trusted: []string{"eth0"},
		From: []Limit{{Port: 1}}, FromSet: []Limit{{Port: 2}}}
	e := Endpoint{ID: "1", Ports: []PortBinding{{Proto: TCP}}, OpenV4: []PortSpan{{First: 1}}, OpenV6: []PortSpan{{First: 2}}, Wanted: []PortRequest{{First: 3}},
		Added: []PortBinding{{Proto: TCP}}, Removed: []PortBinding{{Proto: UDP}},
		From: []Limit{{Port: 1}}, FromSet: []Limit{{Port: 2}}}
	networks, endpoints := n.Clone(), e.Clone()
	if !n.Same(&networks) || !e.Same(&endpoints) {
		t.Error("a copy is not the same")
	}
	changeEach(t, reflect.ValueOf(&networks).Elem(), "Network", func() bool { return n.Same(&networks) })
	changeEach(t, reflect.ValueOf(&endpoints).Elem(), "Endpoint", func() bool { return e.Same(&endpoints) })
}

// changeEach changes one field after the other, and tests that it is noticed.
func changeEach(t *testing.T, record reflect.Value, name string, same func() bool) {
	t.Helper()
	for i := range record.NumField() {
		field, name := record.Field(i), name+"."+record.Type().Field(i).Name
		if field.Kind() == reflect.Struct && field.NumField() > 0 && field.Type().Field(0).IsExported() {
			changeEach(t, field, name, same)
			continue
		}
		before := reflect.New(field.Type()).Elem()
		before.Set(field)
		field.Set(other(t, field))
		if same() {
			t.Errorf("another %s is taken for the same", name)
		}
		field.Set(before)
		if !same() {
			t.Fatalf("%s is not as it was", name)
		}
	}
}

// other is another value than the one that is there.
func other(t *testing.T, field reflect.Value) reflect.Value {
	t.Helper()
	v := reflect.New(field.Type()).Elem()
	switch x := field.Interface().(type) {
	case netip.Addr:
		return reflect.ValueOf(netip.MustParseAddr("192.0.2.77"))
	case netip.Prefix:
		return reflect.ValueOf(netip.MustParsePrefix("192.0.2.0/25"))
	case MAC:
		return reflect.ValueOf(MAC{2, 7})
	case bool:
		return reflect.ValueOf(!x)
	}
	switch field.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint(field.String(), "+"))
	case reflect.Int:
		v.SetInt(field.Int() + 1)
	case reflect.Slice: // as long as before, with something else in it
		v.Set(reflect.MakeSlice(field.Type(), field.Len(), field.Len()))
	default:
		t.Fatalf("a field of kind %s", field.Kind())
	}
	return v
}
