package pages

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
)

// Brand is how a server looks on its pages.
type Brand struct {
	// Title names the server, and Host is where people know it to be.
	Title, Host string
	// Icon is a picture as a data URL of a PNG or SVG, or empty.
	Icon string
	// Accent is the colour of buttons and links as #rrggbb, on which white text
	// can be read; empty is the pages' own.
	Accent string
	// Website, Privacy and Terms are https URLs, or empty.
	Website, Privacy, Terms string
	// Support is whom to ask: a mail address or an https URL. Without one it is
	// the operator of this server.
	Support string
	// Simulated says that the tenant is the stand-in for local runs.
	Simulated bool
}

// DefaultAccent is the accent of the style sheet where the light scheme is used.
const DefaultAccent = "#2457d6"

// LeastContrast is what text needs to be read (WCAG 2.2, 1.4.3).
const LeastContrast = 4.5

const (
	white = "#ffffff"
	// darkCard is what is behind text where the system is dark: --card.
	darkCard = "#191c23"
	// darkContrast is that of the default accent on it.
	darkContrast = 7
)

// css is the style with the accent of b.
func (b Brand) css() string {
	accent, err := ParseColour(b.Accent)
	if err != nil {
		return style
	}
	card, _ := ParseColour(darkCard)
	dark := accent
	for contrast(dark, card) < darkContrast {
		dark = dark.towards(255)
	}
	return style + fmt.Sprintf(":root { --accent: %s; --accent-over: %s; }\n@media (prefers-color-scheme: dark) { :root { --accent: %s; --accent-over: %s; } }\n",
		accent, accent.towards(0).towards(0), dark, dark.towards(255).towards(255))
}

// Contrast is that of WCAG 2.2 between two colours as #rrggbb: from 1 to 21.
func Contrast(a, b string) (float64, error) {
	first, err := ParseColour(a)
	if err != nil {
		return 0, err
	}
	second, err := ParseColour(b)
	if err != nil {
		return 0, err
	}
	return contrast(first, second), nil
}

// ContrastWithWhite is that of text on a button with this colour.
func ContrastWithWhite(colour string) (float64, error) { return Contrast(colour, white) }

// Colour is red, green and blue.
type Colour [3]byte

// ParseColour reads #rrggbb.
func ParseColour(text string) (Colour, error) {
	digits, found := strings.CutPrefix(text, "#")
	rgb, err := hex.DecodeString(digits)
	if err != nil || !found || len(rgb) != 3 {
		return Colour{}, fmt.Errorf("%q is not a colour as #rrggbb", text)
	}
	return Colour(rgb), nil
}

func (c Colour) String() string { return "#" + hex.EncodeToString(c[:]) }

// towards goes a tenth of the way to black, 0, or to white, 255, and at least one
// step.
func (c Colour) towards(end int) Colour {
	for i, v := range c {
		step := (end - int(v)) / 10
		if step == 0 && end > int(v) {
			step = 1
		}
		c[i] = byte(int(v) + step)
	}
	return c
}

func contrast(a, b Colour) float64 {
	light, dark := max(a.luminance(), b.luminance()), min(a.luminance(), b.luminance())
	return (light + 0.05) / (dark + 0.05)
}

// luminance is the relative luminance of WCAG 2.2.
func (c Colour) luminance() float64 {
	linear := func(v byte) float64 {
		s := float64(v) / 255
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}
