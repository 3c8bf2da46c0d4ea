package pages_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"entramcp/handler/pages"
)

// TestEveryAccentThatIsAllowedCanBeRead tries colours from all over: buttons
// with their text, and links on the card, in both colour schemes.
func TestEveryAccentThatIsAllowedCanBeRead(t *testing.T) {
	root := regexp.MustCompile(`:root \{([^}]*)\}`)
	property := regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6})`)
	tried := 0
	for _, red := range []string{"00", "3c", "80", "c0", "ff"} {
		for _, green := range []string{"00", "3c", "80", "c0", "ff"} {
			for _, blue := range []string{"00", "3c", "80", "c0", "ff"} {
				accent := "#" + red + green + blue
				if c, err := pages.ContrastWithWhite(accent); err != nil || c < pages.LeastContrast {
					continue // refused at start
				}
				tried++
				w := httptest.NewRecorder()
				pages.New(pages.Brand{Accent: accent}).Render(w, http.StatusOK, pages.Notice{})
				// Those of the light scheme and the dark one, then the accent's.
				schemes := [2]map[string]string{{}, {}}
				for i, m := range root.FindAllStringSubmatch(w.Body.String(), -1) {
					for _, p := range property.FindAllStringSubmatch(m[1], -1) {
						schemes[i%2][p[1]] = p[2]
					}
				}
				if schemes[0]["accent"] != accent {
					t.Errorf("%s: the page has %s", accent, schemes[0]["accent"])
				}
				for i, s := range schemes {
					for _, pair := range [][2]string{{"accent-ink", "accent"}, {"accent-ink", "accent-over"}, {"accent", "card"}} {
						if c, err := pages.Contrast(s[pair[0]], s[pair[1]]); err != nil || c < pages.LeastContrast {
							t.Errorf("%s: scheme %d: %s on %s: %.1f %v", accent, i, pair[0], pair[1], c, err)
						}
					}
				}
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d colours were tried", tried)
	}
}

// TestAServerWithoutAnAccentHasThatOfTheStyle, which app packages have as well.
func TestAServerWithoutAnAccentHasThatOfTheStyle(t *testing.T) {
	w := httptest.NewRecorder()
	pages.New(pages.Brand{}).Render(w, http.StatusOK, pages.Notice{})
	if !strings.Contains(w.Body.String(), "--accent: "+pages.DefaultAccent+";") {
		t.Errorf("the style has another accent than %s", pages.DefaultAccent)
	}
}

// TestABrandIsOnEveryPage: people see whose page it is, also where something
// failed.
func TestABrandIsOnEveryPage(t *testing.T) {
	for name, p := range every() {
		_, body := render(t, p)
		for _, want := range []string{"Example", "--accent: #0f6b4f", "Simulated tenant"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		if name != "error" && !strings.Contains(body, `src="data:image/svg`) { // an alert has the place of the icon
			if name != "denied" {
				t.Errorf("%s: no icon", name)
			}
		}
	}
}
