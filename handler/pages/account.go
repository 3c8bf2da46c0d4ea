package pages

// AccountSignIn asks who is there before the account page is shown.
type AccountSignIn struct {
	Action, Form string
}

func (AccountSignIn) file() string { return "account-sign-in.html" }

// Account is the page on which users see and end what acts for them.
type Account struct {
	// Name and Username are the user's, as Entra gave them.
	Name, Username string
	// Base is the path that the forms post below, and Form what they repeat.
	Base, Form string
	Done       AccountDone
	Apps       []AccountApp
	Approvals  []AccountApproval
	// Manage is the path of the page for managers, or empty.
	Manage   string
	Warnings []Warning
}

func (Account) file() string { return "account.html" }

// AccountApp is one connected app.
type AccountApp struct {
	// ID is the grant's and Subject its user.
	ID, Subject string
	Name        string
	// Host is where the app's metadata document is from, empty if the app
	// registered itself. Verified says that the host was asked.
	Host     string
	Verified bool
	// Target is the host that access goes to.
	Target          string
	Scopes          []Permission
	Connected, Used string
}

// AccountApproval is a consent that is remembered.
type AccountApproval struct{ Key, Client, Target, Since string }

// AccountErase asks whether all that is kept about a user is to be removed.
type AccountErase struct {
	Base, Form string
}

func (AccountErase) file() string { return "account-erase.html" }

// Manage is the page on which a tenant's connections are managed.
type Manage struct {
	// Base is the path of the page, Account that of the user's own.
	Base, Account, Form string
	Done, Mistake       AccountDone
	// Tenant is whose users are managed.
	Tenant string
	// User is whose apps are shown, by object ID.
	User string
	Apps []AccountApp
	// App is what apps were searched for by, Found what was found in a part of
	// all connections, and Next where the search goes on.
	App, Next string
	Found     []ManageApp
	// Everywhere is set for managers who act on the whole server.
	Everywhere bool
	Blocks     []ManageBlock
	Warnings   []Warning
}

func (Manage) file() string { return "manage.html" }

// Warning is for managers: what works now and will stop working, and what to
// do about it.
type Warning struct{ Summary, Fix string }

// ManageApp is an app and how many connections of it were found.
type ManageApp struct {
	ID, Name, Target string
	Connections      int
}

// ManageBlock is a party that is refused.
type ManageBlock struct{ Kind, Value, Reason, Since string }

// AccountDone says what was just done, or what was wrong.
type AccountDone string
