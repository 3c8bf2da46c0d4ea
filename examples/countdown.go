package examples

import (
	"context"
	"time"

	"entramcp/handler/toolkit"
)

type countdownInput struct {
	Seconds int `json:"seconds" jsonschema:"How long it takes." minimum:"1" maximum:"120" default:"5"`
}

// Countdown takes its time, says how far it is, and stops when the client cancels.
func Countdown() toolkit.Catalogue {
	return toolkit.Catalogue{Tools: []toolkit.Tool{
		toolkit.Define("countdown", "Count seconds down.", countdown, toolkit.ReadOnly(), toolkit.ClosedWorld(), toolkit.Deadline(3*time.Minute)),
	}}
}

func countdown(ctx context.Context, caller *toolkit.Caller, in countdownInput) (string, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for done := range in.Seconds {
		if err := caller.Progress(ctx, float64(done), float64(in.Seconds), "Counting."); err != nil {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
	return "Liftoff.", nil
}
