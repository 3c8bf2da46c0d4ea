// Package observe is what an operator sees of the server: structured log lines
// and the correlation id that ties them to a request.
package observe

import (
	"context"
	"io"
	"log/slog"
)

// NewLogger writes JSON lines: warnings and errors to errs, the rest to out.
//
// The Functions host gives a line its severity by the stream it came from:
// Information for stdout, and for stderr Error, or Warning if the text says
// "warn", which a line of that level does.
func NewLogger(out, errs io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	return slog.New(&split{
		out:  slog.NewJSONHandler(out, options),
		errs: slog.NewJSONHandler(errs, options),
	})
}

type split struct{ out, errs slog.Handler }

func (s *split) Enabled(ctx context.Context, level slog.Level) bool {
	return s.out.Enabled(ctx, level)
}

func (s *split) Handle(ctx context.Context, r slog.Record) error {
	if c, ok := correlation(ctx); ok {
		r.AddAttrs(slog.String("correlation_id", c.id))
		if c.trace != "" {
			r.AddAttrs(slog.String("trace_id", c.trace))
		}
	}
	if r.Level >= slog.LevelWarn {
		return s.errs.Handle(ctx, r)
	}
	return s.out.Handle(ctx, r)
}

func (s *split) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &split{s.out.WithAttrs(attrs), s.errs.WithAttrs(attrs)}
}

func (s *split) WithGroup(name string) slog.Handler {
	return &split{s.out.WithGroup(name), s.errs.WithGroup(name)}
}
