package observe

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// AuditSchema is the version of the audit events. It grows when a member or a
// name changes its meaning or goes, not when one is added.
const AuditSchema = 1

// AuditCategory is the attribute "category" of every audit event. Other log
// lines have no such attribute.
const AuditCategory = "audit"

// EventName says what was decided. Names are stable: queries, alerts and the
// mapping to OCSF in docs/audit.md rest on them.
type EventName string

// The decisions that are audited, each by exactly one event.
const (
	ClientRegistered  EventName = "client_registered" // RFC 7591
	DocumentAccepted  EventName = "document_accepted" // a client ID metadata document
	ConsentShown      EventName = "consent_shown"
	ConsentApproved   EventName = "consent_approved"
	ConsentRefused    EventName = "consent_refused"
	SignedIn          EventName = "signed_in"      // a grant was made
	SignInFailed      EventName = "sign_in_failed" // after approval: Entra refused, or the account may not
	CodeRedeemed      EventName = "code_redeemed"
	CodeRepeated      EventName = "code_repeated" // within the repeat window: the answer was lost
	CodeReused        EventName = "code_reused"   // outside of the repeat window: the grant ends
	TokenRefreshed    EventName = "token_refreshed"
	TokenRepeated     EventName = "token_repeated"  // a rotated handle within the grace
	TokenReused       EventName = "token_reused"    // a rotated handle after the grace: the grant ends
	RefreshRefused    EventName = "refresh_refused" // Entra, a block or an age ended the grant
	GrantRevoked      EventName = "grant_revoked"   // by its client, RFC 7009
	APIConsented      EventName = "api_consented"   // Entra has the user's consent to another API
	AccountSignedIn   EventName = "account_signed_in"
	Disconnected      EventName = "disconnected"       // by its user
	ApprovalForgotten EventName = "approval_forgotten" // a remembered approval, by its user
	DataErased        EventName = "data_erased"        // by the user whose it was
	Blocked           EventName = "blocked"            // a block was added
	Unblocked         EventName = "unblocked"          // a block was removed
	BlockEnforced     EventName = "block_enforced"     // a block refused a request
	CallerRefused     EventName = "caller_refused"     // a token of Entra's own that admits nobody
	ToolCalled        EventName = "tool_called"        // the tool ran; reason says how it ended if it failed
	ToolRefused       EventName = "tool_refused"       // scope, role, limit or hook
	AdminAction       EventName = "admin_action"       // what no other event says, by somebody with Mcp.Connections.Manage or on the command line
	KeyRingChanged    EventName = "key_ring_changed"   // an epoch was added or retired
)

// AuditClient is the client of an event, as the server knows it.
type AuditClient struct {
	ID string
	// Name is the client's own word unless Host vouches for it.
	Name string
	// Host is that of the metadata document or, without one, of the redirect
	// URI.
	Host string
}

// Event is one decision. Empty members are left out. No member ever holds a
// secret, a user's name or an address.
type Event struct {
	Name   EventName
	Client AuditClient
	// AuthorizationID ties the events of one authorization together, from consent_shown
	// to signed_in. It is random or a hash: never the state itself.
	AuthorizationID string
	// Grant is the grant's id, from signed_in on.
	Grant string
	// Subject is the SHA-256 that our tokens name as sub; Tenant is tid.
	Subject, Tenant string
	// ObjectID is oid. It is written only where the operator turned that on.
	ObjectID string
	// Scopes that were asked for, granted or lacking.
	Scopes []string
	// Tool is the tool, resource template or prompt.
	Tool string
	// Target is what an administrator's action or a block is about: a kind and
	// a value, such as "client 5f2c…".
	Target string
	// Reason is one of few fixed words, such as an OAuth error code or
	// "AADSTS50057".
	Reason string
	// Took is how long a tool ran.
	Took time.Duration
}

// maxAuditText bounds every text of an event, in runes. Some come from clients.
const maxAuditText = 256

// suspicious are the events that go to the log as warnings.
var suspicious = map[EventName]bool{CodeReused: true, TokenReused: true}

// ofOperators are the events that no stranger can cause, whatever they name.
var ofOperators = map[EventName]bool{AdminAction: true, Blocked: true, Unblocked: true, KeyRingChanged: true}

// Audit writes e to log, whatever level the log is set to. Events that name
// neither a grant nor a subject are a stranger's: they are sampled, and counted
// in the line "log lines omitted".
func Audit(ctx context.Context, log *slog.Logger, e Event) {
	level := slog.LevelInfo
	if suspicious[e.Name] {
		level = slog.LevelWarn
	}
	r := slog.NewRecord(time.Now(), level, "audit", 0)
	attrs := append(make([]slog.Attr, 0, 16), slog.String("category", AuditCategory), slog.Int("schema", AuditSchema), slog.String("event", string(e.Name)))
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, auditText(value)))
		}
	}
	text("client_id", e.Client.ID)
	text("client_name", e.Client.Name)
	text("client_host", e.Client.Host)
	text("flow", e.AuthorizationID)
	text("grant_id", e.Grant)
	text("subject", e.Subject)
	text("tenant", e.Tenant)
	if h, ok := log.Handler().(*handler); ok {
		if h.onEvent != nil {
			h.onEvent(ctx, e)
		}
		if h.objectIDs {
			text("object_id", e.ObjectID)
		}
	}
	if len(e.Scopes) > 0 {
		attrs = append(attrs, slog.Any("scopes", e.Scopes))
	}
	text("tool", e.Tool)
	text("target", e.Target)
	text("reason", e.Reason)
	if e.Took > 0 {
		attrs = append(attrs, slog.Int64("took_ms", e.Took.Milliseconds()))
	}
	r.AddAttrs(attrs...)
	kind := string(e.Name)
	if e.Grant != "" || e.Subject != "" || ofOperators[e.Name] {
		kind = unlimited
	}
	// Not log.LogAttrs: LOG_LEVEL is about the log, not about the audit.
	_ = log.Handler().Handle(context.WithValue(ctx, kindKey{}, kind), r)
}

func unprintable(r rune) bool {
	if r < utf8.RuneSelf { // nearly always
		return r < ' ' || r > '~'
	}
	return r == utf8.RuneError || !unicode.IsPrint(r)
}

// auditText bounds text and takes out what would change how a viewer shows the
// line, such as control characters and changes of writing direction.
func auditText(text string) string {
	if len(text) <= maxAuditText && !strings.ContainsFunc(text, unprintable) {
		return text
	}
	out := make([]rune, 0, len(text))
	for _, r := range text {
		if len(out) == maxAuditText {
			break
		}
		if unicode.IsPrint(r) {
			out = append(out, r)
		}
	}
	return string(out)
}
