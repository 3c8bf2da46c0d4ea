// Package tenant simulates a Microsoft Entra tenant on loopback, for local
// runs and for tests. It is as strict as Entra is documented to be: what Entra
// refuses, it refuses, with the same AADSTS number and the same error shape.
// Each rule cites its source in a comment; "entra-docs: page" means
// MicrosoftDocs/entra-docs, docs/identity-platform/page.md, and "field" means
// that only reports of users describe the behaviour.
//
// It must never be deployed. It has no passwords: whoever reaches it signs in
// as anyone, administrators included. It binds no address itself; bind it to
// loopback.
//
// # Signing in without a browser
//
// The sign-in pages are plain forms that post to the authorize URL itself, the
// query included. One POST may carry everything:
//
//	user     the username (UPN) to sign in as
//	mfa      "approve" or "deny", when the account must use a second factor
//	consent  "accept" or "decline", when consent is missing
//	cancel   any value: the user gives up (AADSTS65004)
//	return   any value: where a page would show a refusal, send it to the
//	         application's redirect URI instead
//
// [SignIn] walks the pages as a browser would, and accepts what they ask.
//
// # State
//
// With Options.State set, signing keys, the key of refresh tokens, consents and
// what sign-ins have shown (a second factor, claims) survive a restart, so that
// refresh tokens issued before it still work.
package tenant
