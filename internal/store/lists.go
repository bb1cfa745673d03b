package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// Lists returns all lists as of the call, sorted by name. The list of them and what it holds must
// not be changed.
func (tx *Tx) Lists() []model.List { return tx.snap.Lists }

// List returns the list with that name, or an error that wraps model.ErrNotFound.
func (tx *Tx) List(name string) (model.List, error) {
	i, found := slices.BinarySearchFunc(tx.snap.Lists, name, compareList)
	if !found {
		return model.List{}, fmt.Errorf("list %s: %w", name, model.ErrNotFound)
	}
	return tx.snap.Lists[i].Clone(), nil
}

// PutList records a list under its name.
func (tx *Tx) PutList(l model.List) error {
	if err := model.CheckListName(l.Name); err != nil {
		return err
	}
	before, err := tx.List(l.Name)
	stored, changed, putErr := putIn(tx, place{bucketMeta}, listKey(l.Name), l)
	if putErr != nil || !changed {
		return putErr
	}
	want := schemaLimits
	if len(l.Egress) > 0 {
		want = schemaPolicies
	}
	if err := tx.raiseSchema(want); err != nil {
		return err
	}
	remember(&tx.undo.lists, l.Name, before, err, &stored)
	tx.snap.Lists = insert(slices.Clone(tx.snap.Lists), stored, l.Name, compareList)
	return nil
}

// DeleteList deletes the list's record.
func (tx *Tx) DeleteList(name string) error {
	before, err := tx.List(name)
	if err != nil {
		return nil
	}
	if err := tx.delete(place{bucketMeta}, listKey(name)); err != nil {
		return fmt.Errorf("delete list %s: %w", name, err)
	}
	remember(&tx.undo.lists, name, before, nil, nil)
	tx.snap.Lists = remove(slices.Clone(tx.snap.Lists), name, compareList)
	return nil
}

func listKey(name string) []byte { return append(keyList.bytes(), name...) }

func compareList(l model.List, name string) int { return cmp.Compare(l.Name, name) }

// schemaOf is the least schema of a record with these limits, policy of published ports and egress lists, that about who sends
// what, and about what containers may begin to each other.
func schemaOf(from, fromSet []model.Limit, policy, egress string, spoof model.Spoof, icc string) int {
	switch {
	case policy != "" || slices.ContainsFunc(slices.Concat(from, fromSet), model.Limit.ByInterface):
		return schemaIngress
	case icc != "":
		return schemaICC
	case egress != "" || spoof != (model.Spoof{}):
		return schemaPolicies
	case len(from)+len(fromSet) > 0:
		return schemaLimits
	}
	return schemaFirst
}

// raiseSchema has a mybr that does not know what a schema is for refuse the file.
func (tx *Tx) raiseSchema(want int) error {
	if want == schemaFirst {
		return nil
	}
	text := string(tx.b.Bucket(bucketMeta.bytes()).Get(keySchema.bytes()))
	if version, err := strconv.Atoi(text); err != nil {
		return fmt.Errorf("schema %q: %w", text, err)
	} else if version >= want {
		return nil
	}
	return tx.put(place{bucketMeta}, keySchema.bytes(), []byte(strconv.Itoa(want)))
}

// readLists reads all lists, sorted by name.
func readLists(b *bolt.Tx) (all []model.List, err error) {
	c := b.Bucket(bucketMeta.bytes()).Cursor()
	for k, v := c.Seek(keyList.bytes()); bytes.HasPrefix(k, keyList.bytes()); k, v = c.Next() {
		l, err := readList(string(k), v)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func readList(key string, raw []byte) (l model.List, err error) {
	name := strings.TrimPrefix(key, string(keyList))
	if err := json.Unmarshal(raw, &l); err != nil {
		return l, fmt.Errorf("list %q: %w", name, err)
	}
	if l.Name != name {
		return l, fmt.Errorf("list %q: it is named %q", name, l.Name)
	}
	return l, nil
}
