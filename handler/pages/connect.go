package pages

// Connect asks a user whether an app may use another API in their name, before Entra
// asks the same for this server.
type Connect struct {
	// Client is the app's own word for itself and Host that of its metadata
	// document, if it has one.
	Client, Host string
	// Access is what it wants.
	Access []Permission
	// Action is where the form goes, with Request and Form in hidden fields.
	Action, Request, Form string
}

func (Connect) file() string { return "connect.html" }
