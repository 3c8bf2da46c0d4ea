package azuretable

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"entramcp/handler/store"
)

// List implements store.Table. A span of several partitions is a scan on the
// service's side, which may answer with empty pages.
func (t *Table) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	if err := span.Check(); err != nil {
		return store.Page{}, err
	}
	return t.query(ctx, spanFilter(span), from)
}

// ListExpired implements store.Table. The service has no index by Expires, so
// it scans the whole table on its side, up to five seconds a page.
func (t *Table) ListExpired(ctx context.Context, before time.Time, from store.Cursor) (store.Page, error) {
	return t.query(ctx, "Expires lt datetime"+quote(wholeSecond(before).Format(time.RFC3339)), from)
}

// query asks for one page. The service ends a page at 1,000 entities, 4 MiB or
// five seconds:
// https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
func (t *Table) query(ctx context.Context, filter string, from store.Cursor) (store.Page, error) {
	options := &aztables.ListEntitiesOptions{Filter: &filter, Top: to.Ptr(int32(store.MaxPage))}
	if err := resume(options, from); err != nil {
		return store.Page{}, err
	}
	answer, err := t.reader.NewListEntitiesPager(options).NextPage(ctx)
	if err != nil {
		return store.Page{}, outcome("list", err)
	}
	page := store.Page{Next: cursorOf(answer)}
	for _, data := range answer.Entities {
		row, err := decode(data)
		if err != nil {
			return store.Page{}, outcome("list", err)
		}
		page.Rows = append(page.Rows, row)
	}
	return page, nil
}

// https://learn.microsoft.com/rest/api/storageservices/querying-tables-and-entities
func spanFilter(span store.Span) string {
	var terms []string
	if span.First == span.Last {
		terms = append(terms, "PartitionKey eq "+quote(span.First))
	} else {
		if span.First != "" {
			terms = append(terms, "PartitionKey ge "+quote(span.First))
		}
		terms = append(terms, "PartitionKey le "+quote(span.Last))
	}
	if span.FirstKey != "" {
		terms = append(terms, "RowKey ge "+quote(span.FirstKey))
	}
	return strings.Join(terms, " and ")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// wholeSecond rounds up: Expires is in whole seconds, so being before t and
// being before the next whole second are the same.
func wholeSecond(t time.Time) time.Time {
	t = t.UTC()
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

// A Cursor is the service's continuation token as a query string.
const (
	cursorPartition = "p"
	cursorRow       = "r"
)

func cursorOf(page aztables.ListEntitiesResponse) store.Cursor {
	token := url.Values{}
	if page.NextPartitionKey != nil && *page.NextPartitionKey != "" {
		token.Set(cursorPartition, *page.NextPartitionKey)
	}
	if page.NextRowKey != nil && *page.NextRowKey != "" {
		token.Set(cursorRow, *page.NextRowKey)
	}
	return store.Cursor(token.Encode())
}

func resume(options *aztables.ListEntitiesOptions, from store.Cursor) error {
	if from == "" {
		return nil
	}
	token, err := url.ParseQuery(string(from))
	if err != nil || !token.Has(cursorPartition) && !token.Has(cursorRow) {
		return fmt.Errorf("%w: the cursor does not come from this listing", store.ErrInvalid)
	}
	if token.Has(cursorPartition) {
		options.NextPartitionKey = new(token.Get(cursorPartition))
	}
	if token.Has(cursorRow) {
		options.NextRowKey = new(token.Get(cursorRow))
	}
	return nil
}
