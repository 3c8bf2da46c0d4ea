package resilience

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"entramcp/e2e/stack"
	"entramcp/handler/store/storetest"
)

// killer stands between an instance and Azurite, counts the writes, and kills
// the instance at one of them, so that no line of code comes after it.
type killer struct {
	http.Handler
	// at is the number of the fatal write, from 1; 0 kills nobody. made says
	// whether that write still reaches the table.
	at   int
	made bool

	mu     sync.Mutex
	lose   bool // the answer to the next write
	victim *stack.Instance
	writes []string
}

// loseNext lets the next write reach the table, and nobody learn of it.
func (k *killer) loseNext() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lose = true
}

// between starts k and returns the connection string that leads through it.
func (k *killer) between(t *testing.T) string {
	connection, azurite := endpoint(t, storetest.Azurite(t))
	k.Handler = httputil.NewSingleHostReverseProxy(azurite)
	server := httptest.NewServer(http.HandlerFunc(k.serve))
	t.Cleanup(server.Close)
	return strings.Replace(connection, azurite.Host, strings.TrimPrefix(server.URL, "http://"), 1)
}

// endpoint takes the table endpoint out of a connection string.
func endpoint(t *testing.T, connection string) (string, *url.URL) {
	t.Helper()
	m := regexp.MustCompile(`TableEndpoint=(http://[^/;]+)`).FindStringSubmatch(connection)
	if m == nil {
		t.Fatal("the connection string names no table endpoint")
	}
	u, err := url.Parse(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return connection, u
}

func (k *killer) serve(w http.ResponseWriter, r *http.Request) {
	write := writeOf(r)
	if write == "" || write == aside {
		k.ServeHTTP(w, r)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes = append(k.writes, write)
	fatal := len(k.writes) == k.at
	if !fatal && !k.lose {
		k.ServeHTTP(w, r)
		return
	}
	if k.lose || k.made {
		k.ServeHTTP(httptest.NewRecorder(), r)
	}
	k.lose = false
	if fatal {
		k.victim.Kill()
	}
	panic(http.ErrAbortHandler)
}

var partitionKey = regexp.MustCompile(`PartitionKey(?:='|":")([a-z]+)`)

// aside is the write that keeps a registration alive. It is made when the client
// has its answer, so that it has no place in the order of the others, and
// nothing depends on it.
const aside = "PUT c"

// writeOf names a write by its method and kind of row, or is empty for a read
// and for the creation of the table.
func writeOf(r *http.Request) string {
	if r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/Tables") {
		return ""
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	m := partitionKey.FindStringSubmatch(r.URL.Path + string(body))
	if m == nil {
		return r.Method + " ?"
	}
	return r.Method + " " + m[1]
}

// failover is the way of a client to the victim and, once that is dead, to the
// survivor. It repeats the request that was interrupted and remembers it.
type failover struct {
	public           string
	victim, survivor http.RoundTripper

	mu          sync.Mutex
	interrupted string
	repeated    int // status of the repeated request
}

func (f *failover) RoundTrip(r *http.Request) (*http.Response, error) {
	if "http://"+r.URL.Host != f.public {
		return http.DefaultTransport.RoundTrip(r)
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	again := func() *http.Request {
		c := r.Clone(r.Context())
		c.Body = io.NopCloser(bytes.NewReader(body))
		return c
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.interrupted != "" {
		return f.survivor.RoundTrip(again())
	}
	res, err := f.victim.RoundTrip(again())
	if err == nil {
		return res, nil
	}
	if res, err = f.survivor.RoundTrip(again()); err == nil {
		f.interrupted, f.repeated = r.URL.Path, res.StatusCode
	}
	return res, err
}
