// Package arm has the two functions of Azure Resource Manager that names of
// resources are made with. Whoever has to know a name before anything exists,
// such as the check before provisioning, computes it here.
package arm

import (
	"crypto/sha1"
	"fmt"
	"math/bits"
	"strings"
)

// UniqueString is the template function uniqueString: 13 letters and digits
// that follow from the values.
// https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions-string#uniquestring
func UniqueString(values ...string) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	hash := murmur64([]byte(strings.Join(values, "-")))
	var out [13]byte
	for i := range out {
		out[i] = alphabet[hash>>59]
		hash <<= 5
	}
	return string(out[:])
}

// murmur64 is MurmurHash2A's successor with 32-bit lanes and seed 0, as the
// deployment engine uses it.
func murmur64(data []byte) uint64 {
	const c1, c2 = 0x239b961b, 0xab0e9789
	var h1, h2 uint32
	length := uint32(len(data)) //nolint:gosec // names are short
	word := func(b []byte) (w uint32) {
		for i := min(len(b), 4) - 1; i >= 0; i-- {
			w = w<<8 | uint32(b[i])
		}
		return w
	}
	lane1 := func(k uint32) uint32 { return bits.RotateLeft32(k*c1, 15) * c2 }
	lane2 := func(k uint32) uint32 { return bits.RotateLeft32(k*c2, 17) * c1 }
	for ; len(data) >= 8; data = data[8:] {
		h1 = (bits.RotateLeft32(h1^lane1(word(data)), 19)+h2)*5 + 0x561ccd1b
		h2 = (bits.RotateLeft32(h2^lane2(word(data[4:])), 13)+h1)*5 + 0x0bcaa747
	}
	if len(data) > 0 {
		h1 ^= lane1(word(data))
	}
	if len(data) > 4 {
		h2 ^= lane2(word(data[4:]))
	}
	h1 ^= length
	h2 ^= length
	h1 += h2
	h2 += h1
	h1, h2 = mix(h1), mix(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}

func mix(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

// namespace is the one in which the deployment engine makes its GUIDs.
var namespace = [16]byte{0x11, 0xfb, 0x06, 0xfb, 0x71, 0x2d, 0x4d, 0xdd, 0x98, 0xc7, 0xe7, 0x1b, 0xbd, 0x58, 0x88, 0x30}

// GUID is the template function guid: a name-based UUID (RFC 9562 section 5.5).
// https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions-string#guid
func GUID(values ...string) string {
	sum := sha1.Sum(append(namespace[:], strings.Join(values, "-")...)) //nolint:gosec // a name, no secret
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
