package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

const (
	// approvalLifetime is how long an approval is remembered. Using it does not
	// lengthen it: after a year the page asks in full.
	approvalLifetime = 365 * 24 * time.Hour
	// approverLifetime is the lifetime of the cookie that says who approved in a
	// browser. It must not exceed the retention of the key ring.
	approverLifetime = 90 * 24 * time.Hour
	approvalVersion  = 1
)

// ApprovalPrefix begins the partitions of remembered approvals, one for each
// subject, with a row for each client and redirect URI.
const ApprovalPrefix = "ap-"

// RememberedApproval is what a user has approved for a client, so that the
// same is asked with one button when the client connects again.
type RememberedApproval struct {
	// ID names the approval among those of its user.
	ID          string       `json:"-"`
	ClientID    string       `json:"client_id"`
	ClientName  string       `json:"client_name"`
	RedirectURI string       `json:"redirect_uri"`
	Scopes      oauth.Scopes `json:"scopes"`
	At          time.Time    `json:"at"`
	// Tenant is the hash of the user's; approvals of earlier versions have none.
	Tenant  string `json:"tenant,omitempty"`
	Version int    `json:"v"`
}

// approver is the user who has approved in a browser, as its cookie says.
type approver struct {
	Subject  grants.Subject `json:"subject"`
	Username string         `json:"username"`
}

func approvalPartition(subject grants.Subject) string { return ApprovalPrefix + string(subject) }

func approvalID(req request) string {
	sum := sha256.Sum256([]byte(req.ClientID + "\n" + req.RedirectURI))
	return hex.EncodeToString(sum[:])
}

// rememberable reports whether an approval of client may be remembered: its
// metadata are from its own host, the operator or the operator's copy, and it is
// answered at that host's web site. What listens on a loopback address, or for a
// scheme, may be another program the next time.
func (s *Server) rememberable(client clients.Client, redirectURI string) bool {
	known := client.Source == clients.SourceFetched || client.Source == clients.SourcePinned || client.Source == clients.SourceOperator
	return s.RememberApprovals && known && hasScheme(redirectURI, "https") && !client.LeavesHost(redirectURI)
}

// rememberedApprover is the user who approved req before in r's browser: cookie and
// row agree, and req asks for nothing more. One read, for a browser with the cookie.
// An approval that cannot be read is treated as not remembered.
func (s *Server) rememberedApprover(r *http.Request, req request, client clients.Client) *approver {
	if !s.rememberable(client, req.RedirectURI) {
		return nil
	}
	c, err := r.Cookie(s.cookieName("approver"))
	if err != nil {
		return nil
	}
	var by approver
	plain, err := s.Ring.Open(r.Context(), keyring.Approver, nil, c.Value)
	if err != nil || json.Unmarshal(plain, &by) != nil {
		return nil
	}
	row, err := s.Table.Get(r.Context(), approvalPartition(by.Subject), approvalID(req))
	if err != nil {
		return nil
	}
	a, err := decodeApproval(row)
	if err != nil || !s.Now().Before(row.Expires) || !a.Scopes.Has(req.Scopes...) {
		return nil
	}
	return &by
}

// approverCookie is the cookie that says that the user of claims has approved in this
// browser. On an error there is none, and the next page is the full one.
func (s *Server) approverCookie(ctx context.Context, claims *entra.Claims) string {
	plain, err := json.Marshal(approver{grants.SubjectOf(claims.TenantID, claims.ObjectID), claims.Username})
	if err != nil {
		return ""
	}
	sealed, err := s.Ring.Seal(ctx, keyring.Approver, nil, plain)
	if err != nil {
		return ""
	}
	return s.cookie(s.cookieName("approver"), sealed, int(approverLifetime.Seconds())).String()
}

// keepApproval stores that the user has approved req. It runs after the browser has
// its answer; if it fails, the next page is the full one.
func (s *Server) keepApproval(ctx context.Context, user entra.Claims, req request) {
	a := RememberedApproval{
		ClientID: req.ClientID, ClientName: req.ClientName, RedirectURI: req.RedirectURI, Scopes: req.Scopes, At: s.Now().UTC(),
		Tenant: grants.TenantHash(user.TenantID), Version: approvalVersion,
	}
	value, err := json.Marshal(a)
	row := store.Row{Partition: approvalPartition(grants.SubjectOf(user.TenantID, user.ObjectID)), Key: approvalID(req), Value: value,
		Expires: a.At.Truncate(time.Second).Add(approvalLifetime)}
	if err == nil {
		err = insertOrReplace(ctx, s.Table, row)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "an approval could not be remembered", "client_id", excerpt(req.ClientID, maxLogged), "cause", err)
	}
}

// RememberedApprovals lists those of subject. It reads the partition.
func (s *Server) RememberedApprovals(ctx context.Context, subject grants.Subject) ([]RememberedApproval, error) {
	var out []RememberedApproval
	for row, err := range store.Rows(ctx, s.Table, store.Partition(approvalPartition(subject))) {
		if err != nil {
			return nil, storageUnavailable(err)
		}
		if a, err := decodeApproval(row); err == nil && s.Now().Before(row.Expires) {
			out = append(out, a)
		}
	}
	return out, nil
}

// ForgetApproval removes one of RememberedApprovals; it is not an error if it does not exist.
func (s *Server) ForgetApproval(ctx context.Context, subject grants.Subject, id string) error {
	row, err := s.Table.Get(ctx, approvalPartition(subject), id)
	if err == nil {
		err = s.Table.Delete(ctx, row.Partition, row.Key, row.ETag)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return storageUnavailable(err)
	}
	return nil
}

func decodeApproval(row store.Row) (RememberedApproval, error) {
	var a RememberedApproval
	if err := json.Unmarshal(row.Value, &a); err != nil {
		return a, err
	}
	if a.Version > approvalVersion {
		return a, errors.New("authserver: the approval was written by a later version")
	}
	a.ID = row.Key
	return a, nil
}
