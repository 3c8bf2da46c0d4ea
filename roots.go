//go:build roots

package main

// A container made from scratch has no certificates of authorities; a build with
// the tag "roots" carries Mozilla's. They are used where the system has none.
import _ "golang.org/x/crypto/x509roots/fallback"
