package pages

// Continue sends the browser on to Microsoft's sign-in. It is a page and not a
// redirect because browsers hold the redirects that follow a form to the
// form-action of the page that had the form.
type Continue struct {
	// To is the sign-in URL, and Host the part of it worth showing.
	To, Host string
	Client   string
}

func (Continue) file() string { return "continue.html" }
