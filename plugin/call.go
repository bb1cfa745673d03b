package plugin

import (
	"context"
	"encoding/json"
	"reflect"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/model"
)

// call is one row of the table of routes.
type call struct {
	prepare func(body []byte) (*prepared, error)
	early   bool // answered before the first pass, since it needs nothing of the host
	removes bool // carried out though the client has gone: Docker forgets what it wanted removed
}

// prepared is a call whose argument has been read.
type prepared struct {
	fields logrus.Fields                             // the network, endpoint, sandbox or pool of the call
	do     func(ctx context.Context) ([]byte, error) // returns the JSON of the answer
}

// route makes a row from a method that takes an argument.
func route[Req, Resp any](fn func(context.Context, *Req) (*Resp, error)) call {
	return call{prepare: func(body []byte) (*prepared, error) {
		req := new(Req)
		if err := decode(body, req); err != nil {
			return nil, err
		}
		return &prepared{
			fields: fieldsOf(req),
			do: func(ctx context.Context) ([]byte, error) {
				return encode(fn(ctx, req))
			},
		}, nil
	}}
}

// action makes a row from a method that takes an argument and answers nothing.
func action[Req any](fn func(context.Context, *Req) error) call {
	return route(func(ctx context.Context, req *Req) (*struct{}, error) {
		return &struct{}{}, fn(ctx, req)
	})
}

// removal makes a row from a method that takes something away.
func removal[Req any](fn func(context.Context, *Req) error) call {
	c := action(fn)
	c.removes = true
	return c
}

// constant makes a row that takes no argument and is answered at any time.
func constant[Resp any](fn func(context.Context) (*Resp, error)) call {
	return call{early: true, prepare: func([]byte) (*prepared, error) {
		return &prepared{do: func(ctx context.Context) ([]byte, error) { return encode(fn(ctx)) }}, nil
	}}
}

func encode[Resp any](resp *Resp, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(resp)
	return append(text, '\n'), err
}

// longestField is how many bytes of a sandbox's key or a pool's ID are logged; those that are
// Docker's and mybr's are shorter.
const longestField = 256

// fieldsOf returns the log fields of a request, from the fields that the requests of both
// protocols name alike. Empty ones are left out; IDs are as Docker's commands print them.
func fieldsOf(req any) logrus.Fields {
	fields := logrus.Fields{}
	v := reflect.Indirect(reflect.ValueOf(req))
	for name, field := range map[string]string{
		"network": "NetworkID", "endpoint": "EndpointID", "sandbox": "SandboxKey", "pool": "PoolID",
	} {
		if f := v.FieldByName(field); f.IsValid() && f.String() != "" {
			value := model.Shorten(f.String(), longestField)
			if name == "network" || name == "endpoint" {
				value = model.ShortID(f.String())
			}
			fields[name] = Printable(value)
		}
	}
	return fields
}
