package handler

import (
	"context"
	"fmt"
	"log/slog"

	"entramcp/handler/config"
)

// RotateKeys publishes the next epoch of the key ring, as an operator wants to
// when keys may have leaked. It signs ten minutes later; nobody is signed out.
func RotateKeys(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	s, err := Open(cfg, log)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.prepare != nil {
		if err := s.prepare(ctx); err != nil {
			return err
		}
	}
	if err := s.ring.Rotate(ctx); err != nil {
		return fmt.Errorf("rotate the keys: %w", err)
	}
	return nil
}
