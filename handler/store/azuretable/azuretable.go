// Package azuretable is a store.Table in Azure Table Storage.
//
// A row is one entity: Value is an Edm.Binary property, Expires an Edm.DateTime
// that queries filter by. Reads are retried twice. Writes are not: if the answer
// is lost, a second attempt would meet the success of the first and report it
// as a conflict. Only a write that the service was too busy to do is sent once
// more, and a conflict that the second finds is not reported as one.
package azuretable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"entramcp/handler/secret"
)

// DefaultName is the table's name if Options has none.
const DefaultName = "mcp"

// Options say where the table is. Either ServiceURL and Credential are given,
// or ConnectionString.
type Options struct {
	// ServiceURL is https://<account>.table.core.windows.net, or that of
	// another cloud.
	ServiceURL string
	// Credential needs the role Storage Table Data Contributor.
	Credential azcore.TokenCredential
	// ConnectionString holds an account key or a SAS, or is
	// "UseDevelopmentStorage=true" for Azurite on its usual port.
	ConnectionString ConnectionString
	// Name of the table, DefaultName if empty.
	Name string
	// Transport sends the requests, azcore's if nil.
	Transport policy.Transporter
	Log       *slog.Logger
}

// timing bounds how long one call may take. Three tries of five seconds each
// leave a request path its chance to answer 503 before its client gives up.
type timing struct {
	try        time.Duration // of one attempt
	retry      time.Duration // before the second attempt of a read, or of a write that met a busy service
	retryMax   time.Duration // before any further one, Retry-After included
	tableDying time.Duration // between attempts to create a table
}

var defaultTiming = timing{
	try:        5 * time.Second,
	retry:      100 * time.Millisecond,
	retryMax:   time.Second,
	tableDying: 2 * time.Second,
}

// https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#table-names
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)

// Table is a store.Table. It is safe for concurrent use.
type Table struct {
	reader *aztables.Client // retries
	writer *aztables.Client // does not
	name   string
	timing timing
	log    *slog.Logger
}

// New returns the table without any I/O. It does not create it: see
// CreateIfMissing.
func New(opts Options) (*Table, error) { return newTable(opts, defaultTiming) }

func newTable(opts Options, timing timing) (*Table, error) {
	if opts.Name == "" {
		opts.Name = DefaultName
	}
	if !tableName.MatchString(opts.Name) {
		return nil, fmt.Errorf("azuretable: %q cannot name a table: 3 to 63 letters and digits, a letter first", opts.Name)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	reader, err := opts.client(policy.RetryOptions{
		MaxRetries: 2, TryTimeout: timing.try, RetryDelay: timing.retry, MaxRetryDelay: timing.retryMax,
	})
	if err != nil {
		return nil, err
	}
	writer, err := opts.client(policy.RetryOptions{MaxRetries: -1, TryTimeout: timing.try})
	if err != nil {
		return nil, err
	}
	return &Table{reader: reader, writer: writer, name: opts.Name, timing: timing, log: opts.Log}, nil
}

func (o Options) client(retry policy.RetryOptions) (*aztables.Client, error) {
	service, err := o.service(&aztables.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry:           retry,
		Transport:       o.Transport,
		PerCallPolicies: []policy.Policy{withoutEcho{}},
	}})
	if err != nil {
		return nil, err
	}
	return service.NewClient(o.Name), nil
}

func (o Options) service(client *aztables.ClientOptions) (*aztables.ServiceClient, error) {
	switch byKey := !o.ConnectionString.IsZero(); {
	case byKey && (o.ServiceURL != "" || o.Credential != nil):
		return nil, errors.New("azuretable: either a connection string or a service URL, not both")
	case byKey:
		return o.ConnectionString.service(client)
	case o.Credential == nil:
		return nil, errors.New("azuretable: neither a connection string nor a credential given")
	}
	u, err := url.Parse(o.ServiceURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, errors.New("azuretable: the service URL must be https://<account>.table.<suffix>, without a query")
	}
	return aztables.NewServiceClient(o.ServiceURL, o.Credential, client)
}

// ConnectionString opens a storage account.
type ConnectionString struct{ secret.Value }

// azurite is what "UseDevelopmentStorage=true" stands for, which aztables does
// not know: https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string#connect-to-the-emulator-account-using-the-shortcut
const azurite = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;" +
	"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;" +
	"TableEndpoint=http://127.0.0.1:10002/devstoreaccount1"

func (c ConnectionString) service(client *aztables.ClientOptions) (*aztables.ServiceClient, error) {
	text := strings.TrimRight(strings.TrimSpace(c.Reveal()), ";")
	if strings.EqualFold(text, "UseDevelopmentStorage=true") {
		text = azurite
	}
	service, err := aztables.NewServiceClientFromConnectionString(text, client)
	if err != nil {
		// The cause is left out, as it may quote the string.
		return nil, errors.New("azuretable: the connection string is not usable: " +
			"it needs AccountName and either AccountKey, in base64, or SharedAccessSignature")
	}
	return service, nil
}

// CreateIfMissing creates the table unless it is there. A table of that name
// that was just deleted blocks it for 40 seconds and more; CreateIfMissing then
// tries again until ctx ends.
func (t *Table) CreateIfMissing(ctx context.Context) error {
	for {
		// Creating is retried like a read: it cannot do harm twice.
		_, err := t.reader.CreateTable(ctx, nil)
		switch {
		case err == nil || hasCode(err, aztables.TableAlreadyExists):
			return nil
		case !hasCode(err, aztables.TableBeingDeleted):
			return outcome("create table "+t.name, err)
		}
		t.log.InfoContext(ctx, "waiting for the deletion of a table to end", "table", t.name)
		select {
		case <-ctx.Done():
			return fmt.Errorf("azuretable: create table %s, which is being deleted: %w", t.name, ctx.Err())
		case <-time.After(t.timing.tableDying):
		}
	}
}

// Close does nothing: the connections belong to the transport.
func (t *Table) Close() error { return nil }

// withoutEcho asks that an insert is not answered by the whole entity.
type withoutEcho struct{}

func (withoutEcho) Do(req *policy.Request) (*http.Response, error) {
	if req.Raw().Method == http.MethodPost {
		req.Raw().Header.Set("Prefer", "return-no-content")
	}
	return req.Next()
}
