package oauth

import (
	"net"
	"strings"
)

// Loopback reports whether host, without a port, names the computer it is used
// on: localhost, which needs no look-up (RFC 6761 §6.3), or an address of
// 127.0.0.0/8 or ::1 (RFC 8252 §7.3), with or without brackets.
func Loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")).IsLoopback()
}
