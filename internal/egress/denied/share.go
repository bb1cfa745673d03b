package denied

import "time"

// owner is a container on a network, or, without an endpoint, all whose address is no container's.
type owner struct{ network, endpoint string }

// share is what an owner has of a Log: its entries, as a list with what was seen last in front, and
// how many lines it may have told.
type share struct {
	entries        int
	newest, oldest *known
	at             int // in shares
	lines          bucket
}

// front has an entry be the newest one; it may be new.
func (s *share) front(x *known) {
	if s.newest == x {
		return
	}
	if x.newer != nil {
		s.take(x)
	}
	if s.newest != nil {
		s.newest.newer, x.older = x, s.newest
	} else {
		s.oldest = x
	}
	s.newest = x
	s.entries++
}

// take takes an entry out.
func (s *share) take(x *known) {
	if x.newer != nil {
		x.newer.older = x.older
	} else {
		s.newest = x.older
	}
	if x.older != nil {
		x.older.newer = x.newer
	} else {
		s.oldest = x.newer
	}
	x.newer, x.older = nil, nil
	s.entries--
}

// shares is a heap (container/heap) with that in front which loses an entry next: it has most of them,
// and of several such ones it has been silent longest.
type shares []*share

func (s shares) Len() int { return len(s) }

func (s shares) Less(i, j int) bool {
	if s[i].entries != s[j].entries {
		return s[i].entries > s[j].entries
	}
	if s[i].newest == nil || s[j].newest == nil { // it is new
		return s[j].newest == nil && s[i].newest != nil
	}
	return s[i].newest.Last.Before(s[j].newest.Last)
}

func (s shares) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].at, s[j].at = i, j
}

func (s *shares) Push(x any) {
	of := x.(*share)
	of.at = len(*s)
	*s = append(*s, of)
}

func (s *shares) Pop() any {
	last := (*s)[len(*s)-1]
	(*s)[len(*s)-1] = nil
	*s = (*s)[:len(*s)-1]
	return last
}

// bucket is how many lines may be told at once.
type bucket struct {
	left   int
	filled time.Time // when left was right
}

// fill adds one for each pause that has passed, up to so many.
func (b *bucket) fill(now time.Time, most int, pause time.Duration) {
	if full := int64(now.Sub(b.filled) / pause); full > 0 {
		b.left = int(min(int64(most), int64(b.left)+full))
		b.filled = b.filled.Add(time.Duration(full) * pause)
	}
}
