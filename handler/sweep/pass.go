package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"entramcp/handler/store"
)

// transactionPrefix begins the partitions whose rows nobody extends: only those
// may be removed without regard to their version.
const transactionPrefix = "t-"

// place is where in the table a run is: a listing and a cursor of it.
type place struct {
	Before time.Time    `json:"before"`
	Cursor store.Cursor `json:"cursor"`
}

// pass is the work of one run.
type pass struct {
	*Sweeper
	began  time.Time
	at     place
	report Report
}

func (p *pass) run(ctx context.Context) error {
	span := store.Prefix("")
	span.ExpiredBefore = p.at.Before
	for {
		page, err := p.opts.Table.List(ctx, span, p.at.Cursor)
		if err != nil {
			return fmt.Errorf("sweep: list expired rows: %w", err)
		}
		for rows := page.Rows; len(rows) > 0; {
			if p.exhausted() {
				p.report.More = true
				return nil
			}
			n, err := p.remove(ctx, rows)
			if err != nil {
				return err
			}
			rows = rows[n:]
		}
		if page.Next == "" {
			return nil
		}
		p.at.Cursor = page.Next
		if p.exhausted() {
			p.report.More = true
			return nil
		}
	}
}

func (p *pass) exhausted() bool {
	return p.report.total() >= p.opts.MaxRows || p.opts.Now().Sub(p.began) >= p.opts.MaxTime
}

// remove takes the first row, or all transactions of the first row's partition,
// and returns how many rows are dealt with.
func (p *pass) remove(ctx context.Context, rows []store.Row) (int, error) {
	first := rows[0]
	if strings.HasPrefix(first.Partition, transactionPrefix) {
		return p.drop(ctx, rows)
	}
	switch err := p.opts.Table.Delete(ctx, first.Partition, first.Key, first.ETag); {
	case err == nil:
		p.report.count(first.Partition, 1)
	case errors.Is(err, store.ErrConflict):
		p.report.Kept++ // its owner has just used it
	case errors.Is(err, store.ErrNotFound):
	default:
		return 0, fmt.Errorf("sweep: delete a row: %w", err)
	}
	return 1, nil
}

func (p *pass) drop(ctx context.Context, rows []store.Row) (int, error) {
	partition := rows[0].Partition
	var keys []string
	for _, row := range rows {
		if row.Partition != partition || len(keys) == store.MaxDrop {
			break
		}
		keys = append(keys, row.Key)
	}
	if err := p.opts.Table.Drop(ctx, partition, keys); err != nil {
		return 0, fmt.Errorf("sweep: drop rows: %w", err)
	}
	p.report.count(partition, len(keys))
	return len(keys), nil
}
