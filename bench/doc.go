// Package bench measures the server as a process: what it answers beside FastMCP,
// the MCP SDK and net/http, how soon it answers after its start, and how much
// memory it takes. go test -bench prints it. No time is asserted, for the figures
// are those of the computer.
package bench
