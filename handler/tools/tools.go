// Package tools is the catalogue of this server: its name, its tools, resources and
// prompts. To make a server of your own, edit this package and no other. Package
// toolkit is what tools are written with.
//
// A tool is one function in a file of its own and one line in the list below.
package tools

import "entramcp/handler/toolkit"

// Catalogue is what this server offers.
func Catalogue() toolkit.Catalogue {
	return toolkit.Catalogue{
		About: toolkit.About{
			Name:         "entramcp",
			Title:        "MCP server with Microsoft Entra ID",
			Instructions: "who_am_i shows who is signed in, server_info what this server offers.",
		},
		Tools: []toolkit.Tool{
			toolkit.Define("hello_world", "Greet someone by name.", helloWorld, toolkit.ReadOnly()),
			toolkit.Define("server_info", "Describe this server: version, authentication and tools.", serverInfo, toolkit.ReadOnly()),
			toolkit.Define("who_am_i", "Show who is signed in, and their Microsoft Graph profile if User.Read is granted.", whoAmI,
				toolkit.ReadOnly(), toolkit.CallAPI(userRead)),
		},
	}
}
