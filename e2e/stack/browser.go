package stack

import "entramcp/dev/browser"

// The browser that signs people in.
type (
	Browser = browser.Browser
	Page    = browser.Page
	Form    = browser.Form
)

// NewBrowser is a browser without any cookie, for the user of that name.
func NewBrowser(user string) *Browser { return browser.New(user) }
