package model_test

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// A clone has its own memory: whatever a slice of it holds can be changed. The test
// fills every slice by reflection, so that a field that is added later is covered too.
func TestClonesShareNoMemory(t *testing.T) {
	n, e := model.Network{}, model.Endpoint{}
	fill(reflect.ValueOf(&n).Elem())
	fill(reflect.ValueOf(&e).Elem())
	for _, pair := range [][2]reflect.Value{
		{reflect.ValueOf(n), reflect.ValueOf(n.Clone())},
		{reflect.ValueOf(e), reflect.ValueOf(e.Clone())},
	} {
		if !reflect.DeepEqual(pair[0].Interface(), pair[1].Interface()) {
			t.Errorf("the clone differs: %+v, %+v", pair[0], pair[1])
		}
		shared(t, pair[0].Type().Name(), pair[0], pair[1])
	}
}

func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Struct:
			if v.Type().Field(i).IsExported() && f.Type().PkgPath() == v.Type().PkgPath() {
				fill(f)
			}
		}
	}
}

func shared(t *testing.T, name string, a, b reflect.Value) {
	for i := range a.NumField() {
		field := name + "." + a.Type().Field(i).Name
		switch a.Field(i).Kind() {
		case reflect.Slice:
			if a.Field(i).Pointer() == b.Field(i).Pointer() {
				t.Errorf("%s is shared", field)
			}
		case reflect.Map, reflect.Pointer:
			t.Errorf("%s: this test does not look into a %s", field, a.Field(i).Kind())
		case reflect.Struct:
			if a.Field(i).Type().PkgPath() == a.Type().PkgPath() {
				shared(t, field, a.Field(i), b.Field(i))
			}
		}
	}
}

func TestErrorsOfAKindHaveATextOfTheirOwn(t *testing.T) {
	cause := errors.New("no such thing")
	for kind, of := range map[error]func(string, ...any) error{
		model.ErrInvalid: model.Invalid, model.ErrNotFound: model.NotFound,
		model.ErrExists: model.Exists, model.ErrConflict: model.Conflict,
	} {
		err := of("option %s: %w", "a", cause)
		if !errors.Is(err, kind) || !errors.Is(err, cause) || !model.IsKind(err) || err.Error() != "option a: no such thing" {
			t.Errorf("%v: %q", kind, err)
		}
	}
	if model.IsKind(cause) {
		t.Error("an error without a kind has one")
	}
}

func TestFamilies(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	mapped, zoned := netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("fe80::1%eth0")
	if !model.IPv4.Has(four) || model.IPv4.Has(six) || !model.IPv6.Has(six) || model.IPv6.Has(four) {
		t.Error("Has mixes the families up")
	}
	for _, a := range []netip.Addr{mapped, zoned} {
		if model.IPv4.Has(a) || model.IPv6.Has(a) {
			t.Errorf("%s is of a family", a)
		}
	}
	for _, f := range model.Families() {
		if f.Other() == f || f.Other().Other() != f || model.FamilyOf(f.Unspecified()) != f || !f.Has(f.Unspecified()) {
			t.Errorf("%s", f)
		}
	}
}

func TestNamesFromIDs(t *testing.T) {
	if got := model.ShortID("0123456789abcdef"); got != "0123456789ab" {
		t.Error(got)
	}
	if got := model.ShortID("abc"); got != "abc" {
		t.Error(got)
	}
	e := model.Endpoint{ID: "0123456789abcdef"}
	if e.HostIface() != "veth0123456789" || e.PeerIface() != "veth0123456789c" || model.AliasOwner(e.Alias(model.Network{})) != "mybr endpoint 0123456789abcdef" {
		t.Error(e.HostIface(), e.PeerIface(), e.Alias(model.Network{}))
	}
	if short := (model.Endpoint{ID: "a"}); len(short.HostIface()) > 15 || short.HostIface() == e.HostIface() {
		t.Error(short.HostIface())
	}
}
