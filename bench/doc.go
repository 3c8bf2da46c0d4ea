// Package bench measures the server as a process: what it answers beside FastMCP,
// the MCP SDK and net/http, how soon it answers after its start, and how much
// memory it takes. No time is asserted, for the figures are those of the computer.
//
// make bench prints the tables of docs/performance.md. One of them, shortened:
//
//	go test -run '^$' -bench 'Compare/one-core' -benchtime 1x ./bench -args -rounds 1 -each 1s
package bench
