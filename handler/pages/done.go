package pages

// Done takes the result to the client where a redirect would not do: in answer
// to a form, for the reason given at Continue, and to an app with its own URL
// scheme, which is opened by a click alone.
type Done struct {
	Client string
	// To is the redirect with its result.
	To string
	// App is set if To opens an app beside the browser.
	App bool
	// Denied is set if the person did not approve.
	Denied bool
}

func (Done) file() string { return "done.html" }
