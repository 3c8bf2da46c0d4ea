package funchost

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// The limits of the platform.
const (
	// maxURL is in functions-bindings-http-webhook-trigger.md, "Limits".
	maxURL = 4096
	// idleLimit is the load balancer's (functions-scale.md, "Function app
	// time-out duration"). The host's own, 240 seconds, is never met.
	idleLimit = 230 * time.Second
)

// FrontEnd is what clients reach: it terminates TLS, adds the headers of App
// Service and gives each request to the next instance.
type FrontEnd struct {
	// Hostname is the app's own, whatever name clients use.
	Hostname string
	// IdleLimit is 230 seconds if 0.
	IdleLimit time.Duration

	mu    sync.Mutex
	hosts []*Host
	next  int
}

// Use sets the instances that get requests.
func (f *FrontEnd) Use(hosts ...*Host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = hosts
}

// pick is the next instance that lives.
func (f *FrontEnd) pick() *Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range f.hosts {
		f.next++
		h := f.hosts[f.next%len(f.hosts)]
		select {
		case <-h.Stopped():
		default:
			return h
		}
	}
	return nil
}

func (f *FrontEnd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.RequestURI) > maxURL {
		w.WriteHeader(http.StatusRequestURITooLong)
		return
	}
	h := f.pick()
	if h == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	limit := f.IdleLimit
	if limit == 0 {
		limit = idleLimit
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	active := &activity{ResponseWriter: w, limit: limit}
	active.timer = time.AfterFunc(limit, cancel)
	defer active.timer.Stop()
	r = r.Clone(ctx)
	f.announce(r)
	h.ServeHTTP(active, r)
}

// announce adds what App Service says about the client. A name that the client
// has sent is overwritten, but X-Forwarded-For is a list that grows at its end.
// X-MS-CLIENT-PRINCIPAL and its kin pass: only App Service authentication, which
// is off, would remove them.
func (f *FrontEnd) announce(r *http.Request) {
	set := r.Header.Set
	forwarded := r.RemoteAddr
	if before := r.Header.Get("X-Forwarded-For"); before != "" {
		forwarded = before + ", " + forwarded
	}
	set("X-Forwarded-For", forwarded)
	set("X-Forwarded-Proto", "https")
	set("X-Forwarded-TlsVersion", "1.3")
	set("X-AppService-Proto", "https")
	set("X-ARR-LOG-ID", guid())
	set("X-ARR-SSL", "2048|256|CN=Microsoft Azure RSA TLS Issuing CA 03|CN=*.azurewebsites.net")
	set("CLIENT-IP", r.RemoteAddr)
	set("DISGUISED-HOST", r.Host)
	set("WAS-DEFAULT-HOSTNAME", f.Hostname)
	set("X-SITE-DEPLOYMENT-ID", siteName(f.Hostname))
	set("X-Original-URL", r.RequestURI)
	set("X-WAWS-Unencoded-URL", r.URL.Path)
	set("Max-Forwards", "10")
	r.Host = f.Hostname
}

// activity ends a request on which nothing is sent for too long: with 502 where
// no answer has begun, else by ending the connection.
type activity struct {
	http.ResponseWriter
	limit time.Duration
	timer *time.Timer
}

func (a *activity) Write(p []byte) (int, error) {
	a.timer.Reset(a.limit)
	return a.ResponseWriter.Write(p)
}

func (a *activity) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *activity) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }
