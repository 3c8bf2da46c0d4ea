package pages

// Home is the page at the root: what this server is and how to connect to it.
type Home struct {
	// Description says what the server is for, or is empty.
	Description string
	// Endpoint is the URL of the MCP endpoint.
	Endpoint string
	// Tools are those that every signed-in user sees.
	Tools []HomeTool
	// Buttons open a client that has a link for it; Recipes are for the others.
	Buttons []HomeButton
	Recipes []HomeRecipe
	// Account is the path of the page of connected apps, or empty.
	Account string
	Version string
	// ThisComputer says that only programs on this computer reach Endpoint.
	ThisComputer bool
}

func (Home) file() string { return "home.html" }

// HomeTool is one tool in the list.
type HomeTool struct{ Name, Title, Description string }

// HomeButton is a link into a client.
type HomeButton struct{ Client, URL string }

// HomeRecipe is a command or a piece of a file for a client.
type HomeRecipe struct{ Client, Where, Text, Then string }
