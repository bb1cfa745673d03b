package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/fault"
)

// A commit of bbolt waits for the disk twice: for its pages, and then for the page that says
// which ones count. That is most of what mybr takes for a container, and no use where the change
// is about endpoints alone: a boot drops them all (Boot), so that their records must outlast the
// process and not the kernel. Such changes are answered when they are in the journal, a file
// beside the state file that is written and not synced; they get into the state file with the
// next other change, or writeBack later.
//
// Changes of networks, pools, leases and all else are on the disk before they are answered.
const (
	// writeBack is how long a change may be in the journal alone.
	writeBack = 100 * time.Millisecond
	// retryWriteBack is when it is tried again to get it into a state file that could not be
	// written.
	retryWriteBack = 5 * time.Second
	// longestJournal is how many bytes of it are made again, in memory, by each update that comes
	// meanwhile.
	longestJournal = 64 << 10
)

// journal is that file, and what it has in it that the state file has not. Store.write guards it.
type journal struct {
	path   string
	file   *os.File      // nil: it is not open
	size   int64         // of what counts in the file, in bytes
	after  int           // the transaction of the state file that the changes come behind
	ahead  []change      // those changes, in their order
	timer  *time.Timer   // for writing them back; nil: nothing is to be
	within time.Duration // 0: writeBack
	owed   int           // how many times tests have been told that it is written back later, and not yet that it is
	told   string        // what was warned of last
}

// entry is a line of the file: an update's changes. A line that is behind another transaction
// than the state file's last is an old one, of which all is in the state file.
type entry struct {
	After   int
	Changes []entryChange
}

// entryChange is a change as it is written.
type entryChange struct {
	Kind       changeKind
	At         place
	Key, Value []byte
}

func journalPath(stateFile string) string { return stateFile + ".journal" }

// ofEndpoints reports whether changes are about endpoints alone: their records, and notes of
// addresses that they had, which a boot drops too. What is long is better written once.
func ofEndpoints(changes []change) bool {
	size := 0
	for _, c := range changes {
		if size += len(c.value); size > longestJournal {
			return false
		}
		record := len(c.at) == 1 && c.at[0] == bucketEndpoints && (c.kind == putKey || c.kind == deleteKey)
		note := len(c.at) == 1 && c.at[0] == bucketMeta && bytes.HasPrefix(c.key, keyEnded.bytes()) && c.kind == putKey
		if !record && !note {
			return false
		}
	}
	return true
}

// line is an update's changes as they are in the file: a checksum, JSON, and the end of the line.
func line(after int, changes []change) ([]byte, error) {
	e := entry{After: after}
	for _, c := range changes {
		e.Changes = append(e.Changes, entryChange{c.kind, c.at, c.key, c.value})
	}
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(text), text), nil
}

// parseLine is the reverse of line; ok is false for what the end of the process or of the kernel
// has left half written.
func parseLine(text []byte) (e entry, ok bool) {
	sum, text, found := bytes.Cut(text, []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !found || err != nil || uint32(want) != crc32.ChecksumIEEE(text) {
		return e, false
	}
	return e, json.Unmarshal(text, &e) == nil
}

// add writes changes that come behind a transaction of the state file and behind what is in the
// journal already. It returns an error if they are not in the file then: they must be made another
// way.
func (j *journal) add(after int, changes []change) error {
	text, err := line(after, changes)
	if err == nil {
		err = fault.Point("store: before the commit")
	}
	if err == nil {
		err = j.open()
	}
	if err == nil {
		_, err = j.file.WriteAt(text, j.size) // over what was half written, or counts no more
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", j.path, err)
	}
	fault.Passed("store: after the commit")
	j.size += int64(len(text))
	j.after, j.ahead = after, append(j.ahead, changes...)
	return nil
}

// open opens the file. One that is open, and that another file has taken the place of, can't be
// gone on with if it has something in it.
func (j *journal) open() error {
	if j.file != nil {
		mine, err := j.file.Stat()
		if err != nil {
			return err
		}
		there, err := os.Stat(j.path)
		if err == nil && os.SameFile(mine, there) {
			return nil
		}
		if j.size > 0 {
			return fmt.Errorf("it was deleted or replaced: %w", fs.ErrNotExist)
		}
		if err := j.close(); err != nil {
			return err
		}
	}
	fd, err := os.OpenFile(j.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	j.file = fd
	return nil
}

// reopen opens the file of the process before, which must be there: it is gone on with.
func (j *journal) reopen() (err error) {
	j.file, err = os.OpenFile(j.path, os.O_RDWR, 0)
	return err
}

// redo makes the changes that are in the journal in a transaction of the state file.
func (j *journal) redo(b *bolt.Tx) error {
	for _, c := range j.ahead {
		if err := c.do(b); err != nil {
			return err
		}
	}
	return nil
}

// written says that all is in the state file now: what is in the journal's counts no more, since
// that has another last transaction.
func (j *journal) written() {
	if j.timer != nil && j.timer.Stop() {
		j.over()
	}
	j.size, j.ahead, j.timer = 0, nil, nil
}

// later has do write it back.
func (j *journal) later(do func()) {
	fault.Passed("store: the journal is written back later")
	j.owed++
	j.timer = time.AfterFunc(cmp.Or(j.within, writeBack), do)
}

// over ends what later began.
func (j *journal) over() {
	if j.owed > 0 {
		j.owed--
		fault.Passed("store: after writing the journal back")
	}
}

// warn tells what is wrong, once.
func (j *journal) warn(warn func(format string, args ...any), text string) {
	if text != j.told {
		warn("%s", text)
	}
	j.told = text
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

// remove deletes the file, of which nothing counts any more.
func (j *journal) remove() error { return errors.Join(j.close(), removeFile(j.path)) }

// readJournal reads the changes that come behind a transaction of the state file. They end
// with the first line that is not whole: its update was not answered. size is that of those before
// it, in bytes.
func readJournal(path string, after int) (changes []change, size int64, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, err
	}
	for l := range bytes.Lines(text) {
		e, ok := parseLine(bytes.TrimSuffix(l, []byte("\n")))
		if !ok || e.After != after {
			return changes, size, nil
		}
		size += int64(len(l))
		for _, c := range e.Changes {
			changes = append(changes, change{c.Kind, c.At, c.Key, c.Value})
		}
	}
	return changes, size, nil
}
