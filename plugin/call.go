package plugin

import (
	"context"
	"encoding/json"
	"reflect"
)

// call is one row of the table of routes.
type call struct {
	prepare func(body []byte) (*prepared, error)

	early  bool // answered before the first pass, since it needs nothing of the host
	single bool // equal calls that overlap are carried out once (Docker's retries)
}

// prepared is a call whose argument has been read.
type prepared struct {
	ids ids
	do  func(ctx context.Context) ([]byte, error) // returns the JSON of the answer
}

// ids are what a call is about, for the log. Those that a request lacks are "".
type ids struct{ network, endpoint, pool string }

// route makes a row from a method that takes an argument.
func route[Req, Resp any](fn func(context.Context, *Req) (*Resp, error)) call {
	return call{prepare: func(body []byte) (*prepared, error) {
		req := new(Req)
		if err := decode(body, req); err != nil {
			return nil, err
		}
		return &prepared{
			ids: idsOf(req),
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

// once marks a row whose equal calls are carried out once when they overlap.
func once(c call) call {
	c.single = true
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

// idsOf reads the IDs from the fields that the requests of both protocols call
// NetworkID, EndpointID and PoolID.
func idsOf(req any) ids {
	v := reflect.Indirect(reflect.ValueOf(req))
	if v.Kind() != reflect.Struct {
		return ids{}
	}
	text := func(name string) string {
		if f := v.FieldByName(name); f.IsValid() && f.Kind() == reflect.String {
			return f.String()
		}
		return ""
	}
	return ids{network: text("NetworkID"), endpoint: text("EndpointID"), pool: text("PoolID")}
}
