package observe

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"entramcp/handler/ratelimit"
)

// What one kind of line, by message or by name of audit event, may be written
// on account of requests: by one client's address, and by all of them together.
// The latter is about 80 MB a day, so that no stranger can use up the daily
// limit of a log (in Azure, of the workspace) and blind the alerts that read it.
var (
	linesEach  = ratelimit.Limit{PerSecond: 0.1, Burst: 20}
	linesTotal = ratelimit.Limit{PerSecond: 2, Burst: 200}
)

// reportEvery is how often it is said how many lines were left out.
const reportEvery = time.Minute

// kindKey is the context key under which Audit says what kind of line it
// writes.
type kindKey struct{}

// unlimited is the kind of audit events about somebody who has signed in.
const unlimited = ""

// sampler counts the lines that requests cause and leaves out those over the
// limit. Debug lines pass: an operator has asked for them.
type sampler struct {
	now func() time.Time

	mu      sync.Mutex
	kinds   map[string]*ratelimit.Limiter // messages are constants: they are few
	leftOut map[string]int64
	since   time.Time // the first line left out after the last report
}

func newSampler(now func() time.Time) *sampler {
	return &sampler{now: now, kinds: map[string]*ratelimit.Limiter{}, leftOut: map[string]int64{}}
}

// admit reports whether r may be written, and returns a line to write before it
// if it is time to say what was left out.
func (s *sampler) admit(ctx context.Context, r slog.Record, client string, request bool) (passes bool, report *slog.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.IsZero() && s.now().Sub(s.since) >= reportEvery {
		report = s.report()
	}
	kind, audit := ctx.Value(kindKey{}).(string)
	if !audit {
		kind = r.Message
	}
	if !request || r.Level < slog.LevelInfo || kind == unlimited {
		return true, report
	}
	l := s.kinds[kind]
	if l == nil {
		l = ratelimit.New(linesEach, linesTotal, s.now)
		s.kinds[kind] = l
	}
	if l.Take(client) == 0 {
		return true, report
	}
	s.leftOut[kind]++
	if s.since.IsZero() {
		s.since = s.now()
	}
	return false, report
}

func (s *sampler) report() *slog.Record {
	r := slog.NewRecord(s.now(), slog.LevelInfo, "log lines omitted", 0)
	r.AddAttrs(slog.String("since", s.since.UTC().Format(time.RFC3339)))
	var counts []slog.Attr
	for kind, n := range s.leftOut {
		counts = append(counts, slog.Int64(kind, n))
	}
	r.AddAttrs(slog.GroupAttrs("counts", counts...))
	clear(s.leftOut)
	s.since = time.Time{}
	return &r
}
