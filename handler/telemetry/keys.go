package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"

	"entramcp/handler/keyring"
)

// Wrapper makes a span of every use of the wrapping key, which may be a call to Key
// Vault, and measures its duration.
func (t *Telemetry) Wrapper(next keyring.Wrapper) keyring.Wrapper {
	if t == nil {
		return next
	}
	return wrapper{next, t}
}

type wrapper struct {
	keyring.Wrapper
	telemetry *Telemetry
}

func (w wrapper) Wrap(ctx context.Context, key []byte) (id string, wrapped []byte, err error) {
	err = w.measure(ctx, "wrap", func(ctx context.Context) error { id, wrapped, err = w.Wrapper.Wrap(ctx, key); return err })
	return id, wrapped, err
}

func (w wrapper) Unwrap(ctx context.Context, id string, wrapped []byte) (key []byte, err error) {
	err = w.measure(ctx, "unwrap", func(ctx context.Context) error { key, err = w.Wrapper.Unwrap(ctx, id, wrapped); return err })
	return key, err
}

func (w wrapper) measure(ctx context.Context, operation string, run func(context.Context) error) error {
	return w.telemetry.operation(ctx, "key "+operation, w.telemetry.wrapping, attribute.String("operation", operation), func(error) string { return "" }, run)
}
