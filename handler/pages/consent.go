package pages

import (
	"slices"

	"github.com/google/uuid"
)

// Consent asks a person whether an app may act in their name. MCP's security
// best practices require it before each sign-in of a proxy with one upstream
// client id, and say what it must show.
type Consent struct {
	// Action is the URL path that the form is posted to, and Form the sealed
	// request that travels in it.
	Action, Form string
	App          App
	// Target is where the browser goes afterwards.
	Target Target
	// Scopes are what the app asks for.
	Scopes []Permission
	// StaysConnected is set if the app gets refresh tokens.
	StaysConnected bool
	// Tenant says which Entra accounts may sign in.
	Tenant string
	// RememberedFor is the account that approved the same before, in this
	// browser: what was asked in full then is not asked again. It is empty
	// otherwise.
	RememberedFor string
	// OtherAccount is set if somebody else signed in than approved before.
	OtherAccount bool
}

func (Consent) file() string { return "consent.html" }

// TenantName is Tenant if that says something to people, as a GUID does not.
func (c Consent) TenantName() string {
	if uuid.Validate(c.Tenant) == nil {
		return ""
	}
	return c.Tenant
}

// App is the app as the server knows it.
type App struct {
	// Name is what the app calls itself, made fit to be shown.
	Name string
	// Host is where its metadata document is from, empty for an app that
	// registered itself.
	Host string
	// Unchecked is set if Host could not be reached, and the document is a copy
	// that ships with the server.
	Unchecked bool
	// Caution is set where the operator has neither pinned nor listed the app.
	Caution bool
	// Elsewhere is set if access goes to another host than Host.
	Elsewhere bool
}

// Permission is one scope in plain words.
type Permission struct {
	Scope, Words string
	// Optional permissions can be left out by the person.
	Optional bool
}

// Field is the name of the permission's check box in the form.
func (p Permission) Field() string { return AllowPrefix + p.Scope }

const (
	// AllowPrefix begins the name of the check box of an optional scope. One
	// that is ticked is sent with the form.
	AllowPrefix = "allow:"
	// ChoiceField is sent with every form that had check boxes, so that none
	// ticked is told from none shown.
	ChoiceField = "choice"
)

// identityScopes are about who the person is: what this server, and not the
// app, learns from Entra.
var identityScopes = []string{"openid", "profile", "email"}

// Permissions describes scopes; one that is not known is shown as it is. known
// adds or replaces descriptions. Those that are not required are optional.
func Permissions(scopes, required []string, known map[string]string) []Permission {
	out := make([]Permission, 0, len(scopes))
	for _, s := range scopes {
		words := known[s]
		if words == "" {
			words = scopeWords[s]
		}
		fixed := slices.Contains(required, s) || slices.Contains(identityScopes, s) || s == "offline_access"
		out = append(out, Permission{Scope: s, Words: words, Optional: !fixed})
	}
	return out
}

// Access are the permissions that let the app do something.
func (c Consent) Access() []Permission {
	return slices.DeleteFunc(slices.Clone(c.Scopes), func(p Permission) bool {
		return slices.Contains(identityScopes, p.Scope) || p.Scope == "offline_access"
	})
}

// Choice reports whether the person can leave something out.
func (c Consent) Choice() bool {
	return slices.ContainsFunc(c.Scopes, func(p Permission) bool { return p.Optional })
}
