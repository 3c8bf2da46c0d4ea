// Package observe is what an operator sees of the server: structured log lines,
// audit events, and the correlation id that ties both to a request.
package observe

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// LogOptions are what NewLogger needs. Out and Errs are required.
type LogOptions struct {
	// Out gets the lines below warning, Errs the others.
	Out, Errs io.Writer
	Level     slog.Leveler
	// Text writes lines for people instead of JSON.
	Text bool
	// ObjectIDs writes the object id of users to audit events.
	ObjectIDs bool
	// OnEvent, if not nil, is told every audit event, those included that are
	// not written.
	OnEvent func(context.Context, Event)
	// Now is time.Now by default.
	Now func() time.Time
}

// NewLogger makes the log of a process.
//
// The Functions host gives a line its severity by the stream it came from:
// Information for stdout, and for stderr Error, or Warning if the text says
// "warn", which a line of that level does.
func NewLogger(o LogOptions) *slog.Logger {
	if o.Now == nil {
		o.Now = time.Now
	}
	options := &slog.HandlerOptions{Level: o.Level}
	lines := func(w io.Writer) slog.Handler {
		if o.Text {
			return slog.NewTextHandler(w, options)
		}
		return slog.NewJSONHandler(w, options)
	}
	return slog.New(&handler{out: lines(o.Out), errs: lines(o.Errs), objectIDs: o.ObjectIDs, onEvent: o.OnEvent, sampler: newSampler(o.Now)})
}

// handler splits by level and adds what is known of the request.
type handler struct {
	out, errs slog.Handler
	objectIDs bool
	onEvent   func(context.Context, Event)
	sampler   *sampler
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.out.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	c, request := correlation(ctx)
	if request {
		r.AddAttrs(slog.String("correlation_id", c.id))
		if c.trace != "" {
			r.AddAttrs(slog.String("trace_id", c.trace))
		}
	}
	passes, report := h.sampler.admit(ctx, r, c.client, request)
	if report != nil {
		_ = h.write(ctx, *report)
	}
	if !passes {
		return nil
	}
	return h.write(ctx, r)
}

func (h *handler) write(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		return h.errs.Handle(ctx, r)
	}
	return h.out.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.out, c.errs = h.out.WithAttrs(attrs), h.errs.WithAttrs(attrs)
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.out, c.errs = h.out.WithGroup(name), h.errs.WithGroup(name)
	return &c
}
