package plugin

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/page"
)

// The doctor looks while somebody has the page open: every examEvery, and no more often than
// takes a fiftieth of the time. One look ends after examWithin.
const (
	examEvery  = time.Minute
	examShare  = 50
	examWithin = time.Minute
)

// surgery has the doctor look at the host, behind whoever asks. It sees what this process may
// see, and never asks Docker.
type surgery struct {
	ctx  context.Context // ends every look
	look func(ctx context.Context) (doctor.Report, error)

	mu    sync.Mutex
	under bool // a look is under way
	took  time.Duration
	last  page.Exam
	ended time.Time // of the last look; zero: there was none
}

func newSurgery(ctx context.Context, c Config) *surgery {
	env := Client{RunDir: c.RunDir}.Doctor()
	env.Sysctls, env.Version, env.Name, env.PluginDir, env.StateDir = c.SysctlRoot, c.Version, c.Name, c.PluginDir, c.StateDir
	return &surgery{ctx: ctx, look: func(ctx context.Context) (doctor.Report, error) { return doctor.Run(ctx, env) }}
}

// findings are those of the last look; a new one is begun if that is long ago.
func (s *surgery) findings(context.Context) page.Exam {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.under && (s.ended.IsZero() || time.Since(s.ended) > max(examEvery, examShare*s.took)) && s.ctx.Err() == nil {
		s.under = true
		go s.examine()
	}
	return s.last
}

func (s *surgery) examine() {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, examWithin)
	defer cancel()
	var report doctor.Report
	_, err := guarded(ctx, func(ctx context.Context) (_ []byte, err error) {
		report, err = s.look(ctx)
		return nil, err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under, s.ended, s.took = false, time.Now(), time.Since(begun)
	if s.last.At.IsZero() || err == nil {
		s.last = page.Exam{At: s.ended}
	}
	s.last.Error = ""
	if err != nil {
		s.last.Error = printableError(err)
		return
	}
	for _, r := range report.Results {
		f := page.Finding{Name: Printable(r.Check), Verdict: string(r.Verdict), Mend: Printable(strings.Join(r.Mend, " && "))}
		for _, text := range append(slices.Clone(r.Seen), r.Means) {
			if text != "" {
				f.Seen += Printable(strings.TrimSuffix(text, ".")) + ". "
			}
		}
		f.Seen = strings.TrimSpace(f.Seen)
		s.last.Findings = append(s.last.Findings, f)
	}
}
