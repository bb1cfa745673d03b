package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	helper "github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/network"
	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/ipam"
)

// Forgotten is what POST /v1/forget asks for: one of both, which Docker has no more.
type Forgotten struct {
	Network string `json:"network,omitempty"` // its whole ID
	Pool    string `json:"pool,omitempty"`    // its ID, as GET /v1/view has it
	// KeepPools leaves the network's pools, which Docker has given to another one meanwhile.
	KeepPools bool `json:"keepPools,omitempty"`
}

// forgetter does what Docker would ask for, had it not forgotten a network or a pool without a
// word.
type forgetter struct {
	ready         <-chan struct{}
	snapshot      func() model.Snapshot
	pools         func() ([]ipam.Usage, error)
	deleteNetwork func(ctx context.Context, r *network.DeleteNetworkRequest) error
	releasePool   func(ctx context.Context, r *helper.ReleasePoolRequest) error
	log           *logrus.Logger
}

// deletes returns the call that deletes a network, whose pool may have been released before.
func deletes(d *driver.Driver, i *ipam.Driver) func(ctx context.Context, r *network.DeleteNetworkRequest) error {
	return func(ctx context.Context, r *network.DeleteNetworkRequest) error {
		return errors.Join(d.DeleteNetwork(ctx, r), i.NetworkDeleted())
	}
}

// maxForgotten bounds a request: an ID has 64 characters.
const maxForgotten = 4096

// serve is POST /v1/forget.
func (f *forgetter) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuse(w, r, http.MethodPost)
		return
	}
	var what Forgotten
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForgotten))
	if err == nil {
		err = json.Unmarshal(body, &what)
	}
	if err == nil && (what.Network == "") == (what.Pool == "") {
		err = errors.New("want the field network or the field pool")
	}
	if err != nil {
		reply(w, r, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	respond(w, r, func(ctx context.Context) (any, error) { return what, f.forget(ctx, what) })
}

func (f *forgetter) forget(ctx context.Context, what Forgotten) error {
	select {
	case <-f.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if what.Pool != "" {
		return f.forgetPool(ctx, what.Pool)
	}
	networks := f.snapshot().Networks
	i := slices.IndexFunc(networks, func(n model.Network) bool { return n.ID == what.Network })
	if i < 0 {
		return fmt.Errorf("network %q is unknown", shorten(what.Network))
	}
	f.log.WithField("network", what.Network).Info("an operator has this network forgotten")
	if err := f.deleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: what.Network}); err != nil {
		return err
	}
	if what.KeepPools {
		return nil
	}
	pools, err := f.pools()
	if err != nil {
		return err
	}
	for _, p := range pools {
		for _, s := range []model.Subnet{networks[i].V4, networks[i].V6} {
			if s.Space == p.Pool.Space && s.Prefix == p.Pool.Prefix {
				err = errors.Join(err, f.forgetPool(ctx, p.Pool.ID))
			}
		}
	}
	return err
}

// forgetPool releases a pool that no network of mybr's has, and makes sure that it is gone: what
// is taken for a second network's release changes nothing.
func (f *forgetter) forgetPool(ctx context.Context, id string) error {
	p, err := f.pool(id)
	if err != nil {
		return err
	} else if p == nil {
		return fmt.Errorf("pool %q is unknown", shorten(id))
	}
	for _, n := range f.snapshot().Networks {
		if n.V4.Space == p.Space && n.V4.Prefix == p.Prefix || n.V6.Space == p.Space && n.V6.Prefix == p.Prefix {
			return fmt.Errorf("pool %q is that of network %s", id, n.ID)
		}
	}
	f.log.WithField("pool", id).Info("an operator has this pool forgotten")
	if err := f.releasePool(ctx, &helper.ReleasePoolRequest{PoolID: id}); err != nil {
		return err
	}
	if p, err = f.pool(id); err == nil && p != nil {
		err = fmt.Errorf("pool %q is asked for just now: try again", id)
	}
	return err
}

// pool returns the pool with an ID, nil if there is none.
func (f *forgetter) pool(id string) (*model.Pool, error) {
	pools, err := f.pools()
	for _, p := range pools {
		if p.Pool.ID == id {
			return &p.Pool, err
		}
	}
	return nil, err
}
