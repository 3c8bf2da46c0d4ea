package azuretable

import "time"

// NewImpatient is New with a bound of one attempt that a test can wait for.
func NewImpatient(opts Options, try time.Duration) (*Table, error) {
	return newTable(opts, timing{try: try, retry: time.Millisecond, retryMax: 10 * time.Millisecond, tableDying: time.Millisecond})
}
