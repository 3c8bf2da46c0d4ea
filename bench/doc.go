// Package bench measures the binary that is deployed, as a process: how soon it
// answers after its start, and how much memory it takes. go test -bench prints
// it; nothing is asserted, for the numbers are those of the computer.
package bench
