package handler

import (
	"context"
	"errors"
	"time"

	"entramcp/handler/backend"
	"entramcp/handler/config"
)

// Open is New with the table and the wrapping key that the configuration names,
// where deps brings none. It reads local files; what needs the network happens
// in Run. Close closes what Open opened, and no table of the caller's.
func Open(cfg config.Config, deps Dependencies) (*Server, error) {
	deps = deps.withDefaults(cfg)
	opened := backend.Table{Prepare: func(context.Context) error { return nil }}
	closeTable := func() error { return nil }
	if deps.Table == nil {
		var err error
		if opened, err = backend.OpenTable(cfg, deps.Log); err != nil {
			return nil, err
		}
		deps.Table, closeTable = opened.Table, opened.Close
	}
	if deps.Wrapper == nil {
		var err error
		if deps.Wrapper, err = backend.OpenWrapper(cfg); err != nil {
			return nil, errors.Join(err, closeTable())
		}
	}
	s, err := New(cfg, deps)
	if err != nil {
		return nil, errors.Join(err, closeTable())
	}
	s.prepare, s.close = opened.Prepare, closeTable
	return s, nil
}

// Close releases what Open opened. Run must have returned.
func (s *Server) Close() error { return s.close() }

// prepared readies the table, as often as it takes, and says whether ctx still
// lasts.
func (s *Server) prepared(ctx context.Context) bool {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := s.prepare(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
		s.deps.Log.ErrorContext(ctx, "the table cannot be prepared; it will be tried again", "cause", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}
