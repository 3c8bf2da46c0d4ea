package e2e

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"entramcp/e2e/stack"
	"entramcp/handler/store/storetest"
)

// TestDoctorNamesWhatIsWrong breaks one thing at a time and wants the line that
// names it with its fix, and the exit status that tells. What else each check finds
// is tested in handler/doctor.
func TestDoctorNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 1})
	nowhere := httptest.NewServer(http.NotFoundHandler())
	nowhere.Close()
	for _, tt := range []struct {
		name   string
		env    map[string]string
		line   string
		status int
	}{
		{name: "nothing", line: `^ok +running server +http://localhost:\d+ is up; storage, keys and Entra are ready there$`},
		{name: "nothing, keys", line: `^ok +key ring +1 epoch\(s\), all readable, the newest of \d{4}-\d\d-\d\d$`},
		{name: "nothing, redirect", line: `^ok +redirect URI +http://localhost:\d+/auth/callback is registered$`},
		{name: "settings", env: map[string]string{"ENTRA_CLIENT_ID": "my-app", "TIMEOUT_SECONDS": "soon"}, status: 78,
			line: `^wrong +configuration +ENTRA_CLIENT_ID is "my-app", which is not a GUID — Write the Application \(client\) ID`},
		{name: "secret", env: map[string]string{"ENTRA_CLIENT_SECRET": "not-the-secret"}, status: 1,
			line: `^wrong +credential \(ENTRA_CLIENT_SECRET\) .*\(AADSTS7000215\) — .*writes the secret's value, not its id, in ENTRA_CLIENT_SECRET`},
		{name: "authority unreachable", env: map[string]string{"ENTRA_AUTHORITY": nowhere.URL}, status: 1,
			line: `^wrong +Entra metadata .*refused — Check ENTRA_TENANT_ID and ENTRA_AUTHORITY, and that this machine can reach http://127`},
		{name: "tables unreachable", env: map[string]string{"TABLES_CONNECTION_STRING": tablesAt(t, nowhere.URL)}, status: 1,
			line: `^wrong +storage .* — Check TABLES_CONNECTION_STRING, and that this machine can reach it`},
		{name: "master key", env: map[string]string{"MASTER_KEY": strings.Repeat("another-key-", 3)}, status: 1,
			line: `^wrong +key ring .*wrapped by master-key-[0-9a-f]+, and this process has master-key-.* — .*MASTER_KEY`},
		{name: "public URL", env: map[string]string{"PUBLIC_URL": s.TenantURL}, status: 1,
			line: `^wrong +running server +something else answers at .*/healthz answers 404`},
		{name: "not running", env: map[string]string{"PUBLIC_URL": nowhere.URL}, status: 1, // its redirect URI is not registered
			line: `^unknown +running server .*checked in this process instead — Start the server`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, status := s.Run(tt.env, "doctor")
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			if !regexp.MustCompile(`(?m)` + tt.line).MatchString(out) {
				t.Errorf("no line matches %s", tt.line)
			}
			if t.Failed() {
				t.Log("\n" + out)
			}
			for _, secret := range []string{stack.ClientSecret, "not-the-secret", "e2e-master-key", "another-key-", "AccountKey"} {
				if strings.Contains(out, secret) {
					t.Errorf("the secret %s… is printed:\n%s", secret, out)
				}
			}
		})
	}
}

// TestDoctorSparesTheEmbeddedStore: beside a running server, and before the
// first start.
func TestDoctorSparesTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{})
	out, status := s.Run(nil, "doctor")
	if status != 0 || !strings.Contains(out, "is in use by a running server") {
		t.Errorf("beside the running server: exit status %d\n%s", status, out)
	}
	s.Instances[0].Kill()
	away := map[string]string{"PUBLIC_URL": "http://localhost:9"}
	out, status = s.Run(away, "doctor")
	if status != 0 || !regexp.MustCompile(`(?m)^ok +key ring +1 epoch`).MatchString(out) {
		t.Errorf("with the server stopped: exit status %d\n%s", status, out)
	}
	away["DATA_DIR"] = t.TempDir() + "/none"
	out, status = s.Run(away, "doctor")
	if status != 0 || !strings.Contains(out, "the first start fills it") {
		t.Errorf("before the first start: exit status %d\n%s", status, out)
	}
	if _, err := os.Stat(away["DATA_DIR"]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the doctor left something behind: %v", err)
	}
}

// tablesAt is Azurite's connection string with another address.
func tablesAt(t *testing.T, address string) string {
	t.Helper()
	return regexp.MustCompile(`TableEndpoint=https?://[^/;]+`).ReplaceAllString(storetest.Azurite(t), "TableEndpoint="+address)
}
