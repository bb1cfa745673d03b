// Command run measures mybr beside Docker's own driver: the rows of package bench, in worlds
// of their own (package world). It prints what it measures as benchstat reads it, keeps it
// in integration/bench/records/ROW.json, and writes docs/performance.md with its plots from all that is
// kept there. It runs at the top of the module, as `make bench` has it.
//
// With -quick it measures a part of each row that takes little, writes no document, and
// fails if a figure is past its guard by more than the noise of the run.
//
// Be aware: it needs root, and a machine that does nothing else.
package main

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/mybr/mybr/integration/bench"
	"github.com/mybr/mybr/integration/world"
)

func main() {
	world.Main()
	s := &session{out: os.Stderr}
	mybr := flag.String("mybr", "bin/mybr", "the mybr binary")
	only := flag.String("run", "", "only rows whose names match this regular expression; of the others the document says what it said")
	flag.BoolVar(&s.opts.quick, "quick", false, "measure a part that takes little, and fail if a guard is passed")
	flag.Float64Var(&s.opts.rounds, "rounds", 1, "how many rounds, times each row's own number")
	flag.StringVar(&s.opts.dir, "records", bench.RecordsDir, "where records are kept (those of -quick: default build/bench-quick)")
	documents := flag.String("document", "docs", "where performance.md and its plots are written; empty: nowhere")
	list := flag.Bool("list", false, "list the rows that would be measured, and measure nothing")
	render := flag.Bool("render", false, "write the document from the records that are there, and measure nothing")
	flag.Parse()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		os.Exit(130) // and with this process its worlds
	}()
	if s.opts.quick {
		*documents = ""
		if s.opts.dir == bench.RecordsDir {
			s.opts.dir = filepath.Join("build", "bench-quick")
		}
	}
	err := contradiction(flag.CommandLine)
	var rows []bench.Row
	if err == nil {
		rows, err = chosen(*only, s.opts.quick)
	}
	if err == nil && *list {
		for _, row := range rows {
			fmt.Printf("%-16s %s: %s\n", row.ID, row.What, row.Want)
		}
		return
	}
	if err == nil && !*render {
		err = s.measure(rows, *mybr)
	}
	if err == nil && *documents != "" {
		err = write(s.opts.dir, *documents)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// contradiction is an error if something is given that would be ignored.
func contradiction(given *flag.FlagSet) (err error) {
	if given.NArg() > 0 {
		return fmt.Errorf("%q: want flags alone", given.Arg(0))
	}
	for name, without := range map[string][]string{"quick": {"rounds", "document", "render"}, "render": {"mybr", "run", "rounds", "list"}} {
		if given.Lookup(name).Value.String() != "true" {
			continue
		}
		given.Visit(func(f *flag.Flag) {
			if slices.Contains(without, f.Name) {
				err = fmt.Errorf("-%s: -%s can't be given with it", name, f.Name)
			}
		})
	}
	return err
}

// chosen are the rows that match.
func chosen(only string, quick bool) ([]bench.Row, error) {
	names, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	rows := slices.DeleteFunc(bench.Rows(), func(r bench.Row) bool { return !names.MatchString(r.ID) || quick && !r.Quick })
	if len(rows) == 0 {
		return nil, fmt.Errorf("-run %q: no row has such a name", only)
	}
	return rows, nil
}

// measure measures the rows. One that can't be measured does not keep the others from it.
func (s *session) measure(rows []bench.Row, mybr string) error {
	if s.opts.rounds <= 0 {
		return fmt.Errorf("-rounds %v: want more than 0", s.opts.rounds)
	}
	path, err := filepath.Abs(mybr)
	if err != nil {
		return err
	}
	if s.backend, err = backends(path); err != nil {
		return err
	}
	apart, err := interruptsApart()
	if err != nil {
		return err
	}
	if s.workTells = !apart; apart {
		s.printf("# nothing is measured for a second of a processor: this kernel may count packets' time apart\n")
	}
	if err := os.Setenv("MYBR_TEST_BINARY", path); err != nil { // package world takes this one
		return err
	}
	defer s.close()
	// A part is measured beside whatever else a machine for tests does, and its guards hold there.
	wait := 10
	if s.opts.quick {
		wait = 1
	}
	var wrong []string
	for _, row := range rows {
		if s.record, err = newRecord(row.ID, path, wait); err != nil {
			return err
		}
		s.printf("# %s, %.1f processors are busy\n", row.ID, s.record.Busy)
		if err := s.play(row, players()[row.ID]); err != nil {
			s.printf("# %v\n", err)
			wrong = append(wrong, err.Error())
			continue
		}
		fmt.Print(s.record.Lines())
		if err := s.record.Write(s.opts.dir); err != nil {
			return err
		}
		verdicts := row.Verdicts(bench.NewSet(*s.record))
		for _, v := range verdicts {
			s.printf("# %s\n", v)
			if s.opts.quick && v.Past() {
				wrong = append(wrong, "past its guard: "+v.String())
			}
		}
		if s.opts.quick {
			for _, driver := range unguarded(verdicts, s.mybrs()) {
				wrong = append(wrong, fmt.Sprintf("%s: nothing was measured that guards %s", row.ID, driver))
			}
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d things are not as they should be:\n%s", len(wrong), strings.Join(wrong, "\n"))
	}
	return nil
}

// unguarded are those of the drivers of which no figure with a guard, and with an interval,
// was measured: they could be as slow as they like.
func unguarded(verdicts []bench.Verdict, drivers []string) []string {
	return slices.DeleteFunc(slices.Clone(drivers), func(driver string) bool {
		return slices.ContainsFunc(verdicts, func(v bench.Verdict) bool {
			return v.Mybr == driver && v.Guard != 0 && !math.IsInf(v.Low, 0)
		})
	})
}

// players says how each row is measured.
func players() map[string]func(*session) {
	all := map[string]func(*session){}
	for _, some := range []map[string]func(*session){pathPlayers, callPlayers, portPlayers, insidePlayers} {
		maps.Copy(all, some)
	}
	return all
}
