package oauth

import "testing"

func TestOnlyThisComputerIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "127.1": false, "0x7f000001": false,
		"0.0.0.0": false, "::": false, "10.0.0.1": false, "169.254.169.254": false, "localhost:80": false, "127.0.0.1:80": false, "::1%lo": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
