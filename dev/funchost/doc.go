// Package funchost emulates Azure Functions, Flex Consumption, for a custom
// handler: the front end that terminates TLS and spreads requests
// (FrontEnd), and the host with its one handler process on each instance
// (Host). It runs the package that is deployed, unchanged.
//
// It is meant to be stricter than what it stands for: what the real host
// ignores without a word, such as a misspelt key of host.json, is an error here.
// Each rule names where it was read: a class is one of Azure/azure-functions-host,
// a file ending in .md one of MicrosoftDocs/azure-docs, articles/azure-functions.
// Nothing here has been compared with a running Azure.
package funchost
