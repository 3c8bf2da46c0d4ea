package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

type token struct{ Value }

func TestNoFormatterOrEncoderShowsASecret(t *testing.T) {
	s := token{New("s3cr3t-text")}
	type holder struct {
		Exported token
		hidden   token
	}
	var out strings.Builder
	for _, v := range []any{s, &s, holder{s, s}, []token{s}, map[string]token{"k": s}, fmt.Errorf("cause: %v", s)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
		var lines bytes.Buffer
		slog.New(slog.NewJSONHandler(&lines, nil)).Info("x", "value", v)
		slog.New(slog.NewTextHandler(&lines, nil)).Info("x", "value", v)
		out.Write(lines.Bytes())
	}
	for _, leaked := range []string{"s3cr3t", fmt.Sprintf("%x", "s3cr3t")} {
		if strings.Contains(out.String(), leaked) {
			t.Errorf("%q is in:\n%s", leaked, out.String())
		}
	}
	if s.Reveal() != "s3cr3t-text" {
		t.Errorf("Reveal: %q", s.Reveal())
	}
}

func TestSecretsAreComparedByTheirText(t *testing.T) {
	a, b, c := New("a"), New("a"), New("ab")
	if !a.Equal(b) || a.Equal(c) || a.Equal(Value{}) {
		t.Error("Equal does not compare the text")
	}
	if !(Value{}).IsZero() || !New("").IsZero() || a.IsZero() || (Value{}).Reveal() != "" {
		t.Error("IsZero does not report the empty text")
	}
}
