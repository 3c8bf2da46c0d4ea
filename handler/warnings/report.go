package warnings

import (
	"context"
	"log/slog"
	"time"
)

const (
	// lookEvery is how often Run looks for warnings.
	lookEvery = time.Minute
	// repeatEvery is how often a warning that stays is logged again.
	repeatEvery = 24 * time.Hour
)

// Reporter logs each warning when it begins, once a day while it stays, and when it
// is over. Its fields must not change once it is used.
type Reporter struct {
	Current func(context.Context) []Warning
	Now     func() time.Time
	Log     *slog.Logger

	logged map[Name]time.Time // when each warning that stays was last logged
}

// Run calls Report once a minute until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		r.Report(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Report logs what has begun, stayed for a day or ended since the last call. It must
// not be called while Run runs.
func (r *Reporter) Report(ctx context.Context) {
	now, before := r.Now(), r.logged
	r.logged = map[Name]time.Time{}
	for _, w := range r.Current(ctx) {
		if at, stays := before[w.Name]; stays && now.Sub(at) < repeatEvery {
			r.logged[w.Name] = at
			continue
		}
		r.logged[w.Name] = now
		r.Log.WarnContext(ctx, "this will stop working", slog.String("warning", string(w.Name)), slog.String("summary", w.Summary), slog.String("fix", w.Fix))
	}
	for name := range before {
		if _, stays := r.logged[name]; !stays {
			r.Log.InfoContext(ctx, "a warning is over", slog.String("over", string(name)))
		}
	}
}
