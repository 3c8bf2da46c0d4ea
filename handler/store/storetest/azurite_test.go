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

	"entramcp/handler/clocktest"
	"entramcp/handler/store/storetest"
)

// azuriteUser makes this test binary one that starts Azurite and panics.
const azuriteUser = "STORETEST_AZURITE_USER"

func TestAzuriteEndsWithTheTestBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("Azurite is for make test, and for the tests of azuretable")
	}
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
	clocktest.Eventually(t, "Azurite ends with the test binary", 10*time.Second, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
}

func TestAzuriteIsSharedAndListens(t *testing.T) {
	if testing.Short() {
		t.Skip("Azurite is for make test, and for the tests of azuretable")
	}
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
