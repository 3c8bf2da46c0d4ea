package storetest_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"entramcp/handler/store/storetest"
)

// azuriteUser makes this test binary one that starts Azurite and panics.
const azuriteUser = "STORETEST_AZURITE_USER"

func TestAzuriteEndsWithTheTestBinary(t *testing.T) {
	if os.Getenv(azuriteUser) != "" {
		fmt.Println("address:", address(t))
		panic("as a test may")
	}
	user := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAzuriteEndsWithTheTestBinary$")
	user.Env = append(os.Environ(), azuriteUser+"=1")
	out, err := user.CombinedOutput()
	if err == nil {
		t.Fatalf("the test binary did not panic: %s", out)
	}
	_, said, _ := strings.Cut(string(out), "address: ")
	addr, _, _ := strings.Cut(said, "\n")
	if addr == "" {
		t.Fatalf("no Azurite was started: %s", out)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatalf("Azurite at %s outlived the test binary", addr)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestAzuriteIsSharedAndListens(t *testing.T) {
	first, second := address(t), address(t)
	if first != second {
		t.Errorf("two Azurites: %s and %s", first, second)
	}
	conn, err := net.Dial("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func address(t *testing.T) string {
	t.Helper()
	_, endpoint, _ := strings.Cut(storetest.Azurite(t), "TableEndpoint=")
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
