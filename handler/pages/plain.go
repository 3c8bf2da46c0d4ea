package pages

import "html"

// Plain is a page of words alone, a tenth of a styled one, for the answer to a flood.
func Plain(words Words) string {
	title, text := html.EscapeString(words.Title), html.EscapeString(words.Summary+" "+words.NextStep)
	return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>" + title + "</title><h1>" + title + "</h1><p>" + text + "</p></html>\n"
}
